"""Looking into model files: one file a format. An inspector is registered with one line here."""

from __future__ import annotations

from edgekit.core.registry import Registry

INSPECTORS = Registry(
    "inspector",
    {
        "tflite": "edgekit.inspection.tflite:TFLiteInspector",
        "executorch": "edgekit.inspection.executorch:ExecuTorchInspector",
        "pt2": "edgekit.inspection.pt2:Pt2Inspector",
        "onnx": "edgekit.inspection.onnx:OnnxInspector",
        "keras": "edgekit.inspection.keras:KerasInspector",
    },
)
