"""ONNX operators, one module a family; each has a ``TABLE`` from operator to handler."""
