"""Graph files → torch modules that compute the same, for what starts from a torch program.

    from edgekit.export.translate.onnx import module      # or .tflite
    exported = torch.export.export(module(path), examples, strict=False)

Why own code: onnx2torch 1.5.15, the last release (August 2024), does not start without torchvision,
has no LSTM and GRU and no Reshape of operator set 19 or ReduceMean of 18, which today's torch.onnx
writes, and its attention does not pass torch.export (its shapes are computed while it runs). For
TFLite there is none; by tf2onnx and then ONNX the way would be longer by a graph, for the same
operators.

How it works: the graph is walked once in its order, with every shape known. An operator whose
inputs are all constants is computed there and then, so that shape arithmetic never reaches the
module; every other becomes one submodule that carries the name of its node, which is how an
exported node tells the user's layer.
Only `builder`, `onnx` and `tflite` know files; the tables of operators are one module a family.
The modules of tables import torch at their top: they are themselves imported inside functions, in
a torch worker.
"""
