"""The Java class of one model: typed inputs and outputs, and exactly the manifest's preprocessing.

Java, because it needs nothing but a JDK to be compiled and Kotlin uses it as its own: getters are
properties, `AutoCloseable` is `use { }`. What does not depend on the model lies in ``java/``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Literal

from edgekit.bundles import apps
from edgekit.bundles.android.names import GETTERS, class_name, comment, literal, member_names
from edgekit.bundles.apps import Given, all_given, class_scores, is_real, preprocessing_of
from edgekit.bundles.manifest import BundledArtifact, BundledFile
from edgekit.bundles.readme import steps
from edgekit.core.errors import InputError
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

Accelerator = Literal["CPU", "GPU", "NPU"]
# By format and delegate: the accelerators in the order in which they are tried.
USUAL: dict[tuple[str, str], tuple[Accelerator, ...]] = {
    ("tflite", "xnnpack"): ("CPU",),
    ("tflite", "gpu"): ("GPU", "CPU"),
    ("tflite", "npu"): ("NPU",),
    ("executorch", "xnnpack"): ("CPU",),
    ("executorch", "portable"): ("CPU",),
    ("executorch", "vulkan"): ("GPU",),
    ("executorch", "qnn"): ("NPU",),
}
# What the runtimes' Java classes take and give.
TYPES = {
    "tflite": ("uint8", "int8", "int32", "int64", "float32", "bool"),
    "executorch": ("uint8", "int8", "int32", "int64", "float32"),
}
ARRAYS = {
    "uint8": "byte[]",
    "int8": "byte[]",
    "int32": "int[]",
    "int64": "long[]",
    "float32": "float[]",
    "bool": "boolean[]",
}
KOTLIN = {
    "byte[]": "ByteArray",
    "int[]": "IntArray",
    "long[]": "LongArray",
    "float[]": "FloatArray",
    "boolean[]": "BooleanArray",
}
READ = {
    "uint8": "bytes",
    "int8": "bytes",
    "int32": "ints",
    "int64": "longs",
    "float32": "floats",
    "bool": "booleans",
}
BYTES = "whole numbers from 0 to 255, in Java's signed bytes"
class_names = partial(apps.class_names, name_of=class_name)


def java(take: Given) -> str:
    """The type in Java of what is given for an input."""
    if take.picture:
        return "Picture"
    return "Tensor" if None in take.shape else ARRAYS[take.dtype]


def _tensor(take: Given, argument: str) -> str:
    """The expression that makes a Tensor of `argument`."""
    if take.picture:
        return f"{argument}.tensor()"
    if None in take.shape:
        return argument
    sizes = "".join(f", {size}" for size in take.shape)
    name = {"uint8": "ofUint8", "int8": "ofInt8"}.get(take.dtype, "of")
    return f"Tensor.{name}({argument}{sizes})"


def check_artifact(artifact: BundledArtifact) -> None:
    """Refuse what no accessor can be made for, naming what is in the way.

    Raises:
        InputError: its format or delegate does not run on Android, or the runtime's Java classes
            have no such tensors.
    """
    apps.check_artifact(artifact, runs=USUAL, types=TYPES, app="Android app", api="Java classes")
    file_name = artifact.files[0].rpartition("/")[2]
    if file_name.startswith(".") or file_name.endswith("~"):
        raise InputError(
            f"{artifact.variant}: Android's tools leave a file of the name {file_name!r} out of an "
            "app",
            hint="rename the model's file and convert it again",
        )


def step(op: Operation, values: str) -> str:
    """The Java expression for `op` on the expression `values`."""
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
        return f"Preprocessing.cast({values}, Tensor.Type.{op.dtype.upper()})"
    if isinstance(op, Quantize):
        arguments = f"{float32(op.scale)}, {op.zero_point}, Tensor.Type.{op.dtype.upper()}"
        return f"Preprocessing.quantize({values}, {arguments})"
    return f"Preprocessing.channelsFirst({values})"


def float32(value: float) -> str:
    """`value` rounded to float32, as a Java literal that is exactly that."""
    return f"{apps.float32(value)}f"


def accessor(
    artifact: BundledArtifact,
    *,
    package: str,
    name: str,
    model: str,
    version: str,
    asset: str,
    labels: str | None,
    file: BundledFile,
) -> str:
    """The source of the class `name`.

    Args:
        artifact: for which `check_artifact` passes.
        model: the bundle's name.
        asset: path of the model among the app's assets.
        labels: the same of the labels; None without.
        file: the model's own, for its digest.
    """
    inputs, outputs = artifact.signature.inputs, artifact.signature.outputs
    parameters = member_names(spec.name for spec in inputs)
    getters = member_names((spec.name for spec in outputs), reserved=GETTERS)
    takes = all_given(artifact)
    usual = USUAL[artifact.format, artifact.recipe.delegate]
    scores = class_scores(artifact)
    lines = [
        f"package {package};",
        "",
        "import android.content.Context;",
        *(["import android.graphics.Bitmap;"] if any(g.picture for g in takes) else []),
        "import java.io.IOException;",
        "import java.util.Arrays;",
        "import java.util.Collections;",
        "import java.util.List;",
        "",
        "/**",
        f" * The model {comment(model)} {version}, variant {comment(artifact.variant)}.",
        " *",
        f" * <p>Made and verified by edgekit for {', else '.join(usual)}. Opening and running take",
        " * time: not on the main thread. One run at a time; others wait. In Kotlin:",
        " *",
        f" * <pre>{{@code {name}.open(context).use {{ model ->",
        f" *     val answer = model.run({', '.join(parameters)})",
        " * }}</pre>",
        " */",
        f"public final class {name} implements AutoCloseable {{",
        f"    public static final String VERSION = {literal(version)};",
        f"    public static final String VARIANT = {literal(artifact.variant)};",
        "",
        "    /** Path of the model among the assets, and what its bytes must be. */",
        f"    public static final String ASSET = {literal(asset)};",
        "",
        f"    public static final String SHA256 = {literal(file.sha256)};",
        "",
        "    /** As the model itself has them, after preprocessing. */",
        "    public static final List<TensorSpec> INPUTS =",
        *_specs(inputs, lambda spec: apps.input_unit(spec, BYTES)),
        "    public static final List<TensorSpec> OUTPUTS =",
        *_specs(
            outputs,
            lambda spec: apps.output_unit(spec, scores=spec is scores, bytes_=BYTES),
        ),
        "    private final Engine engine;",
        "    private final List<String> labels;",
        "    private boolean closed;",
        "",
        f"    private {name}(Engine engine, List<String> labels) {{",
        "        this.engine = engine;",
        "        this.labels = labels;",
        "    }",
        "",
        "    /** Of the app's assets. Throws IOException: it is not the file that was verified. */",
        f"    public static {name} open(Context context) throws IOException {{",
        "        return open(context, new ModelOptions());",
        "    }",
        "",
        "    /** The same, with options: threads, accelerators, warm-up, hash check. */",
        f"    public static {name} open(Context context, ModelOptions options)",
        "            throws IOException {",
        "        ModelFile file =",
        "                new ModelFile(",
        f"                        context, ASSET, SHA256, {file.size_bytes}L, options.folder());",
        *_labels(labels),
        *_engine(artifact, usual),
        f"        {name} model = new {name}(engine, labels);",
        "        try {",
        "            for (int i = 0; i < options.warmUp(); i++) {",
        "                model.compute(zeros());",
        "            }",
        "        } catch (RuntimeException e) {",
        "            model.close();",
        "            throw e;",
        "        }",
        "        return model;",
        "    }",
        "",
        "    /** What was applied: accelerator, threads, and who refused the model before. */",
        "    public Report getReport() {",
        "        return engine.report();",
        "    }",
        "",
        "    /** The classes in the order of the scores; empty where there are none. */",
        "    public List<String> getLabels() {",
        "        return labels;",
        "    }",
        "",
        *_run(inputs, parameters, takes),
        *_prepare(artifact, parameters, takes),
        *_rest(inputs, outputs, getters, scores),
        *answer_class(outputs, getters, scores),
        "}",
    ]
    return "\n".join(lines) + "\n"


def _specs(specs: Iterable[TensorSpec], unit: Callable[[TensorSpec], str]) -> list[str]:
    made = []
    for spec in specs:
        quantization = spec.quantization
        made.append(
            f"                            new TensorSpec(\n"
            f"                                    {literal(spec.name)},\n"
            f"                                    Tensor.Type.{spec.dtype.upper()},\n"
            f"                                    {_ints(apps.least_shape(spec))},\n"
            f"                                    {_ints(spec.shape)},\n"
            f"                                    {literal(unit(spec))},\n"
            f"                                    "
            f"{_floats(quantization.scale if quantization else ())},\n"
            f"                                    "
            f"{_ints(quantization.zero_point if quantization else ())},\n"
            f"                                    "
            f"{-1 if quantization is None or quantization.axis is None else quantization.axis})"
        )
    listed = ",\n".join(made)
    return [
        "            Collections.unmodifiableList(",
        "                    Arrays.asList(",
        f"{listed}));",
        "",
    ]


def _labels(labels: str | None) -> list[str]:
    if labels is None:
        return ["        List<String> labels = Collections.<String>emptyList();"]
    lines = f"ModelFile.lines(context, options.folder(), {literal(labels)})"
    return [
        "        List<String> labels =",
        f"                Collections.unmodifiableList({lines});",
    ]


def _engine(artifact: BundledArtifact, usual: Sequence[str]) -> list[str]:
    order = ", ".join(f"Accelerator.{each}" for each in usual)
    if artifact.format == "executorch":
        arguments = f"context, file, OUTPUTS, options, {order}"
        return [f"        Engine engine = new ExecuTorchEngine({arguments});"]
    signature = literal(artifact.signature.name)
    return [
        "        Engine engine =",
        "                new LiteRtEngine(",
        "                        context,",
        "                        file,",
        f"                        {signature},",
        "                        INPUTS,",
        "                        OUTPUTS,",
        "                        options,",
        f"                        Arrays.asList({order}));",
    ]


def _run(
    inputs: Sequence[TensorSpec], parameters: Sequence[str], takes: Sequence[Given]
) -> list[str]:
    told = [
        f"     * @param {parameter} the input {comment(spec.name)}: {comment(take.words)}"
        for spec, parameter, take in zip(inputs, parameters, takes, strict=True)
    ]
    declared = ", ".join(f"{java(t)} {p}" for t, p in zip(takes, parameters, strict=True))
    prepared = ", ".join(f"{_prepare_name(p)}({p})" for p in parameters)
    lines = [
        "    /**",
        "     * One sample's answer.",
        "     *",
        *told,
        "     */",
        f"    public Answer run({declared}) {{",
        f"        return answer(compute(Arrays.asList({prepared})));",
        "    }",
        "",
    ]
    lines += bitmap_run(parameters, takes)
    return lines


def bitmap_run(parameters: Sequence[str], takes: Sequence[Given]) -> list[str]:
    """`run` once more where pictures are taken, with Android's own; nothing where none are."""
    if not any(take.picture for take in takes):
        return []
    given = [
        ("Bitmap", f"Bitmaps.picture({p})") if t.picture else (java(t), p)
        for t, p in zip(takes, parameters, strict=True)
    ]
    declared = ", ".join(f"{kind} {p}" for (kind, _), p in zip(given, parameters, strict=True))
    return [
        "    /** The same, of bitmaps as they lie: turn them upright first. */",
        f"    public Answer run({declared}) {{",
        f"        return run({', '.join(passed for _, passed in given)});",
        "    }",
        "",
    ]


def _prepare_name(parameter: str) -> str:
    return f"prepare{parameter[0].upper()}{parameter[1:]}"


def _prepare(
    artifact: BundledArtifact, parameters: Sequence[str], takes: Sequence[Given]
) -> list[str]:
    lines: list[str] = []
    inputs = artifact.signature.inputs
    for index, (parameter, take) in enumerate(zip(parameters, takes, strict=True)):
        preprocessing = preprocessing_of(artifact, index)
        values = _tensor(take, parameter)
        told = [comment(text) for text in steps(preprocessing, inputs[index : index + 1])]
        lines += [
            "    /**",
            *(f"     * {text}<br>" for text in told),
            "     */",
            f"    static Tensor {_prepare_name(parameter)}({java(take)} {parameter}) {{",
            f"        Tensor made_ = {values};",
            *(f"        made_ = {step(op, 'made_')};" for op in preprocessing.operations),
            f"        return Preprocessing.toInput(INPUTS.get({index}), made_);",
            "    }",
            "",
        ]
    return lines


def _rest(
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    getters: Sequence[str],
    scores: TensorSpec | None,
) -> list[str]:
    zeros = ", ".join(
        f"Tensor.zeros(INPUTS.get({i}).getType(), INPUTS.get({i}).getShape())"
        for i in range(len(inputs))
    )
    made = []
    for index, spec in enumerate(outputs):
        value = f"tensors.get({index})"
        made.append(
            f"Postprocessing.toReal(OUTPUTS.get({index}), {value})"
            if is_real(spec)
            else f"{value}.{READ[spec.dtype]}()"
        )
        made.append(f"{value}.getShape()")
    made += ["labels"] if scores is not None else []
    arguments = ",\n                ".join(made)
    return [
        "    private static List<Tensor> zeros() {",
        f"        return Arrays.asList({zeros});",
        "    }",
        "",
        "    private synchronized List<Tensor> compute(List<Tensor> tensors) {",
        "        if (closed) {",
        '            throw new IllegalStateException("the model is closed");',
        "        }",
        "        return engine.run(tensors);",
        "    }",
        "",
        "    private Answer answer(List<Tensor> tensors) {",
        f"        return new Answer(\n                {arguments});",
        "    }",
        "",
        "    /** Frees the model; a second time does nothing. */",
        "    @Override",
        "    public synchronized void close() {",
        "        if (!closed) {",
        "            closed = true;",
        "            engine.close();",
        "        }",
        "    }",
        "",
    ]


def answer_class(
    outputs: Sequence[TensorSpec], getters: Sequence[str], scores: TensorSpec | None
) -> list[str]:
    """The class of what a model answers; `getters` name its members."""
    members = []
    for spec, getter in zip(outputs, getters, strict=True):
        members += [(java_type(spec), getter), ("int[]", f"{getter}Shape")]
    members += [("List<String>", "labels_")] if scores is not None else []
    lines = [
        "    /** What the model answers to one sample. */",
        "    public static final class Answer {",
    ]
    lines += [f"        private final {kind} {name};" for kind, name in members]
    declared = ", ".join(f"{kind} {name}" for kind, name in members)
    lines += ["", f"        Answer({declared}) {{"]
    lines += [f"            this.{name} = {name};" for _, name in members]
    lines += ["        }"]
    for index, (spec, getter) in enumerate(zip(outputs, getters, strict=True)):
        title = getter[0].upper() + getter[1:]
        what = "real numbers" if is_real(spec) else apps.input_unit(spec, BYTES)
        lines += [
            "",
            f"        /** The output {comment(spec.name)}, {comment(spec.sizes)}: {what}. */",
            f"        public {java_type(spec)} get{title}() {{",
            f"            return {getter};",
            "        }",
            "",
            f"        /** Its shape, the batch first; see OUTPUTS.get({index}). */",
            f"        public int[] get{title}Shape() {{",
            f"            return {getter}Shape.clone();",
            "        }",
        ]
        if spec is scores:
            lines += [
                "",
                "        /** The classes with the highest scores, best first. */",
                "        public List<Label> top(int count) {",
                f"            return Postprocessing.top({getter}, labels_, count);",
                "        }",
                "",
                "        public Label getBest() {",
                "            return top(1).get(0);",
                "        }",
            ]
    return [*lines, "    }"]


def java_type(spec: TensorSpec) -> str:
    """In which an app gets an output."""
    return "float[]" if is_real(spec) else ARRAYS[spec.dtype]


def _ints(values: Iterable[int | None]) -> str:
    return f"new int[] {{{', '.join(str(value) for value in values)}}}"


def _floats(values: Iterable[float]) -> str:
    return f"new float[] {{{', '.join(float32(value) for value in values)}}}"
