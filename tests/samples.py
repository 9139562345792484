"""Sample nouns for tests: a build with every kind of verdict, and measurements with raw samples.

All of it is made from a seed; the artifact files are small but real bytes on disk, so that digests
mean something. Nothing here needs a framework.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from edgekit.core.artifact import Artifact, File
from edgekit.core.build import Build, CheckSet, DataNote, Variant, save_build
from edgekit.core.files import sha256_file, zipped_bytes
from edgekit.core.measurement import Launch, Measurement, MeasureSettings, OutputCheck
from edgekit.core.model import Model
from edgekit.core.preprocessing import Cast, Normalize, Preprocessing, Resize
from edgekit.core.profile import Cpu, DeviceProfile, Runtime
from edgekit.core.recipe import BUILTIN
from edgekit.core.result import Estimate, Result, Summary
from edgekit.core.tensor import Quantization, Signature, TensorSpec
from edgekit.core.verdict import Accuracy, Divergence, LoadCheck, OutputParity, Score, Verdict

CREATED = "2026-03-14T09:26:53+00:00"
LABELS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

# What the variants of a small digits classifier look like; sizes in bytes, accuracy from 0 to 1.
_SIZES = {
    "float32": 41_200,
    "float16": 22_600,
    "dynamic": 14_100,
    "int8": 13_900,
    "int8-io": 13_880,
}
_TOP1 = {"float32": 0.9861, "float16": 0.9861, "dynamic": 0.9833, "int8": 0.9806, "int8-io": 0.9333}
_SNR = {"float32": 128.4, "float16": 66.2, "dynamic": 31.5, "int8": 27.9, "int8-io": 12.1}
_MEDIAN_US = {"float32": 42.0, "float16": 43.5, "dynamic": 35.0, "int8": 18.0, "int8-io": 17.0}


def profile() -> DeviceProfile:
    return DeviceProfile(
        schema=1,
        name="raspberry-pi-5",
        title="Raspberry Pi 5",
        page="https://www.raspberrypi.com/products/raspberry-pi-5/",
        os="linux",
        arch="aarch64",
        transport="ssh",
        cpu=(Cpu(model="Cortex-A76", cores=4, max_mhz=2400),),
        memory_mb=2048,
        threads=4,
        runtimes=(
            Runtime(name="ai-edge-litert", version="2.3.0", variants=tuple(BUILTIN)),
            Runtime(name="tflite-runtime", version="2.14.0", variants=("float32", "float16")),
        ),
        variants=("float32", "float16", "dynamic", "int8"),
    )


def signature(variant: str = "float32") -> Signature:
    """Of an 8 × 8 grey image to ten scores; integer at both ends for ``int8-io``."""
    if variant != "int8-io":
        return Signature(
            inputs=(TensorSpec(name="image", shape=(1, 8, 8, 1), dtype="float32"),),
            outputs=(TensorSpec(name="scores", shape=(1, 10), dtype="float32"),),
        )
    return Signature(
        inputs=(
            TensorSpec(
                name="image",
                shape=(1, 8, 8, 1),
                dtype="int8",
                quantization=Quantization(scale=(1 / 255,), zero_point=(-128,)),
            ),
        ),
        outputs=(
            TensorSpec(
                name="scores",
                shape=(1, 10),
                dtype="int8",
                quantization=Quantization(scale=(1 / 256,), zero_point=(-128,)),
            ),
        ),
    )


def score(name: str) -> Score:
    drop = 100 * (0.9861 - _TOP1[name])
    return Score(
        metric="top1",
        title="top-1",
        value=_TOP1[name],
        source_value=0.9861,
        drop=drop,
        low=drop - 1.25 if drop else 0,
        high=drop + 1.25 if drop else 0,
        samples=360,
        larger_is_better=True,
        unit="points",
    )


def verdict(name: str, *, labelled: bool = True) -> Verdict:
    rejected = name == "int8-io"
    return Verdict(
        status="rejected" if rejected else "accepted",
        reasons=("top-1 accuracy fell by 5.28 points, more than the 1.00 allowed",)
        if rejected
        else (),
        data="digits, held-out 360",
        samples=360,
        parity=(
            OutputParity(
                name="scores",
                max_abs_error=10 ** (-_SNR[name] / 20),
                cosine=1 - 10 ** (-_SNR[name] / 10),
                snr_db=_SNR[name],
                top1_agreement=_TOP1[name] if labelled else None,
                before_softmax=True,
            ),
        ),
        accuracy=Accuracy(top1=_TOP1[name], top5=0.9972) if labelled else None,
        source_accuracy=Accuracy(top1=0.9861, top5=0.9972) if labelled else None,
        score=score(name) if labelled else None,
        divergence=Divergence(
            layer="conv2d_1", tensor="digits/conv2d_1/Relu", snr_db=8.25, threshold_db=10
        )
        if rejected
        else None,
        loads=(LoadCheck(runtime="ai-edge-litert", version="2.3.0", loads=True, ok=True),),
    )


def write_build(
    folder: Path,
    *,
    name: str = "digits",
    variants: tuple[str, ...] = ("float32", "float16", "dynamic", "int8", "int8-io"),
    labelled: bool = True,
    failures: bool = True,
    artifact_bytes: dict[str, int] | None = None,
) -> Build:
    """A build in `folder`, with its artifact files and ``build.json``.

    With `failures` it also has a variant that no runtime of the board loads (``int16x8``) and one
    that could not be made (``dynamic-old``).
    """
    made = [_variant(folder, name, v, labelled, (artifact_bytes or _SIZES)[v]) for v in variants]
    if failures:
        made += [_unloadable(folder, name), _failed()]
    build = Build(
        name=name,
        created=CREATED,
        edgekit_version="0.1.0",
        model=Model(
            name=name,
            reference=f"{name}.keras",
            path=f"models/{name}.keras",
            framework="keras",
            kind="keras3",
            digest="ab" * 32,
            loader="edgekit.sources.keras:load",
            worker="tensorflow",
        ),
        signature=signature(),
        profile=profile(),
        preprocessing=preprocessing(),
        labels=LABELS if labelled else (),
        data=DataNote(
            calibration="digits-train.npz",
            calibration_digest="cd" * 32,
            calibration_samples=100,
            evaluation="digits-test.npz",
            evaluation_digest="ef" * 32,
            evaluation_samples=360,
        ),
        check=CheckSet(samples=8),
        variants=tuple(made),
    )
    save_build(build, folder)
    return build


def preprocessing() -> Preprocessing:
    return Preprocessing(
        operations=(
            Resize(height=8, width=8),
            Cast(dtype="float32"),
            Normalize(mean=(0.0,), std=(255.0,)),
        )
    )


def artifact(folder: Path, file_name: str, variant: str, size: int) -> Artifact:
    """An artifact with `size` bytes of seeded noise in ``artifacts/<file_name>``."""
    path = folder / "artifacts" / file_name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x1c\0\0\0TFL3" + random.Random(variant).randbytes(size - 8))
    return Artifact(
        variant=variant,
        format="tflite",
        files=(File(path=f"artifacts/{file_name}", size_bytes=size, sha256=sha256_file(path)),),
        signature=signature(variant),
        preprocessing=preprocessing(),
        recipe_digest=BUILTIN[variant].fingerprint(),
        parent="ab" * 32,
        way="TensorFlow's converter" if variant == "float32" else "ai-edge-quantizer",
        tools={"tensorflow": "2.21.0", "ai-edge-quantizer": "0.10.0"},
        zipped_bytes=zipped_bytes(path),
    )


def _variant(folder: Path, name: str, variant: str, labelled: bool, size: int) -> Variant:
    return Variant(
        recipe=BUILTIN[variant],
        named=False,
        artifact=artifact(folder, f"{name}-{variant}.tflite", variant, size),
        verdict=verdict(variant, labelled=labelled),
        convert_seconds=0.4,
    )


def _unloadable(folder: Path, name: str) -> Variant:
    return Variant(
        recipe=BUILTIN["int16x8"],
        named=False,
        artifact=artifact(folder, f"{name}-int16x8.tflite", "int16x8", 15_300),
        verdict=Verdict(
            status="unloadable",
            reasons=("ai-edge-litert 2.3.0 refuses it: AllocateTensors failed at node 3",),
            loads=(
                LoadCheck(
                    runtime="ai-edge-litert",
                    version="2.3.0",
                    loads=False,
                    ok=False,
                    error="AllocateTensors failed at node 3",
                ),
            ),
        ),
    )


def _failed() -> Variant:
    return Variant(
        recipe=BUILTIN["dynamic"].model_copy(update={"name": "dynamic-old"}),
        named=False,
        artifact=None,
        verdict=Verdict(status="failed", reasons=("quantize: the worker process ended with 1",)),
    )


def measurement(
    build: Build,
    variant: str = "int8",
    *,
    device: str = "ssh://pi@10.0.0.7:22",
    created: str = "2026-03-14T10:00:00+00:00",
    launches: int = 5,
    runs: int = 60,
    seed: int = 1,
    peak_rss: bool = True,
    emulated: bool = False,
) -> Measurement:
    """Times like a real board's: log-normal around a median, a slow tail, launches that differ."""
    draw = random.Random(f"{seed} {variant}")
    art = build.variant(variant).artifact
    assert art is not None
    median_ns = _MEDIAN_US.get(variant, 30.0) * 1000
    return Measurement(
        created=created,
        device=device,
        device_name="raspberry-pi-5",
        build_name=build.name,
        variant=variant,
        artifact_sha256=art.files[0].sha256,
        artifact_size_bytes=art.size_bytes,
        settings=MeasureSettings(launches=launches, runs=runs, threads=4),
        hello={
            "runtime": "ai_edge_litert",
            "runtime_version": "2.3.0",
            "python": "3.11.2",
            "machine": "aarch64",
        },
        environment_before=_environment(47.2, 0.08),
        environment_after=_environment(52.9, 0.91),
        launches=tuple(_launch(draw, median_ns, runs, peak_rss) for _ in range(launches)),
        check=OutputCheck(samples=8, max_abs_error=0.0, tolerance=1e-5, ok=True),
        emulated=emulated,
        edgekit_version="0.1.0",
    )


def _environment(celsius: float, load: float) -> dict[str, Any]:
    return {
        "governors": {"policy0": "ondemand"},
        "cpu_khz": {"policy0": 2_400_000},
        "cpu_max_khz": {"policy0": 2_400_000},
        "temperatures_c": {"thermal_zone0:cpu-thermal": celsius},
        "load_average": [load, 0.1, 0.05],
        "unavailable": {"throttled": "no get_throttled in /sys/devices"},
    }


def _launch(draw: random.Random, median_ns: float, runs: int, peak_rss: bool) -> Launch:
    level = median_ns * draw.lognormvariate(0, 0.02)  # each process lands elsewhere in memory

    def sample() -> int:
        slow = 1 + draw.expovariate(1.5) if draw.random() < 0.03 else 1.0  # something else ran
        return int(level * draw.lognormvariate(0, 0.03) * slow)

    return Launch(
        load_ns=int(draw.uniform(1.1e6, 1.4e6)),
        first_ns=int(level * 4),
        warmup_ns=tuple(sample() for _ in range(10)),
        samples_ns=tuple(sample() for _ in range(runs)),
        peak_rss_bytes=int(draw.uniform(38e6, 40e6)) if peak_rss else None,
    )


def result(build: Build, variant: str = "int8", **settings: Any) -> Result:
    """A measurement with plain numbers taken from its samples, in place of real statistics."""
    taken = measurement(build, variant, **settings)
    samples = sorted(ns for launch in taken.launches for ns in launch.samples_ns)

    def at(share: float) -> Estimate:
        value = samples[min(len(samples) - 1, int(share * len(samples)))]
        return Estimate(value=value, low=0.98 * value, high=1.03 * value)

    median = at(0.5)
    assert median.low is not None
    assert median.high is not None
    loads = sorted(launch.load_ns for launch in taken.launches)
    peaks = [launch.peak_rss_bytes for launch in taken.launches if launch.peak_rss_bytes]
    noisy = at(0.99).value > 2 * median.value
    return Result(
        id=settings.get("seed", 1),
        measurement=taken,
        summary=Summary(
            median_ns=median,
            p90_ns=at(0.9),
            p99_ns=at(0.99),
            throughput_per_second=Estimate(
                value=1e9 / median.value, low=1e9 / median.high, high=1e9 / median.low
            ),
            load_ns=Estimate(value=loads[len(loads) // 2]),
            first_ns=Estimate(value=taken.launches[0].first_ns),
            peak_rss_bytes=max(peaks, default=None),
            samples=len(samples),
            findings=("p99 is more than twice the median: something else ran; measure again",)
            if noisy
            else (),
        ),
    )
