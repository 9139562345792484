"""The Swift class of one model: typed inputs and outputs, and exactly the manifest's preprocessing.

What does not depend on the model lies in ``swift/``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Literal

from edgekit.bundles import apps
from edgekit.bundles.apps import Given, all_given, class_scores, is_real, preprocessing_of
from edgekit.bundles.ios.names import MEMBERS, class_name, comment, literal, member_names
from edgekit.bundles.manifest import BundledArtifact, BundledFile
from edgekit.bundles.readme import steps
from edgekit.core.preprocessing import (
    Cast,
    CenterCrop,
    Color,
    Normalize,
    Operation,
    Quantize,
    Resize,
    ResizeShortSide,
)
from edgekit.core.tensor import TensorSpec

Accelerator = Literal["cpu", "gpu", "coreML"]
# By format and delegate: the accelerators in the order in which they are tried.
USUAL: dict[tuple[str, str], tuple[Accelerator, ...]] = {
    ("tflite", "xnnpack"): ("cpu",),
    ("tflite", "gpu"): ("gpu", "cpu"),
    ("executorch", "xnnpack"): ("cpu",),
    ("executorch", "portable"): ("cpu",),
    ("executorch", "coreml"): ("coreML",),
}
ARRAYS = {
    "uint8": "[UInt8]",
    "int8": "[Int8]",
    "int16": "[Int16]",
    "int32": "[Int32]",
    "int64": "[Int64]",
    "float32": "[Float]",
    "bool": "[Bool]",
}
TYPES = {"tflite": tuple(ARRAYS), "executorch": tuple(ARRAYS)}
ENGINES = {"tflite": "LiteRtEngine", "executorch": "ExecuTorchEngine"}

class_names = partial(apps.class_names, name_of=class_name)


def check_artifact(artifact: BundledArtifact) -> None:
    """Refuse what no class can be made for, naming what is in the way.

    Raises:
        InputError: its format or delegate does not run on iOS, or the runtime's Swift types have
            no such tensors.
    """
    apps.check_artifact(artifact, runs=USUAL, types=TYPES, app="iOS app", api="Swift types")


def swift_type(take: Given) -> str:
    """The type in Swift of what is given for an input."""
    if take.picture:
        return "Picture"
    return "Tensor" if None in take.shape else ARRAYS[take.dtype]


def prepare_name(parameter: str) -> str:
    """Of the function that makes the runtime's tensor of an argument."""
    return f"prepare{parameter[0].upper()}{parameter[1:]}"


def step(op: Operation, values: str) -> str:
    """The Swift expression for `op` on the expression `values`."""
    if isinstance(op, Resize):
        return f"Preprocessing.resize{op.method.title()}({values}, {op.height}, {op.width})"
    if isinstance(op, ResizeShortSide):
        return f"Preprocessing.resizeShortSide{op.method.title()}({values}, {op.size})"
    if isinstance(op, CenterCrop):
        return f"Preprocessing.centerCrop({values}, {op.height}, {op.width})"
    if isinstance(op, Color):
        return f"Preprocessing.{op.to}({values})"
    if isinstance(op, Normalize):
        return f"Preprocessing.normalize({values}, {_floats(op.mean)}, {_floats(op.std)})"
    if isinstance(op, Cast):
        if op.dtype == "float32":
            return f"Preprocessing.castToFloat32({values})"
        return f"Preprocessing.cast({values}, .{op.dtype})"
    if isinstance(op, Quantize):
        scale = apps.float32(op.scale)
        return f"Preprocessing.quantize({values}, {scale}, {op.zero_point}, .{op.dtype})"
    return f"Preprocessing.channelsFirst({values})"


def accessor(
    artifact: BundledArtifact,
    *,
    name: str,
    model: str,
    version: str,
    resource: str,
    labels: str | None,
    file: BundledFile,
) -> str:
    """The source of the class `name`.

    Args:
        artifact: for which `check_artifact` passes.
        model: the bundle's name.
        resource: path of the model among the package's models.
        labels: the same of the labels; None without.
        file: the model's own, for its digest.
    """
    inputs, outputs = artifact.signature.inputs, artifact.signature.outputs
    parameters = member_names(spec.name for spec in inputs)
    members = member_names((spec.name for spec in outputs), reserved=MEMBERS)
    takes = all_given(artifact)
    usual = USUAL[artifact.format, artifact.recipe.delegate]
    scores = class_scores(artifact)
    order = ", ".join(f".{each}" for each in usual)
    arguments = f"usual: {order if artifact.format == 'executorch' else f'[{order}]'}"
    lines = [
        "import Foundation",
        "",
        *_imports(takes),
        f"/// The model {comment(model)} {version}, variant {comment(artifact.variant)}.",
        "///",
        f"/// Made and verified by edgekit for {_else(usual)}. Opening and running take time:",
        "/// not on the main thread. One run at a time; others wait.",
        "///",
        "/// ```swift",
        f"/// let model = try {name}()",
        f"/// let answer = try model.run({_call(parameters)})",
        "/// ```",
        f"public final class {name}: @unchecked Sendable {{",
        f"  public static let version = {literal(version)}",
        f"  public static let variant = {literal(artifact.variant)}",
        "",
        "  /// Name of the file in the package, and what its bytes must be.",
        f"  public static let fileName = {literal(resource)}",
        f"  public static let sha256 = {literal(file.sha256)}",
        "",
        "  /// As the model itself has them, after preprocessing.",
        *_specs("inputs", inputs, apps.input_unit),
        *_specs("outputs", outputs, lambda spec: apps.output_unit(spec, scores=spec is scores)),
        "  /// The classes in the order of the scores; empty where there are none.",
        "  public let labels: [String]",
        "",
        "  /// What was applied: accelerator, threads, and who refused the model before.",
        "  public let report: Report",
        "",
        "  private let lock = NSLock()",
        "  private var engine: Engine?",
        "",
        "  /// Throws where the file is not the one that was verified, or nothing takes the model.",
        "  public convenience init(_ options: ModelOptions = ModelOptions()) throws {",
        "    try self.init(options) { file, options in",
        f"      try {ENGINES[artifact.format]}(file, options, {arguments})",
        "    }",
        "  }",
        "",
        "  /// The same by a runtime that the app brings.",
        "  public init(",
        "    _ options: ModelOptions = ModelOptions(),",
        "    engine make: (ModelFile, ModelOptions) throws -> Engine",
        "  ) throws {",
        "    let file = try Self.modelFile()",
        "    if options.checkHash { try file.check() }",
        f"    labels = {_labels(labels)}",
        "    let made = try make(file, options)",
        "    var report = made.report",
        "    report.hashChecked = options.checkHash",
        "    self.report = report",
        "    engine = made",
        "    for _ in stride(from: 0, to: options.warmUp, by: 1) {",
        "      _ = try compute(try Self.inputs.map { try Tensor.zeros($0.kind, $0.shape) })",
        "    }",
        "  }",
        "",
        "  static func modelFile() throws -> ModelFile {",
        "    try ModelFile(",
        f"      fileName, sha256: sha256, signature: {literal(artifact.signature.name)},",
        "      inputs: inputs, outputs: outputs)",
        "  }",
        "",
        *_run(inputs, parameters, takes),
        *_prepare(artifact, parameters, takes),
        "  private func compute(_ tensors: [Tensor]) throws -> [Tensor] {",
        "    lock.lock()",
        "    defer { lock.unlock() }",
        '    guard let engine else { throw ModelError("the model is closed") }',
        "    return try engine.run(tensors)",
        "  }",
        "",
        "  private func answer(_ tensors: [Tensor]) throws -> Answer {",
        "    try Answer(",
        f"      {_answered(outputs, members, scores)})",
        "  }",
        "",
        "  /// Frees the model now and not with the last reference; a second time does nothing.",
        "  public func close() {",
        "    lock.lock()",
        "    defer { lock.unlock() }",
        "    engine = nil",
        "  }",
        "",
        *_answer(outputs, members, scores),
        "}",
    ]
    return "\n".join(lines) + "\n"


def _imports(takes: Iterable[Given]) -> list[str]:
    if not any(take.picture for take in takes):
        return []
    lines = []
    for module in ("CoreGraphics", "CoreVideo"):
        lines += [f"#if canImport({module})", f"  import {module}", "#endif"]
    return [*lines, ""]


def _else(usual: Sequence[Accelerator]) -> str:
    words = {"cpu": "the CPU", "gpu": "the GPU", "coreML": "Core ML"}
    return ", else ".join(words[each] for each in usual)


def _call(parameters: Iterable[str]) -> str:
    return ", ".join(f"{parameter}: {parameter}" for parameter in parameters)


def _specs(name: str, specs: Iterable[TensorSpec], unit: Callable[[TensorSpec], str]) -> list[str]:
    lines = [f"  public static let {name}: [TensorSpec] = ["]
    for spec in specs:
        quantization = spec.quantization
        scale = quantization.scale if quantization else ()
        zero_point = quantization.zero_point if quantization else ()
        axis = None if quantization is None else quantization.axis
        lines += [
            "    TensorSpec(",
            f"      name: {literal(spec.name)},",
            f"      kind: .{spec.dtype},",
            f"      shape: {_ints(spec.shape)},",
            f"      unit: {literal(unit(spec))},",
            f"      least: {_ints(apps.least_shape(spec))},",
            f"      scale: {_floats(scale)},",
            f"      zeroPoint: {_ints(zero_point)},",
            f"      axis: {'nil' if axis is None else axis}),",
        ]
    return [*lines, "  ]", ""]


def _labels(labels: str | None) -> str:
    return "[]" if labels is None else f"try ModelFile.lines({literal(labels)})"


def _run(
    inputs: Sequence[TensorSpec], parameters: Sequence[str], takes: Sequence[Given]
) -> list[str]:
    told = [
        f"  /// - Parameter {parameter}: the input {comment(spec.name)}: {comment(take.words)}"
        for spec, parameter, take in zip(inputs, parameters, takes, strict=True)
    ]

    def function(picture: str, body: Sequence[str], said: Sequence[str]) -> list[str]:
        declared = ", ".join(
            f"{parameter}: {picture if take.picture else swift_type(take)}"
            for parameter, take in zip(parameters, takes, strict=True)
        )
        return [*said, f"  public func run({declared}) throws -> Answer {{", *body, "  }"]

    prepared = [f"      Self.{prepare_name(parameter)}({parameter})," for parameter in parameters]
    body = ["    let tensors = try [", *prepared, "    ]"]
    body += ["    return try self.answer(self.compute(tensors))"]
    lines = function("Picture", body, ["  /// One sample's answer.", "  ///", *told])
    if any(take.picture for take in takes):
        passed = ", ".join(
            f"{parameter}: Picture({parameter})" if take.picture else f"{parameter}: {parameter}"
            for parameter, take in zip(parameters, takes, strict=True)
        )
        body = [f"    try self.run({passed})"]
        for module, picture, said in (
            ("CoreGraphics", "CGImage", "The same of an image as it lies: turn it upright first."),
            ("CoreVideo", "CVPixelBuffer", "The same of a frame of the camera in 32BGRA."),
        ):
            made = function(picture, body, [f"  /// {said}"])
            lines += ["", f"  #if canImport({module})", *(f"  {line}" for line in made), "  #endif"]
    return [*lines, ""]


def _prepare(
    artifact: BundledArtifact, parameters: Sequence[str], takes: Sequence[Given]
) -> list[str]:
    lines: list[str] = []
    inputs = artifact.signature.inputs
    for index, (parameter, take) in enumerate(zip(parameters, takes, strict=True)):
        preprocessing = preprocessing_of(artifact, index)
        made = [f"    let made0 = {_tensor(take)}"]
        made += [
            f"    let made{number} = try {step(op, f'made{number - 1}')}"
            for number, op in enumerate(preprocessing.operations, 1)
        ]
        lines += [
            *(f"  /// {comment(text)}" for text in steps(preprocessing, inputs[index : index + 1])),
            f"  static func {prepare_name(parameter)}(_ given: {swift_type(take)}) throws"
            " -> Tensor {",
            *made,
            f"    return try Preprocessing.toInput(inputs[{index}], made{len(made) - 1})",
            "  }",
            "",
        ]
    return lines


def _tensor(take: Given) -> str:
    """The expression that makes a Tensor of the argument ``given``."""
    if take.picture:
        return "try given.tensor()"
    if None in take.shape:
        return "given"
    return f"try Tensor(.{take.dtype}(given), shape: {_ints(take.shape)})"


def _answered(
    outputs: Sequence[TensorSpec], members: Sequence[str], scores: TensorSpec | None
) -> str:
    made = []
    for index, (spec, member) in enumerate(zip(outputs, members, strict=True)):
        value = f"tensors[{index}].{spec.dtype}s()"
        if is_real(spec):
            value = f"Postprocessing.toReal(Self.outputs[{index}], tensors[{index}])"
        made += [f"{member}: {value}", f"{member}Shape: tensors[{index}].shape"]
    made += ["labels_: labels"] if scores is not None else []
    return ",\n      ".join(made)


def _answer(
    outputs: Sequence[TensorSpec], members: Sequence[str], scores: TensorSpec | None
) -> list[str]:
    lines = ["  /// What the model answers to one sample.", "  public struct Answer {"]
    for index, (spec, member) in enumerate(zip(outputs, members, strict=True)):
        what = "real numbers" if is_real(spec) else apps.input_unit(spec)
        kind = "[Float]" if is_real(spec) else ARRAYS[spec.dtype]
        lines += [
            f"    /// The output {comment(spec.name)}, {comment(spec.sizes)}: {what}.",
            f"    public let {member}: {kind}",
            f"    /// Its shape, the batch first; see `outputs[{index}]`.",
            f"    public let {member}Shape: [Int]",
        ]
    if scores is not None:
        member = members[list(outputs).index(scores)]
        lines += [
            "    let labels_: [String]",
            "",
            "    /// The classes with the highest scores, best first.",
            "    public func top(_ count: Int) -> [Label] {",
            f"      Postprocessing.top({member}, labels_, count)",
            "    }",
            "",
            "    public var best: Label { top(1)[0] }",
        ]
    return [*lines, "  }"]


def _ints(values: Iterable[int | None]) -> str:
    return f"[{', '.join(str(value) for value in values)}]"


def _floats(values: Iterable[float]) -> str:
    return f"[{', '.join(apps.float32(value) for value in values)}]"
