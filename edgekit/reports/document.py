"""The report as JSON, for programs. Keys stay; new ones may come; `schema` counts up otherwise.

    schema          1
    build           name, created, edgekit_version; model {name, kind, digest}; profile {name,
                    title, arch, runtime}; data (as in build.json); labels (how many); signature;
                    preprocessing; best (name of the best accepted variant, or null)
    variants[]      name, status, reasons[], format, files[{path, size_bytes, sha256}], size_bytes,
                    zipped_bytes (after deflate, as in an app's download), size_of_float32 (1.0 is
                    equal), top1, top5, source_top1 (shares), drop_points, score (the budget's
                    metric with the 95 % interval of its drop, as `edgekit.core.verdict.Score`),
                    snr_db (the worst output's), compared (false: there is nothing to compare, and
                    a null snr_db does not mean equal), parity[], divergence, loads[], recipe,
                    passes[] (each: spec, asked, refused, before, after, score, history, notes),
                    way, tools, stand_in (if not empty: what was compared in place of the artifact,
                    which cannot run here; top1, score, snr_db and parity are of that)
    measurements[]  id, variant, artifact_sha256, created, device, device_name, emulated, settings,
                    hello, environment_before, environment_after, check, accuracy (of the
                    board's own answers, or null), summary (times in ns, each with value, low,
                    high of its 95 % interval; energy of one inference in J, with mean and idle
                    power in W; what is null has its reason in "unavailable" beside it), and
                    launches[] (raw samples in ns, what sensors said) if they were asked for

What was not measured, does not apply or is not finite is null, never 0.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from edgekit.core.build import Build, Variant
from edgekit.core.result import Result
from edgekit.reports.view import best_name, float32_bytes

SCHEMA = 1


def report_json(build: Build, results: Sequence[Result] = (), *, raw: bool = False) -> str:
    """The document as text; `raw` adds every sample of every launch."""
    document = report_document(build, results, raw=raw)
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def report_document(
    build: Build, results: Sequence[Result] = (), *, raw: bool = False
) -> dict[str, Any]:
    """The document in plain JSON types."""
    base = float32_bytes(build)
    document = {
        "schema": SCHEMA,
        "build": {
            "name": build.name,
            "created": build.created,
            "edgekit_version": build.edgekit_version,
            "model": {
                "name": build.model.name,
                "kind": build.model.kind,
                "digest": build.model.digest,
            },
            "profile": {
                "name": build.profile.name,
                "title": build.profile.title,
                "arch": build.profile.arch,
                "runtimes": [runtime.to_json() for runtime in build.profile.runtimes],
            },
            "data": build.data.to_json(),
            "labels": len(build.labels),
            "signature": build.signature.to_json(),
            "preprocessing": build.preprocessing.to_json(),
            "best": best_name(build, results),
        },
        "variants": [_variant(variant, base) for variant in build.variants],
        "measurements": [_measurement(result, raw) for result in results],
    }
    finite: dict[str, Any] = _finite(document)
    return finite


def _finite(value: Any) -> Any:
    """`value` with null for infinities and NaN, which JSON does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list) else value


def _variant(variant: Variant, base: int | None) -> dict[str, Any]:
    verdict, artifact = variant.verdict, variant.artifact
    size = artifact.size_bytes if artifact else None
    return {
        "name": variant.recipe.name,
        "status": verdict.status,
        "reasons": list(verdict.reasons),
        "format": variant.recipe.format,
        "files": [file.to_json() for file in artifact.files] if artifact else [],
        "size_bytes": size,
        "zipped_bytes": artifact.zipped_bytes if artifact else None,
        "size_of_float32": size / base if size is not None and base else None,
        "top1": verdict.accuracy.top1 if verdict.accuracy else None,
        "top5": verdict.accuracy.top5 if verdict.accuracy else None,
        "source_top1": verdict.source_accuracy.top1 if verdict.source_accuracy else None,
        "drop_points": verdict.drop_points,
        "score": verdict.score.to_json() if verdict.score else None,
        "snr_db": verdict.worst_snr_db,
        "compared": bool(verdict.parity),
        "parity": [parity.to_json() for parity in verdict.parity],
        "divergence": verdict.divergence.to_json() if verdict.divergence else None,
        "loads": [load.to_json() for load in verdict.loads],
        "passes": [report.to_json() for report in variant.passes],
        "recipe": variant.recipe.to_json(),
        "way": artifact.way if artifact else None,
        "notes": list(artifact.notes) if artifact else [],
        "tools": artifact.tools if artifact else {},
        "convert_seconds": variant.convert_seconds,
        "convert_peak_bytes": variant.convert_peak_bytes,
        "stand_in": verdict.stand_in,
        "coverage": _coverage(variant),
    }


def _coverage(variant: Variant) -> dict[str, Any] | None:
    coverage, delegate = variant.coverage, variant.recipe.delegate
    if coverage is None:
        return None
    return {
        "delegate": delegate,
        "source": coverage.source,
        "operators": len(coverage.nodes),
        "share_of_operators": coverage.share_of_operators(delegate),
        "share_of_macs": coverage.share_of_macs(delegate),
        "partitions": coverage.partitions,
        "layout_changes": coverage.layout_changes,
        "fully_accelerated": coverage.fully_accelerated,
        "table": [line.to_json() for line in coverage.table],
    }


def _measurement(result: Result, raw: bool) -> dict[str, Any]:
    taken = result.measurement.to_json()
    launches = taken.pop("launches")
    document = {"id": result.id, **taken, "summary": result.summary.to_json()}
    return {**document, "launches": launches} if raw else document
