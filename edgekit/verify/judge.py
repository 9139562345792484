"""The decision: what was found about an artifact, held against its recipe's budget.

With labels the drop of the budget's metric decides, where it is more than the noise of so many
samples. Without, the signal-to-noise ratio of every output does, taken before a final softmax where
there is one; so it does for the outputs that the metric does not read. Both do where source or
artifact do no better than guessing. An output whose error is larger than all that differs in it
from sample to sample says nothing, however large its signal.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgekit.core.recipe import Budget
from edgekit.core.verdict import Accuracy, Divergence, OutputParity, Score, Verdict
from edgekit.verify.folders import result, said
from edgekit.verify.score import ROWS_FILE

SHOWN = 4  # columns that are named
NO_LABELS = " (no labels)"
OF_SAMPLES = ("top1", "top5")  # metrics of which a sample is a step


def run(
    out: Path,
    data: str,
    budget: dict[str, Any],
    figures: str,
    layers: str | None = None,
    sizes: Sequence[dict[str, int]] = (),
    **others: str,
) -> dict[str, Any]:
    """``verdict``, a `Verdict` as JSON, from the results of `compare` and perhaps of `layers`.

    The rows of the metric are kept with it, where there are some.

    Args:
        sizes: of open dimensions, beside the largest; ``figures_<index>`` are those found there.
    """
    inner = result(layers)["layers"] if layers else []
    allowed = Budget.from_json(budget)
    verdict = judge(result(figures), inner, allowed, data)
    rows = Path(figures) / ROWS_FILE
    if rows.is_file():
        shutil.copyfile(rows, out / ROWS_FILE)
    bad: list[str] = []
    good: list[str] = []
    for index, each in enumerate(sizes):
        found = judge(result(others[f"figures_{index}"]), [], allowed, data)
        where = said(each).strip()
        if found.status == "accepted":
            good.append(f"{where}: {_in_short(found)}")
        else:
            bad += [f"{where}: {reason}" for reason in found.reasons]
    more = (f"also {'; '.join(good)}",) if good else ()
    if bad:
        more = (*bad, *more)
        if verdict.status == "accepted":
            verdict = verdict.model_copy(update={"status": "rejected", "reasons": ()})
    verdict = verdict.model_copy(update={"reasons": (*verdict.reasons, *more)})
    return {"verdict": verdict.to_json()}


def _in_short(found: Verdict) -> str:
    if found.score is not None:
        return _values(found.score)
    worst = found.worst_snr_db
    return "every output equals the source's" if worst is None else f"{worst:.1f} dB"


def judge(
    figures: dict[str, Any], layers: Sequence[dict[str, Any]], budget: Budget, data: str
) -> Verdict:
    """The verdict on one artifact.

    Args:
        figures: from `edgekit.verify.compare.run`.
        layers: from `edgekit.verify.layers.run`.
        budget: what may be lost.
        data: in words, what it was compared on.
    """
    samples, outputs = figures["samples"], figures["outputs"]
    parity = tuple(OutputParity.from_json(each["parity"]) for each in outputs)
    labelled = next((each["accuracy"] for each in outputs if each["accuracy"]), None)
    score = Score.from_json(figures["score"]) if figures["score"] else None
    accuracy = source = None
    if labelled is not None:
        accuracy = Accuracy.from_json(labelled["artifact"])
        source = Accuracy.from_json(labelled["source"])
    broken = [_broken(each, samples) for each in outputs if each["not_finite"]]
    if broken:
        fine, reasons = False, broken
    elif score is not None:
        fine, reasons = by_score(score, budget)
        if accuracy is not None and source is not None:
            guessed = _of_chance(accuracy, source, samples, figures)
        else:
            guessed = _of_a_constant(score, figures["constant"])
        reasons += guessed
        rest = [each for each in outputs if guessed or not each["measured"]]
        quiet, more = _by_noise(rest, budget) if rest else (True, [])
        fine = fine and quiet
        reasons += [reason.removesuffix(NO_LABELS) for reason in more]
    else:
        fine, reasons = _by_noise(outputs, budget)
    reasons += [
        f"the source's {each['parity']['name']} is all alike on this data: it proves nothing"
        for each in outputs
        if each["flat"]
    ]
    reasons += [
        f"{each['parity']['name']} gives the same value everywhere for {each['blank']} of "
        f"{samples} samples, and the source does not: its scores are too small for the steps"
        for each in outputs
        if each["blank"]
    ]
    return Verdict(
        status="accepted" if fine else "rejected",
        reasons=tuple(reasons),
        data=data,
        samples=samples,
        parity=parity,
        accuracy=accuracy,
        source_accuracy=source,
        score=score,
        # Where every output is near enough, an inner one that is not was matched with another.
        divergence=None
        if fine and score is None
        else first_divergence(layers, budget.min_snr_db, always=not fine),
    )


def _broken(output: dict[str, Any], samples: int) -> str:
    name = output["parity"]["name"]
    return f"{name} is NaN or infinite for {output['not_finite']} of {samples} samples"


def by_score(score: Score, budget: Budget) -> tuple[bool, list[str]]:
    """Whether the drop of the metric is allowed, or no more than noise, and why, in words."""
    allowed, whole = budget.max_drop, score.metric in OF_SAMPLES
    step = 100 / score.samples  # of a share of samples
    lost = round(score.drop / step)
    count = f" ({abs(lost)} of {score.samples} samples)" if whole else ""
    if score.drop > 0:
        change = f"{score.amount(score.drop)} lost{count}, {allowed:.2f} allowed"
    elif score.drop < 0:
        change = f"{score.amount(-score.drop)} gained{count}"
    elif whole:
        change = f"no drop seen; {score.samples} samples show none below {step:.2f} points"
    else:
        change = f"no drop seen on {score.samples} samples"
    if score.low < score.high:
        change += f"; 95 % interval of the drop {score.low:.2f} to {score.high:.2f}"
    reasons = [f"{_values(score)}: {change}"]
    fine = score.within(allowed)
    if fine and not score.kept(allowed):
        reasons.append(
            f"{score.amount(score.drop)} are over the budget of {allowed:.2f}, but no more than "
            f"noise: the interval, {score.low:.2f} to {score.high:.2f}, includes 0"
        )
    blind = score.blind(allowed)
    if blind:
        reasons.append(blind)
    elif whole and 0 < allowed < step:
        reasons.append(
            f"the budget of {allowed:.2f} points is finer than one sample "
            f"({step:.2f} points): give more evaluation samples"
        )
    return fine, reasons


def _values(score: Score) -> str:
    return f"{score.title} {score.said(score.value)}, source {score.said(score.source_value)}"


def _of_chance(
    accuracy: Accuracy, source: Accuracy, samples: int, figures: dict[str, Any]
) -> list[str]:
    """A reason where source or artifact only guess classes."""
    chance = max(1 / figures["classes"], figures["commonest"])
    for who, top1 in (("the source model itself", source.top1), ("the artifact", accuracy.top1)):
        if _guesses(top1, samples, chance):
            return [
                f"{who} ({100 * top1:.1f} %) is not better than guessing ({100 * chance:.1f} %), "
                "so noise decides as well: check the order of the labels, --preprocess, and that "
                "the samples are enough and of all classes"
            ]
    return []


def _of_a_constant(score: Score, constant: dict[str, Any] | None) -> list[str]:
    """A reason where source or artifact are no better than one who always says the same."""
    if constant is None or not constant["no_better"]:
        return []
    of_source = "source" in constant["no_better"]
    who, value = (
        ("the source model itself", score.source_value)
        if of_source
        else ("the artifact", score.value)
    )
    return [
        f"{who} ({score.said(value)}) is not surely better than the same answer to every sample "
        f"({score.said(constant['value'])}), so noise decides as well: check the targets, "
        "--preprocess, and that the samples are enough"
    ]


def _guesses(top1: float, samples: int, chance: float) -> bool:
    """Whether an accuracy could be luck: within two standard deviations of `chance`.

    Against such a source no drop proves anything, any artifact would pass; and such an artifact may
    say the same to every sample. Chance is to draw one of the classes, or, where one class is more
    common than the others, to say that one always.
    """
    deviation = math.sqrt(chance * (1 - chance) / samples)
    return top1 <= chance + 2 * deviation


def _by_noise(outputs: Sequence[dict[str, Any]], budget: Budget) -> tuple[bool, list[str]]:
    """By the ratio of signal to noise, and by what is left of the differences between samples."""
    real = [each for each in outputs if each["equal"] is None]
    fine = True
    reasons: list[str] = []
    if real:
        parity = [OutputParity.from_json(each["parity"]) for each in real]
        fine, reasons = _by_ratio(parity, budget)
    for each in outputs:
        if each["equal"] is not None:  # a class id that is off by one is as wrong as any other
            same, least = 100 * each["equal"], 100 - budget.max_drop
            fine = fine and same >= least - 1e-9
            reasons.append(
                f"{each['parity']['name']}: {same:.2f} % of its whole numbers are the source's, "
                f"{least:.2f} % are needed"
            )
    for each in real:
        found, name = each["variation"], each["parity"]["name"]
        if found is None:
            continue
        if found["snr_db"] <= 0:
            fine = False
            reasons.append(
                f"{name}: the error is larger than all that differs between the samples "
                f"({found['snr_db']:.1f} dB): it may as well be a constant"
            )
        elif found["lost"]:
            count, columns = len(found["lost"]), found["columns"]
            which = ", ".join(str(at) for at in found["lost"][:SHOWN])
            reasons.append(
                f"{name}: in {count} of {columns} columns of its last axis (from 0: {which}"
                f"{', …' if count > SHOWN else ''}) the error is larger than what differs between "
                "the samples"
            )
    return fine, reasons


def _by_ratio(parity: Sequence[OutputParity], budget: Budget) -> tuple[bool, list[str]]:
    noisy = [each for each in parity if each.snr_db is not None]
    if not noisy:
        exactly = all(each.max_abs_error == 0 for each in parity)
        return True, [f"every output equals the source's{'' if exactly else ' to rounding'}"]
    worst = min(noisy, key=lambda each: each.snr_db or 0.0)
    assert worst.snr_db is not None
    fine = worst.snr_db >= budget.min_snr_db
    where = " before its softmax" if worst.before_softmax else ""
    relation = "at least" if fine else "less than the"
    needed = f"{budget.min_snr_db:.1f} dB {'are needed' if fine else 'needed'}"
    return fine, [f"{worst.name}{where}: {worst.snr_db:.1f} dB, {relation} {needed}{NO_LABELS}"]


def first_divergence(
    layers: Sequence[dict[str, Any]], threshold_db: float, *, always: bool
) -> Divergence | None:
    """The first layer below the threshold.

    Where `always` is set and none is, the threshold becomes the ratio of the last layer, so that
    the first one that is as bad as the end result is named.
    """
    noisy = [each for each in layers if each["snr_db"] is not None]
    if always and noisy:
        threshold_db = max(threshold_db, noisy[-1]["snr_db"])
    for each in noisy:
        if each["snr_db"] < threshold_db or (always and each["snr_db"] == threshold_db):
            return Divergence(
                layer=each["layer"],
                tensor=each["tensor"],
                snr_db=each["snr_db"],
                threshold_db=threshold_db,
            )
    return None
