"""A bundle's models, a class each: named inputs and outputs, and the manifest's preprocessing.

Each takes samples without the batch dimension and before preprocessing, one for each input, and
gives real numbers by output name. Needs Python 3.8, numpy, and a runtime that reads the variant:
ai-edge-litert, tflite-runtime or tensorflow for .tflite, executorch (with torch) for .pte,
onnxruntime for .onnx.

    with Int8(threads=2) as model:      # the classes are at the end of this file
        scores = model.predict(sample)  # one array an output, by name
        print(model.applied)            # what computes it
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

HERE = Path(__file__).resolve().parent
Array = Any  # a numpy.ndarray

RUNTIMES = (
    "ai_edge_litert.interpreter",
    "tflite_runtime.interpreter",
    "tensorflow.lite.python.interpreter",
)
RANGES = {"uint8": (0, 255), "int8": (-128, 127), "int16": (-32768, 32767)}
FRACTION_BITS = 11
PICTURE_OPERATIONS = ("resize", "resize-short-side", "center-crop", "color")


class InputProblem(ValueError):
    """What was given is not what the model takes."""


class ModelProblem(RuntimeError):
    """The bundle, the runtime or the delegate cannot be used."""


class Tensor(NamedTuple):
    """One input or output.

    `shape` has the batch first, and "16..128" for an axis that takes any size of a range. `dtype`
    is that of the file; `takes` says what `predict` takes or gives, `unit` what its numbers are.
    """

    name: str
    shape: Any
    dtype: str
    takes: str
    unit: str


class Model:
    """One artifact of the bundle, loaded; the manifest's default unless `variant` names another.

    `folder` is the bundle's; where this file looks for it otherwise, see `find_bundle`.

    `delegate`: "auto" is what the runtime does by itself (XNNPACK on a CPU), "cpu" its own kernels
    only; for .tflite also the path of a delegate's library (libethosu_delegate.so), for .onnx the
    name of an execution provider. `applied` says what it came to. One that was asked for and takes
    nothing is an error. A .pte has its delegates inside.

    `check` compares the files with the manifest's digests, which reads them once.

    Raises ModelProblem.
    """

    VARIANT = ""
    INPUTS = ()  # type: Any
    OUTPUTS = ()  # type: Any

    def __init__(
        self,
        folder: Any = None,
        variant: str = "",
        threads: int = 1,
        delegate: str = "auto",
        check: bool = True,
    ) -> None:
        folder = find_bundle() if folder is None else Path(folder)
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        variant = variant or self.VARIANT or manifest["default"]
        known = {artifact["variant"]: artifact for artifact in manifest["artifacts"]}
        if variant not in known:
            raise ModelProblem(f"there is no variant {variant!r} here; known: {', '.join(known)}")
        self.artifact = known[variant]
        self.variant = variant
        if check:
            for name in self.artifact["files"]:
                check_digest(folder / name, name, manifest)
        self.inputs = self.artifact["signature"]["inputs"]
        self.outputs = self.artifact["signature"]["outputs"]
        self.operations = self.artifact["preprocessing"]["operations"]
        self.labels = []
        if self.artifact["labels"]:
            lines = (folder / self.artifact["labels"]).read_text(encoding="utf-8")
            self.labels = lines.split("\n")[:-1]
        if self.artifact["verdict"]["stand_in"]:
            raise ModelProblem(f"{variant} runs on its accelerator only; see README.md")
        open_with = {"tflite": TFLite, "executorch": ExecuTorch, "onnx": Onnx}  # type: Any
        path = str(folder / self.artifact["files"][0])
        opened = open_with[self.artifact["format"]]
        self.run = opened(path, self.artifact, threads, delegate)
        self.applied = str(self.run.applied)

    def close(self) -> None:
        """Let go of the runtime and its memory; nothing can be predicted afterwards."""
        self.run = None

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def predict(self, *samples: Any) -> dict[str, Array]:
        """What the model answers: real numbers by output name, the batch dimension included.

        `samples` has one array an input, in the manifest's order, without the batch dimension and
        before any preprocessing. The preprocessing is the first input's. Raises ValueError for
        samples that do not fit; its second line says what the model takes.
        """
        if self.run is None:
            raise ModelProblem(f"{self.variant} was closed")
        try:
            fed = self.prepare(samples)
        except InputProblem as exc:
            raise InputProblem(f"{exc}\n{self.takes()}") from None
        answers = self.run(**fed)
        return {spec["name"]: to_real(spec, answers[spec["name"]]) for spec in self.outputs}

    def prepare(self, samples: Any) -> dict[str, Array]:
        """The samples as the runtime takes them, by input name."""
        if len(samples) != len(self.inputs):
            count = f"{len(self.inputs)} input{'' if len(self.inputs) == 1 else 's'}"
            raise InputProblem(f"the model has {count}, {len(samples)} were given")
        fed = {}
        for index, (spec, sample) in enumerate(zip(self.inputs, samples)):  # noqa: B905 - 3.8
            array = np.asarray(sample)
            given = f"input {spec['name']!r} was given {array.dtype} {sizes(array.shape)}"
            if array.dtype.kind not in "biuf":
                raise InputProblem(f"{given}: not numbers")
            try:
                if index == 0:
                    array = preprocess(self.operations, array)
                fed[spec["name"]] = to_input(spec, array)
            except InputProblem as exc:
                raise InputProblem(f"{given}: {exc}") from None
        return fed

    def takes(self) -> str:
        """One line: each input's name, type and shape, without the batch, before preprocessing."""
        texts = [
            f"{spec['name']!r} {taken(spec, self.operations if index == 0 else [])}"
            for index, spec in enumerate(self.inputs)
        ]
        return f"the model takes {', '.join(texts)}"


class TFLite:
    """Called with inputs by name; gives outputs by name."""

    def __init__(self, path: str, artifact: Any, threads: int, delegate: str) -> None:
        library = find_runtime()
        more = {}
        if delegate == "cpu":
            more["experimental_op_resolver_type"] = (
                library.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
            )
        elif delegate != "auto":
            try:
                ctypes.CDLL(delegate)  # load_delegate leaves a broken object where this fails
                more["experimental_delegates"] = [library.load_delegate(delegate)]
            except (OSError, ValueError) as exc:
                raise ModelProblem(f"the delegate {delegate!r} cannot be loaded: {exc}") from exc
        interpreter = library.Interpreter(model_path=path, num_threads=threads, **more)
        interpreter.allocate_tensors()
        taken_by = delegated(interpreter)
        if delegate not in ("auto", "cpu") and taken_by == "cpu":
            raise ModelProblem(f"the delegate {delegate!r} takes no operator of {path}")
        named = "xnnpack" if delegate == "auto" else delegate
        self.applied = named if taken_by == "delegate" else taken_by
        name = artifact["signature"]["name"]
        if name in interpreter.get_signature_list():
            self.call = interpreter.get_signature_runner(name)
        else:
            self.call = ByTensorName(interpreter)

    def __call__(self, **fed: Array) -> Any:
        return self.call(**fed)


def delegated(interpreter: Any) -> str:
    """Whether a delegate has any operator: "delegate", "cpu", or "unknown"."""
    if not hasattr(interpreter, "_get_ops_details"):
        return "unknown"
    names = [operator["op_name"] for operator in interpreter._get_ops_details()]
    return "delegate" if "DELEGATE" in names else "cpu"


class ExecuTorch:
    """Called the same way, for a .pte, which keeps no names."""

    def __init__(self, path: str, artifact: Any, threads: int, delegate: str) -> None:
        if delegate != "auto":
            raise ModelProblem(f"delegate {delegate!r}: a .pte has its delegates inside")
        self.applied = artifact["recipe"]["delegate"]
        runtime = needed("executorch.runtime", "executorch torch").Runtime.get()
        library = importlib.import_module("executorch.extension.pybindings.portable_lib")
        library._unsafe_reset_threadpool(threads)
        self.torch = importlib.import_module("torch")
        self.program = runtime.load_program(path)
        self.method = self.program.load_method("forward")
        self.inputs = [spec["name"] for spec in artifact["signature"]["inputs"]]
        self.outputs = [spec["name"] for spec in artifact["signature"]["outputs"]]

    def __call__(self, **fed: Array) -> dict[str, Array]:
        given = [self.torch.from_numpy(fed[name]) for name in self.inputs]
        answers = self.method.execute(given)
        # Copies: the next call writes into the same memory.
        return {n: answer.numpy().copy() for n, answer in zip(self.outputs, answers)}  # noqa: B905


class Onnx:
    """Called the same way, for an .onnx."""

    def __init__(self, path: str, artifact: Any, threads: int, delegate: str) -> None:
        library = needed("onnxruntime", "onnxruntime")
        cpu = "CPUExecutionProvider"
        wanted = cpu if delegate in ("auto", "cpu") else delegate
        providers = [wanted] if wanted == cpu else [wanted, cpu]
        if wanted not in library.get_available_providers():
            there = ", ".join(library.get_available_providers())
            raise ModelProblem(f"delegate {delegate!r} is not in this onnxruntime; it has {there}")
        options = library.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = library.InferenceSession(path, options, providers)
        self.applied = self.session.get_providers()[0]
        if self.applied != wanted:
            raise ModelProblem(f"delegate {delegate!r} was not taken, but {self.applied}")
        self.outputs = [spec["name"] for spec in artifact["signature"]["outputs"]]

    def __call__(self, **fed: Array) -> dict[str, Array]:
        answers = self.session.run(self.outputs, fed)
        return dict(zip(self.outputs, answers))  # noqa: B905 - 3.8


def needed(module: str, packages: str) -> Any:
    """The module, or one line that says what to install."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as exc:
        if exc.name is None or not module.startswith(exc.name.partition(".")[0]):
            raise  # it is there and lacks something itself
        message = f"{module.partition('.')[0]} is not installed here; run: python3 -m pip install "
        raise ModelProblem(message + packages) from None


class ByTensorName:
    """Called the same way, for a file without signatures."""

    def __init__(self, interpreter: Any) -> None:
        self.interpreter = interpreter

    def __call__(self, **fed: Array) -> dict[str, Array]:
        for detail in self.interpreter.get_input_details():
            self.interpreter.set_tensor(detail["index"], fed[detail["name"]])
        self.interpreter.invoke()
        details = self.interpreter.get_output_details()
        return {d["name"]: self.interpreter.get_tensor(d["index"]) for d in details}


def find_runtime() -> Any:
    """The first runtime that is installed: a module with Interpreter and load_delegate."""
    for name in RUNTIMES:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as exc:
            # Only its absence: a runtime that is there and broken is to say so.
            if exc.name is None or not name.startswith(exc.name.partition(".")[0]):
                raise
    raise ModelProblem("no runtime is installed here; run: python3 -m pip install ai-edge-litert")


def find_bundle() -> Path:
    """The folder of this file; of the file itself, where it was found through a link."""
    if not (HERE / "manifest.json").is_file():
        raise ModelProblem(f"there is no bundle in {HERE}: give its folder")
    return HERE


def check_digest(path: Path, listed_as: str, manifest: dict[str, Any]) -> None:
    """Refuse a model file that is not the one the manifest was written for."""
    wanted = {file["path"]: file["sha256"] for file in manifest["files"]}
    total = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            for piece in iter(lambda: file.read(1 << 20), b""):
                total.update(piece)
    except OSError as exc:
        raise ModelProblem(f"{path} cannot be read: {exc.strerror}") from exc
    if total.hexdigest() != wanted.get(listed_as):
        raise ModelProblem(f"{path} is not the file that the manifest lists")


def taken(spec: dict[str, Any], operations: list[dict[str, Any]]) -> str:
    """Type and shape of what becomes the input `spec` by `operations`, worked out from the end."""
    dtype = "float32" if spec["quantization"] else spec["dtype"]
    shape = ranged(spec)
    least = ""
    for operation in reversed(operations):
        name = operation["op"]
        if name == "layout":
            shape = shape[1:] + shape[:1]
        elif name == "color":
            shape[2:] = [3]
        elif name in PICTURE_OPERATIONS:
            shape[:2] = ["height", "width"]
            crop = name == "center-crop"
            least = f", at least {operation['height']}×{operation['width']}" if crop else ""
        if name in PICTURE_OPERATIONS:
            dtype = "uint8"
        elif name != "layout":
            dtype = "float32"
    return f"{dtype} {sizes(shape)}{least}"


def ranged(spec: dict[str, Any]) -> list[Any]:
    """The shape without the batch; "16..128" where the model takes any size of a range."""
    shape = list(spec["shape"])
    for each in spec.get("open", []):
        shape[each["axis"]] = f"{each['least']}..{each['largest']}"
    return shape[1:]


def fits(spec: dict[str, Any], shape: list[int]) -> bool:
    """Whether an array of that shape is what the input takes."""
    wanted = list(spec["shape"])
    for each in spec.get("open", []):
        if len(shape) == len(wanted) and each["least"] <= shape[each["axis"]] <= each["largest"]:
            wanted[each["axis"]] = shape[each["axis"]]
    return shape == wanted


def sizes(shape: Any) -> str:
    return "×".join("?" if size is None else str(size) for size in shape) or "scalar"


def to_input(spec: dict[str, Any], array: Array) -> Array:
    """The batch dimension in front, and quantized where the model takes integers for reals."""
    quantization = spec["quantization"]
    if not fits(spec, [1, *array.shape]):
        raise InputProblem(f"that makes {sizes(array.shape)}, not {sizes(ranged(spec))}")
    if quantization and array.dtype != spec["dtype"]:
        scale, zero_point = quantization["scale"][0], quantization["zero_point"][0]
        array = quantize(array, scale, zero_point, spec["dtype"])
    if array.dtype == np.float64 and spec["dtype"] == "float32":  # Python's floats
        array = array.astype(np.float32)
    if array.dtype != spec["dtype"]:
        raise InputProblem(f"that makes {array.dtype}, not {spec['dtype']}")
    return np.ascontiguousarray(array[None])


def to_real(spec: dict[str, Any], stored: Array) -> Array:
    """scale × (stored − zero_point) in float32 where the output is quantized."""
    quantization = spec["quantization"]
    if not quantization or stored.dtype.kind == "f":
        return stored
    shape = [1] * stored.ndim
    if quantization["axis"] is not None:
        shape[quantization["axis"]] = -1
    zero_point = np.array(quantization["zero_point"], np.int64).reshape(shape)
    scale = np.array(quantization["scale"], np.float32).reshape(shape)
    return (stored.astype(np.int64) - zero_point).astype(np.float32) * scale


def preprocess(operations: list[dict[str, Any]], array: Array) -> Array:
    """The manifest's operations, in order; pictures are RGB, uint8, (height, width, 3)."""
    if operations and array.dtype == np.float64:
        array = array.astype(np.float32)
    first = False  # whether the channels come first
    for operation in operations:
        name = operation["op"]
        is_picture = array.ndim == 3 and array.dtype == np.uint8 and not first
        if name in PICTURE_OPERATIONS and not (is_picture and array.size):
            raise InputProblem(f"{name} needs a picture, uint8, (height, width, channels)")
        if name == "resize":
            array = resize(array, operation["height"], operation["width"], operation["method"])
        elif name == "resize-short-side":
            height, width = short_side(array.shape[0], array.shape[1], operation["size"])
            array = resize(array, height, width, operation["method"])
        elif name == "center-crop":
            array = crop(array, operation["height"], operation["width"])
        elif name == "color":
            if array.shape[2] != 3:
                raise InputProblem(f"color needs a picture of 3 channels, not {array.shape[2]}")
            array = array[:, :, ::-1] if operation["to"] == "bgr" else gray(array)
        elif name == "normalize":
            array = normalize(array, operation["mean"], operation["std"], first)
        elif name == "layout":
            if array.ndim != 3 or first:
                raise InputProblem("layout needs (height, width, channels)")
            array, first = array.transpose(2, 0, 1), True
        elif name == "cast":
            array = cast(array, operation["dtype"])
        elif name == "quantize":
            zero_point, dtype = operation["zero_point"], operation["dtype"]
            array = quantize(array, operation["scale"], zero_point, dtype)
        else:
            raise ValueError(f"this file does not know the operation {name!r}")
    return array


def resize(image: Array, height: int, width: int, method: str) -> Array:
    """To height × width pixels; half-pixel centres, 11 fractional bits, all in integers."""
    if method == "nearest":
        rows, columns = nearest(image.shape[0], height), nearest(image.shape[1], width)
        return image[rows][:, columns]
    one = np.int32(1 << FRACTION_BITS)
    y, y_next, g = neighbours(image.shape[0], height)
    x, x_next, f = neighbours(image.shape[1], width)
    f, g = f[None, :, None], g[:, None, None]
    row, next_row = image[y].astype(np.int32), image[y_next].astype(np.int32)
    above = row[:, x] * (one - f) + row[:, x_next] * f
    below = next_row[:, x] * (one - f) + next_row[:, x_next] * f
    half = np.int32(1 << (2 * FRACTION_BITS - 1))
    blended = above * (one - g) + below * g + half
    return (blended >> np.int32(2 * FRACTION_BITS)).astype(np.uint8)


def nearest(size: int, wanted: int) -> Array:
    o = np.arange(wanted, dtype=np.int64)
    return np.minimum((2 * o + 1) * size // (2 * wanted), size - 1)


def neighbours(size: int, wanted: int) -> tuple[Array, Array, Array]:
    """For each of `wanted` positions: the pixel before, the one after, the weight of the latter."""
    o = np.arange(wanted, dtype=np.int64)
    p = ((((2 * o + 1) * size - wanted) << FRACTION_BITS) // (2 * wanted)).clip(0)
    low = p >> FRACTION_BITS
    return low, np.minimum(low + 1, size - 1), (p & ((1 << FRACTION_BITS) - 1)).astype(np.int32)


def short_side(height: int, width: int, size: int) -> tuple[int, int]:
    short, long = min(height, width), max(height, width)
    other = max(1, (2 * long * size + short) // (2 * short))
    return (size, other) if height <= width else (other, size)


def crop(image: Array, height: int, width: int) -> Array:
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    if top < 0 or left < 0:
        raise InputProblem(f"the picture is smaller than {height} × {width}")
    return image[top : top + height, left : left + width]


def gray(image: Array) -> Array:
    weights = np.array([19595, 38470, 7471], np.int32)
    luma = (image.astype(np.int32) * weights).sum(axis=2, keepdims=True)
    return ((luma + (1 << 15)) >> 16).astype(np.uint8)


def normalize(array: Array, mean: Any, std: Any, first: bool) -> Array:
    count = max(len(mean), len(std))
    channels = array.shape[0 if first else -1] if array.ndim else 1
    if count > 1 and channels != count:
        raise InputProblem(f"normalize needs {count} channels, not {channels}")
    shape = (-1, 1, 1) if first else (-1,)
    mean = np.array(mean, np.float32).reshape(shape)
    std = np.array(std, np.float32).reshape(shape)
    return ((array.astype(np.float32) - mean) / std).reshape(array.shape)


def cast(array: Array, dtype: str) -> Array:
    if dtype == "float32":
        return array.astype(np.float32)
    low, high = RANGES[dtype]
    wide = np.rint(array) if array.dtype.kind == "f" else array.astype(np.int64)
    return np.clip(wide, low, high).astype(dtype)


def quantize(array: Array, scale: float, zero_point: int, dtype: str) -> Array:
    """round-half-even(x / scale) + zero_point, saturated."""
    low, high = RANGES[dtype]
    steps = np.rint(array.astype(np.float32) / np.float32(scale)).clip(-(2.0**30), 2.0**30)
    return (steps.astype(np.int64) + zero_point).clip(low, high).astype(dtype)
