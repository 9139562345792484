"""``README.md`` of a bundle: for the person who puts the model into a product.

Names come from files that anybody may have made, so all of them are escaped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from edgekit.bundles.bom import BILL
from edgekit.bundles.classes import class_names, module_name
from edgekit.bundles.manifest import MANIFEST, SIDECAR, BundledArtifact, Manifest, Provenance
from edgekit.core.errors import DataError
from edgekit.core.files import readable_bytes
from edgekit.core.preprocess_reference import output_spec
from edgekit.core.preprocessing import (
    Cast,
    CenterCrop,
    Color,
    Normalize,
    Operation,
    Preprocessing,
    Quantize,
    Resize,
    ResizeShortSide,
)
from edgekit.core.result import Estimate
from edgekit.core.tensor import Signature, TensorSpec

PACKAGES = {
    "ai-edge-litert": "ai-edge-litert",
    "tflite-runtime": "tflite-runtime 'numpy<2'",
    "executorch": "executorch torch numpy",
    "onnxruntime": "onnxruntime",
}
USUAL = {"tflite": "ai-edge-litert numpy", "executorch": "executorch torch", "onnx": "onnxruntime"}


def readme(
    manifest: Manifest, *, board: str, labels: int, usage: Sequence[str] | None = None
) -> str:
    """The text for `manifest`, whose files are those added before this one.

    Args:
        board: title of the kind of board it is for.
        labels: how many classes ``labels.txt`` names; 0 without one.
        usage: how it is run, in paragraphs of Markdown; by ``example.py`` if not given.
    """
    artifacts = manifest.artifacts
    parts = [
        f"# {escape(manifest.name)} {escape(manifest.version)}",
        f"The model {code(manifest.provenance.model_name)} for {escape(board)}, converted and "
        f"verified by edgekit {escape(manifest.provenance.edgekit_version)} on "
        f"{escape(manifest.created)}.",
        *([f"{escape(manifest.description)}"] if manifest.description else []),
        *(f"> **Warning:** {escape(notice)}." for notice in manifest.notices),
        "## What is in it",
        table(
            ("Variant", "File", "Size", "Against the source model", "Verdict"),
            (
                (
                    code(a.variant) + (" (default)" if a.variant == manifest.default else ""),
                    ", ".join(code(path) for path in a.files),
                    readable_bytes(sum(f.size_bytes for f in manifest.files if f.path in a.files)),
                    escape(_quality(a)),
                    escape(a.verdict.status),
                )
                for a in artifacts
            ),
        ),
        *([f"`labels.txt` names the {labels} classes, one a line, in order."] if labels else []),
        f"`{MANIFEST}` says all of this for programs, and `{BILL}` what it was made from and with "
        "(a bill of materials, CycloneDX 1.6).",
        *(_run_it(manifest, artifacts) if usage is None else usage),
        *_notes(artifacts),
        *_interfaces(artifacts),
        *_measurements(artifacts, manifest.provenance.arch),
        *_where_from(manifest),
        *_check(manifest),
    ]
    return "\n\n".join(parts) + "\n"


def _run_it(manifest: Manifest, artifacts: Sequence[BundledArtifact]) -> list[str]:
    if all(artifact.verdict.stand_in for artifact in artifacts):
        return [
            "## Run it",
            "These files run on the board's accelerator only, in the runtime that it has there "
            f"({MANIFEST} and the notes below say which and how); `example.py` runs none of them. "
            "An app that prepares its input in another way than stated below runs another model.",
        ]
    module = module_name(manifest.name)
    name = class_names([a.variant for a in artifacts])[manifest.default]
    return [
        "## Run it",
        f"```sh\n{_install(artifacts)}\n{_command(manifest.artifact(manifest.default))}\n```",
        f"From a program, with a copy of `{module}.py` beside it (imported from here, Python would "
        "add files of its own to this folder); it has a class for each model, and `Model` for any:",
        "```python\n"
        f"from {module} import {name}\n\n"
        f'with {name}("path/of/this/folder", threads=2) as model:\n'
        "    answers = model.predict(sample)    # one array an output, by name, as real numbers\n"
        "    print(model.applied, model.INPUTS, model.OUTPUTS)\n"
        "```",
        f"`{module}.py` needs numpy and a runtime that reads the variant; it applies the "
        "preprocessing below exactly, bit for bit as edgekit did when it verified the model. It "
        "compares the model's file with the manifest's digest first (`check=False` does not), and "
        '`delegate="cpu"`, or the path of a delegate\'s library, chooses what computes it. '
        "An app that prepares its input in another way runs another model.",
    ]


def escape(text: str) -> str:
    """`text` as plain words in Markdown, on one line: no markup, no HTML, no link."""
    plain = " ".join(_printable(text).split())
    # The colon of an address, since viewers make links of bare addresses too.
    return re.sub(r"([\\`*_\[\]#!|<>~&$]|:(?=//))", r"\\\1", plain)


def code(text: str) -> str:
    """`text` as a code span, whatever backquotes it has in it; a table's bars are kept out."""
    plain = " ".join(_printable(text).split()).replace("|", "¦")
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", plain)), default=0))
    pad = " " if plain.startswith("`") or plain.endswith("`") or not plain else ""
    return f"{fence}{pad}{plain}{pad}{fence}"


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A Markdown table; cells are escaped already."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _quality(artifact: BundledArtifact) -> str:
    verdict = artifact.verdict
    score = verdict.score
    if score is not None and score.metric != "top1":
        text = f"{score.title} {score.said(score.value)}"
        if score.drop == 0:
            return f"{text} (no drop)"
        word = "lost" if score.drop > 0 else "gained"
        return f"{text} ({score.amount(abs(score.drop))} {word})"
    if verdict.accuracy is not None:
        text = f"top-1 {100 * verdict.accuracy.top1:.2f} %"
        if verdict.drop_points is not None:
            change = -verdict.drop_points
            text += f" ({change:+.2f} points)" if abs(change) >= 0.005 else " (no drop)"
        return text
    if verdict.worst_snr_db is not None:
        return f"signal-to-noise {verdict.worst_snr_db:.1f} dB"
    return "equal" if verdict.parity else "not compared"


def _install(artifacts: Sequence[BundledArtifact]) -> str:
    """A line for each format: the runtime that was proved to load it, in the version tried."""
    lines = []
    formats = list(dict.fromkeys(artifact.format for artifact in artifacts))
    for file_format in formats:
        mine = [artifact for artifact in artifacts if artifact.format == file_format]
        which = f"    # {file_format}" if len(formats) > 1 else ""
        lines.append(f"python3 -m pip install {_package(mine, USUAL[file_format])}{which}")
    return "\n".join(lines)


def _package(artifacts: Iterable[BundledArtifact], usual: str) -> str:
    for artifact in artifacts:
        for load in artifact.verdict.loads:
            if load.ok and re.fullmatch(r"[0-9][0-9A-Za-z.]*", load.version):
                name, _, rest = PACKAGES.get(load.runtime, "").partition(" ")
                if name:
                    return f"{name}=={load.version} {rest or 'numpy'}"
    return usual


def _notes(artifacts: Sequence[BundledArtifact]) -> list[str]:
    """What a person should know of single variants."""
    lines = []
    for artifact in artifacts:
        notes = list(artifact.notes)
        if artifact.verdict.stand_in:
            what = artifact.verdict.stand_in
            notes.insert(0, f"cannot run on the computer that made it; judged on {what}")
        lines += [f"- {code(artifact.variant)}: {escape(note)}" for note in notes]
    return ["## Notes", "\n".join(lines)] if lines else []


def _command(artifact: BundledArtifact) -> str:
    """The command line that runs `artifact`, with what each of its inputs may be."""
    inputs = artifact.signature.inputs
    takes = [_takes(spec, artifact.preprocessing) for spec in inputs[:1]]
    takes += [_takes(spec, Preprocessing()) for spec in inputs[1:]]
    if len(inputs) == 1:
        return f"python3 example.py INPUT    # {takes[0]}"
    places = [f"INPUT{number}" for number in range(1, len(inputs) + 1)]
    lines = [f"python3 example.py {' '.join(places)}"]
    for place, spec, text in zip(places, inputs, takes, strict=True):
        name = " ".join(_printable(spec.name).split())  # on the comment's own line, whatever it is
        lines.append(f"# {place} is {name}: {text}")
    return "\n".join(lines)


def _takes(spec: TensorSpec, preprocessing: Preprocessing) -> str:
    # The bundle's own program says the same where an input does not fit.
    from edgekit.bundles.accessor import taken

    if takes_pictures(spec, preprocessing):
        return "a picture (needs pillow) or a .npy file"
    return f"a .npy file with {taken(spec.to_json(), preprocessing.to_json()['operations'])}"


def takes_pictures(spec: TensorSpec, preprocessing: Preprocessing) -> bool:
    """Whether `preprocessing` makes an RGB picture of any size what the input `spec` takes."""
    for height, width in ((1, 1), (1, 2), (2, 1), (None, None)):
        try:
            made = output_spec(preprocessing, shape=(height, width, 3))
        except DataError:
            return False
        if made.shape != spec.shape or (made.dtype != spec.dtype and spec.quantization is None):
            return False
    return True


def _interfaces(artifacts: tuple[BundledArtifact, ...]) -> Iterable[str]:
    """Inputs, outputs and preprocessing; said once for artifacts that have the same."""
    yield "## Input and output"
    opened = any(spec.open for a in artifacts for spec in a.signature.inputs)
    yield (
        "Shapes have the batch first. "
        + ("An input takes any size of a range such as 16..128. " if opened else "")
        + "Where a tensor is quantized, real = scale × (stored − zero point)."
    )
    groups: dict[tuple[str, str], list[BundledArtifact]] = {}
    for artifact in artifacts:
        key = (artifact.signature.fingerprint(), artifact.preprocessing.fingerprint())
        groups.setdefault(key, []).append(artifact)
    for group in groups.values():
        yield f"### {', '.join(code(a.variant) for a in group)}"
        yield _specs(group[0].signature)
        yield "Preprocessing:"
        yield "\n".join(steps(group[0].preprocessing, group[0].signature.inputs))
        quantized = [spec for spec in group[0].signature.outputs if spec.quantization]
        if quantized:
            yield "\n".join(f"- {_dequantization(spec)}" for spec in quantized)


def _specs(signature: Signature) -> str:
    rows = [("input", spec) for spec in signature.inputs]
    rows += [("output", spec) for spec in signature.outputs]
    return table(
        ("", "Name", "Type", "Shape", "Quantization"),
        (
            (
                side,
                code(spec.name),
                escape(spec.dtype),
                spec.sizes,
                _quantization(spec),
            )
            for side, spec in rows
        ),
    )


def _quantization(spec: TensorSpec) -> str:
    if spec.quantization is None:
        return "none"
    if len(spec.quantization.scale) > 1:
        return f"{len(spec.quantization.scale)} scales along axis {spec.quantization.axis}"
    return f"scale {spec.quantization.scale[0]!r}, zero point {spec.quantization.zero_point[0]}"


def _dequantization(spec: TensorSpec) -> str:
    quantization = spec.quantization
    assert quantization is not None
    if len(quantization.scale) > 1:
        return f"Output {code(spec.name)}: real numbers by the scales in `{MANIFEST}`."
    scale, zero_point = quantization.scale[0], quantization.zero_point[0]
    return (
        f"Output {code(spec.name)}: real = {scale!r} × (stored {_signed(-zero_point)}), in float32."
    )


def steps(preprocessing: Preprocessing, inputs: tuple[TensorSpec, ...]) -> list[str]:
    """The operations as a numbered list, with what is done to get the first input's type."""
    words = [_operation(operation) for operation in preprocessing.operations]
    last = preprocessing.operations[-1] if preprocessing.operations else None
    for spec in inputs[:1]:
        if spec.quantization is None or isinstance(last, Quantize):
            continue
        scale, zero_point = spec.quantization.scale[0], spec.quantization.zero_point[0]
        words.append(
            f"Unless it is {escape(spec.dtype)} already: {_quantize(scale, zero_point, spec.dtype)}"
        )
    if not words:
        return ["The input goes in as it is."]
    return [f"{number}. {text}" for number, text in enumerate(words, 1)]


def _operation(op: Operation) -> str:
    if isinstance(op, Resize):
        return f"Resize the picture (RGB, uint8) to {op.height}×{op.width} pixels ({_method(op)})."
    if isinstance(op, ResizeShortSide):
        return f"Resize so that the shorter side has {op.size} pixels, aspect kept ({_method(op)})."
    if isinstance(op, CenterCrop):
        return f"Keep the middle {op.height}×{op.width}: first row (H − {op.height}) // 2."
    if isinstance(op, Color):
        if op.to == "bgr":
            return "Reverse the channels: RGB becomes BGR."
        return "One grey channel: (19595·R + 38470·G + 7471·B + 32768) >> 16."
    if isinstance(op, Normalize):
        mean, std = _values(op.mean), _values(op.std)
        return f"(x − mean) / std in float32, a value a channel: mean {mean}, std {std}."
    if isinstance(op, Cast):
        return f"Cast to {op.dtype}; to an integer: round half to even, then saturate."
    if isinstance(op, Quantize):
        return _quantize(op.scale, op.zero_point, op.dtype)
    return "Channels first: (height, width, channels) becomes (channels, height, width)."


def _method(op: Resize | ResizeShortSide) -> str:
    if op.method == "nearest":
        return "nearest pixel, half-pixel centres"
    return "bilinear, half-pixel centres, no antialiasing, 11 fractional bits in integers"


def _quantize(scale: float, zero_point: int, dtype: str) -> str:
    return (
        f"Quantize: round half to even (x / {scale!r}) {_signed(zero_point)}, "
        f"saturated to {escape(dtype)}."
    )


def _signed(value: int) -> str:
    return f"{'−' if value < 0 else '+'} {abs(value)}"


def _values(values: tuple[float, ...]) -> str:
    return ", ".join(repr(value) for value in values)


def _measurements(artifacts: Iterable[BundledArtifact], arch: str) -> Iterable[str]:
    """A row each; `arch` is the board's."""
    rows = []
    for artifact in artifacts:
        if not artifact.measured:
            rows.append((code(artifact.variant), "not measured", "", "", "", ""))
        for taken in artifact.measured:
            settings = f"{taken.settings.threads} threads, batch {taken.settings.batch}"
            device = taken.device + (" (emulated: times mean nothing)" if taken.emulated else "")
            if taken.machine and arch and taken.machine != arch:
                device += f" ({taken.machine}: measured on another kind of machine than the board)"
            rows.append(
                (
                    code(artifact.variant),
                    escape(device),
                    _time(taken.summary.median_ns),
                    _time(taken.summary.p99_ns),
                    settings,
                    "stable" if taken.summary.stable else "unstable",
                )
            )
    yield "## Measured"
    yield table(("Variant", "Device", "Median (95 % interval)", "p99", "Settings", ""), rows)


def _time(estimate: Estimate | None) -> str:
    """The value and its 95 % interval in the unit that suits the value."""
    if estimate is None:
        return "not measured"
    units = ((1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns"))
    size, unit = next((u for u in units if estimate.value >= u[0]), units[-1])
    text = f"{estimate.value / size:.3g}"
    if estimate.low is not None and estimate.high is not None:
        text += f" ({estimate.low / size:.3g} to {estimate.high / size:.3g})"
    return f"{text} {unit}"


def _where_from(manifest: Manifest) -> Iterable[str]:
    source = manifest.provenance
    yield "## Where it comes from"
    rows = [
        ("Source model", f"{code(source.model_name)} ({escape(source.model_kind)})"),
        ("SHA-256 of it", code(source.model_digest or "made by a function")),
        ("Licence", escape(manifest.licence) or "not stated by whoever bundled it"),
        ("Maintainer", escape(manifest.maintainer) or "not stated"),
        ("Board profile", code(source.profile)),
        ("Calibration", _data(source.calibration_samples, source.calibration_digest)),
        ("Evaluation", _evaluation(source)),
        ("Bundled by", escape(source.bundled_by)),
    ]
    if source.overlap:
        rows.append(("In both sets", f"{source.overlap} samples"))
    rows += [
        (f"{code(a.variant)} made by", escape(", ".join([a.way, *_tools(a)])))
        for a in manifest.artifacts
    ]
    yield table(("", ""), rows)


def _evaluation(source: Provenance) -> str:
    words = {
        "evaluation": "",
        "calibration": ", which are the calibration's: the verdicts are flattered",
        "random": " of random numbers: they show that the files compute the same, not how well",
    }
    data = _data(source.evaluation_samples, source.evaluation_digest)
    return data.replace(" samples", f" samples{words[source.judged_on]}", 1)


def _data(samples: int, digest: str) -> str:
    return f"{samples} samples, SHA-256 {code(digest)}" if samples else "none"


def _tools(artifact: BundledArtifact) -> list[str]:
    return [f"{name} {version}" for name, version in artifact.tools.items()]


def _check(manifest: Manifest) -> Iterable[str]:
    yield "## Check that it is whole"
    if manifest.signature is not None:
        yield (
            "```sh\nedgekit verify . --public-key PUB.pem            # signed with a key\n"
            "edgekit verify . --certificate-chain CA.pem    # signed with a certificate\n```"
        )
        yield (
            "This finds every changed, missing or added file, and a bundle that is not by whom it "
            "should be. The key or certificate must come another way than this folder: whoever "
            f"can change the one can change the other. `{manifest.signature}` is a signature as "
            "OpenSSF's model_signing makes, over every other file here."
        )
        return
    yield f"```sh\nedgekit verify .    # or, for the manifest alone: sha256sum -c {SIDECAR}\n```"
    yield (
        "This finds every changed, missing or added file. The bundle is not signed: somebody who "
        f"means to deceive can change a file and write `{MANIFEST}` and `{SIDECAR}` anew. To rule "
        "that out, give the digest that `edgekit bundle` printed when this was made, received some "
        "other way than this folder: `edgekit verify . --digest SHA256`."
    )
