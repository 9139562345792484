"""Artifacts out: one file a format. An exporter is registered with one line here."""

from __future__ import annotations

from edgekit.core.registry import Registry

EXPORTERS = Registry(
    "exporter",
    {
        "tflite": "edgekit.export.tflite:TFLiteExporter",
        "executorch": "edgekit.export.executorch:ExecuTorchExporter",
        "onnx": "edgekit.export.onnx:ONNXExporter",
    },
)
