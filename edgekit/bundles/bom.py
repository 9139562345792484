"""``bom.cdx.json``: the bill of materials, CycloneDX 1.6 with what it has for models.

Page: https://cyclonedx.org/docs/1.6/json/. Written by hand, as the usual library has no model
cards; a test holds it to the standard's own schema. A component each: the models with their files,
inputs, outputs and scores; the source model; the data; the packages that had a hand in them.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from edgekit.bundles.manifest import BundledArtifact, Manifest
from edgekit.core.tensor import TensorSpec

BILL = "bom.cdx.json"
SPDX = r"\(?[A-Za-z0-9.+-]+\)?( (AND|OR|WITH) \(?[A-Za-z0-9.+-]+\)?)*"
FILES = uuid.UUID("5f0d3c9e-6a55-4b0e-9a0e-0c2f4b7d1e11")  # names bills by what is in them


def bill_of_materials(manifest: Manifest) -> bytes:
    """The file's bytes for the bundle with that manifest; the same for an equal one."""
    source = manifest.provenance
    models = [_model(manifest, artifact) for artifact in manifest.artifacts]
    packages = _packages(manifest)
    data = [
        _data(name, digest, samples)
        for name, digest, samples in (
            ("calibration", source.calibration_digest, source.calibration_samples),
            ("evaluation", source.evaluation_digest, source.evaluation_samples),
        )
        if digest
    ]
    origin = {
        "type": "machine-learning-model",
        "bom-ref": "source",
        "name": source.model_name,
        "description": f"the source model, {source.model_kind}",
        **_hashes(source.model_digest),
    }
    product = {
        "type": "machine-learning-model",
        "bom-ref": "bundle",
        "name": manifest.name,
        "version": manifest.version,
        **({"description": manifest.description} if manifest.description else {}),
        **licences(manifest.licence),
        **({"supplier": {"name": manifest.maintainer}} if manifest.maintainer else {}),
    }
    needs = {"bundle": [model["bom-ref"] for model in models]}
    for artifact, model in zip(manifest.artifacts, models, strict=True):
        tools = [_reference(*each) for each in artifact.tools.items()]
        needs[model["bom-ref"]] = ["source", *(each["bom-ref"] for each in data), *tools]
    content: dict[str, Any] = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": manifest.created,
            "tools": {"components": [_application(source.bundled_by)]},
            "component": product,
        },
        "components": [*models, origin, *data, *packages],
        "dependencies": [
            {"ref": ref, "dependsOn": sorted(set(wanted))} for ref, wanted in needs.items()
        ],
    }
    # Named by its content, as a random name would make two equal bundles differ.
    content["serialNumber"] = f"urn:uuid:{uuid.uuid5(FILES, json.dumps(content, sort_keys=True))}"
    return (json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def licences(licence: str) -> dict[str, Any]:
    """The key `licenses` of a component; none where nobody said what it is under."""
    if not licence:
        return {}
    if re.fullmatch(SPDX, licence):
        return {"licenses": [{"expression": licence}]}
    return {"licenses": [{"license": {"name": licence}}]}


def _model(manifest: Manifest, artifact: BundledArtifact) -> dict[str, Any]:
    digests = {file.path: file.sha256 for file in manifest.files}
    known = {a.variant for a in manifest.artifacts}
    ancestors = [{"type": "machine-learning-model", "name": manifest.provenance.model_name}]
    if artifact.parent_variant in known:
        ancestors[0]["name"] = f"{manifest.name}-{artifact.parent_variant}"
    properties = {
        "edgekit:variant": artifact.variant,
        "edgekit:format": artifact.format,
        "edgekit:recipe": artifact.recipe_digest,
        "edgekit:way": artifact.way,
        "edgekit:verdict": artifact.verdict.status,
    }
    return {
        "type": "machine-learning-model",
        "bom-ref": f"model:{artifact.variant}",
        "name": f"{manifest.name}-{artifact.variant}",
        "version": manifest.version,
        "hashes": [{"alg": "SHA-256", "content": digests[artifact.files[0]]}],
        **licences(manifest.licence),
        "pedigree": {"ancestors": [{**ancestors[0], **_hashes(artifact.parent)}]},
        "components": [
            {"type": "file", "bom-ref": f"file:{path}", "name": path, **_hashes(digests[path])}
            for path in artifact.files
        ],
        "modelCard": {
            "modelParameters": {
                "inputs": [{"format": _words(spec)} for spec in artifact.signature.inputs],
                "outputs": [{"format": _words(spec)} for spec in artifact.signature.outputs],
            },
            "quantitativeAnalysis": {"performanceMetrics": list(_metrics(artifact))},
            **_considerations(manifest, artifact),
        },
        "properties": [{"name": name, "value": value} for name, value in properties.items()],
    }


def _metrics(artifact: BundledArtifact) -> Iterable[dict[str, Any]]:
    verdict = artifact.verdict
    if verdict.score is not None:
        yield {
            "type": verdict.score.title,
            "value": repr(verdict.score.value),
            "slice": f"{verdict.score.samples} samples",
        }
    for taken in artifact.measured:
        estimate = taken.summary.median_ns
        device = taken.device + (", emulated: means nothing" if taken.emulated else "")
        yield {
            "type": "median latency in ns",
            "value": repr(estimate.value),
            "slice": f"{device}, {taken.runtime}, {taken.settings.threads} threads",
            **(
                {
                    "confidenceInterval": {
                        "lowerBound": repr(estimate.low),
                        "upperBound": repr(estimate.high),
                    }
                }
                if estimate.low is not None and estimate.high is not None
                else {}
            ),
        }


def _considerations(manifest: Manifest, artifact: BundledArtifact) -> dict[str, Any]:
    mine = [n for n in manifest.notices if n.startswith(f"{artifact.variant} was ")]
    limits = [*mine, *artifact.notes]
    return {"considerations": {"technicalLimitations": limits}} if limits else {}


def _data(name: str, digest: str, samples: int) -> dict[str, Any]:
    return {
        "type": "data",
        "bom-ref": f"data:{name}",
        "name": f"{name} data",
        "description": f"{samples} samples",
        **_hashes(digest),
        "data": [{"type": "dataset", "name": name}],
    }


def _packages(manifest: Manifest) -> list[dict[str, Any]]:
    tools = {tool for artifact in manifest.artifacts for tool in artifact.tools.items()}
    return [
        {
            "type": "library",
            "bom-ref": _reference(name, version),
            "name": name,
            "version": version,
            "purl": f"pkg:pypi/{quote(name.lower().replace('_', '-'))}@{quote(version)}",
        }
        for name, version in sorted(tools)
    ]


def _reference(name: str, version: str) -> str:
    return f"package:{name}@{version}"


def _application(words: str) -> dict[str, Any]:
    name, _, version = words.partition(" ")
    return {"type": "application", "name": name, "version": version}


def _hashes(digest: str) -> dict[str, Any]:
    """A source that is a function has no digest."""
    return {"hashes": [{"alg": "SHA-256", "content": digest}]} if digest else {}


def _words(spec: TensorSpec) -> str:
    text = f"{spec.name}: {spec.dtype} {spec.sizes}"
    if spec.quantization is None:
        return text
    if len(spec.quantization.scale) > 1:
        return f"{text}, {len(spec.quantization.scale)} scales along {spec.quantization.axis}"
    scale, zero_point = spec.quantization.scale[0], spec.quantization.zero_point[0]
    return f"{text}, real = {scale!r} × (stored − {zero_point})"
