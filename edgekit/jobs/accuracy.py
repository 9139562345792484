"""Accuracy on the device: the board's own answers to the whole evaluation set, scored here.

The few samples of the check set tell a board that computes nonsense; a delegate that is coarser
than it should be is told by what it costs. It is held against what the source and the artifact
scored at the conversion, sample by sample, which the build keeps: neither is run again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edgekit.core.build import Build, Variant, rows_file
from edgekit.core.dataset import DataSet
from edgekit.core.errors import DataError, DeviceError, RejectedError
from edgekit.core.measurement import DeviceAccuracy
from edgekit.core.protocols import Device
from edgekit.core.result import Result
from edgekit.core.tensor import Signature
from edgekit.data import open_data, read_data
from edgekit.jobs.ports import Ports
from edgekit.measure.answers import Answering
from edgekit.measure.runner import RunnerWish
from edgekit.measure.session import Progress
from edgekit.measure.subject import Subject
from edgekit.verify.judge import by_score
from edgekit.verify.metrics import make_metric, metric_named
from edgekit.verify.score import Kept
from edgekit.work.cache import Cache
from edgekit.work.pool import Pool
from edgekit.work.steps import Done, run_steps

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.generic]


def read_evaluation(build: Build, reference: str, variants: Sequence[Variant]) -> DataSet:
    """The evaluation set that `build` was judged on, for scores of `variants` on a board.

    Args:
        reference: what was given to ``convert --evaluate``.

    Raises:
        DataError: it is another set, or has no labels.
        InputError: the build keeps no scores of one of the variants.
    """
    metrics = {variant.recipe.budget.metric for variant in variants}
    values = any(metric_named(metric).targets == "values" for metric in metrics)
    step = open_data(
        reference, preprocessing=build.preprocessing, labels=build.labels, targets=values
    )
    with Pool() as pool:
        outcome = run_steps([step], pool=pool, cache=Cache())[step]
    if not isinstance(outcome, Done):
        raise outcome
    data = read_data(outcome)
    if not data.labelled and data.target is None:
        raise DataError(
            f"--evaluate {reference} has no labels to score a board's answers by",
            hint="without it the outputs there are compared with this computer's all the same",
        )
    if data.digest != build.data.evaluation_digest:
        raise DataError(
            f"--evaluate {reference} is not what the build was judged on "
            f"({build.data.evaluation}, {build.data.evaluation_samples} samples): scores of other "
            "samples cannot stand beside each other",
            hint="give the data of convert --evaluate, or convert again with this",
        )
    for variant in variants:
        kept = _kept(build, variant, data)
        if kept.samples != data.count:
            raise DataError(
                f"{variant.recipe.name} was scored on {kept.samples} samples, "
                f"{reference} has {data.count}",
                hint="run edgekit convert again with --evaluate",
            )
    return data


def _kept(build: Build, variant: Variant, data: DataSet) -> Kept:
    metric = make_metric(variant.recipe.budget.metric, build.signature, data)
    return Kept(rows_file(build.folder, variant.recipe.name), metric)


def device_accuracy(
    device: Device,
    build: Build,
    variant: Variant,
    subject: Subject,
    data: DataSet,
    *,
    threads: int,
    timeout_seconds: float,
    wish: RunnerWish,
    progress: Progress = lambda *_: None,
) -> DeviceAccuracy:
    """Run all of `data` through `variant` on `device` (open), and score the answers.

    Args:
        subject: the variant's, as it is measured.
        data: from `read_evaluation`.
        threads, timeout_seconds: of each launch of the runner; one takes a part of the data.

    Raises:
        DeviceError: it went wrong there; nothing is said of the accuracy then.
    """
    import numpy as np

    kept, budget = _kept(build, variant, data), variant.recipe.budget
    ports = Ports(build.signature, variant)
    answering = Answering(
        device, subject, threads=threads, timeout_seconds=timeout_seconds, wish=wish
    )
    targets: Any = data.targets()
    size, bad = answering.samples_a_part(ports.sample_bytes), 0
    for start in range(0, data.count, size):
        progress("evaluate", start, data.count)
        stop = min(start + size, data.count)
        rows = ports.store(data.rows(build.signature, start, stop))
        real = ports.real(ports.outputs_of(answering.answer(rows), device.address))
        answers = _shaped(real, build.signature, device.address)
        read = [np.asarray(answers[name]) for name in kept.metric.outputs]
        finite = np.ones(stop - start, bool)
        for array in read:
            if array.dtype.kind == "f":
                finite &= np.isfinite(array).reshape(len(array), -1).all(axis=1)
        bad += int((~finite).sum())
        if not bad:
            told = dict(zip(kept.metric.outputs, read, strict=True))
            kept.take(told, np.asarray(targets[start:stop]))
    progress("evaluate", data.count, data.count)
    common: dict[str, Any] = {
        "data": build.data.evaluation,
        "samples": data.count,
        "max_drop": budget.max_drop,
    }
    if bad:
        return DeviceAccuracy(
            **common,
            not_finite=bad,
            ok=False,
            detail=f"its answers are NaN or infinite for {bad} of {data.count} samples",
        )
    score, beside = kept.scores()
    ok, reasons = by_score(score, budget)
    here = f"{beside.title} {beside.said(beside.source_value)} on this computer"
    if beside.low > 0:
        here += f"; the board loses {beside.amount(beside.drop)} more, which is no noise"
    return DeviceAccuracy(
        **common, score=score, beside=beside, ok=ok, detail="; ".join([*reasons, here])
    )


def _shaped(real: dict[str, Array], source: Signature, where: str) -> dict[str, Array]:
    """Answers in the source's shapes: runtimes differ in writing ones."""
    shaped = {}
    for spec in source.outputs:
        array, sides = real[spec.name], spec.shape[1:]
        if None not in sides:
            try:
                array = array.reshape(len(array), *(side or 1 for side in sides))
            except ValueError as exc:
                raise DeviceError(
                    f"{where} gave {spec.name!r} as {array.shape[1:]}, the source gives {sides}"
                ) from exc
        shaped[spec.name] = array
    return shaped


def require_accurate(results: Sequence[Result]) -> None:
    """Raise RejectedError if a board scored worse than a budget allows."""
    worse = [r.measurement for r in results if r.measurement.accuracy]
    worse = [taken for taken in worse if taken.accuracy and not taken.accuracy.ok]
    if not worse:
        return
    first = worse[0]
    assert first.accuracy is not None
    more = f" (and {len(worse) - 1} more)" if len(worse) > 1 else ""
    raise RejectedError(
        f"{first.variant} on {first.device} is worse than its budget: "
        f"{first.accuracy.detail}{more}",
        hint="the board's runtime or delegate computes something else: compare its version with "
        "this computer's, try another delegate or variant",
    )
