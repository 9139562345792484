"""Models in: one file a framework. A source is registered with one line here."""

from __future__ import annotations

from edgekit.core.registry import Registry

SOURCES = Registry(
    "source",
    {
        "keras": "edgekit.sources.keras:KerasSource",
        "onnx": "edgekit.sources.onnx:ONNXSource",
        "torch": "edgekit.sources.torch:TorchSource",
        "tflite": "edgekit.sources.tflite:TFLiteSource",
    },
)
