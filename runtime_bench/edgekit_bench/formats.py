"""Formats of models: how a file is recognised, and what reads it."""


def kind_of(path):
    """What kind of model file it is, by its first bytes; no flatbuffer is taken for ONNX."""
    with open(path, "rb") as file:
        head = file.read(8)
    if head[4:8] == b"TFL3":
        return "tflite"
    if head[4:6] == b"ET":
        return "executorch"
    return "onnx"


def reader_of(kind):
    """The class that loads models of that kind, a subclass of `Loaded`."""
    if kind == "tflite":
        from .model_tflite import TFLiteModel as reader
    elif kind == "executorch":
        from .model_executorch import ExecuTorchModel as reader
    else:
        from .model_onnx import OnnxModel as reader
    return reader
