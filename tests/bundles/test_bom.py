"""The bill of materials: by the standard's own schema, with everything in it that is bundled."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgekit.bundles import About, bundle_linux
from edgekit.core.build import Build, load_build
from edgekit.core.files import sha256_file
from tests.samples import result, write_build


@pytest.fixture
def build(tmp_path: Path) -> Build:
    write_build(tmp_path / "build")
    return load_build(tmp_path / "build")


def valid(data: str) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(data)
    assert problem is None, str(problem)[:2000]


@pytest.mark.slow
@pytest.mark.parametrize("licence", ["", "Apache-2.0", "MIT OR Apache-2.0", "ask <legal> first"])
def test_it_is_what_the_standard_says(build: Build, tmp_path: Path, licence: str) -> None:
    about = About(
        name="digits", version="1.2.3", licence=licence, maintainer="Ada <ada@example.org>"
    )
    bundle_linux(build, tmp_path / "out", every=True, results=[result(build)], about=about)
    data = (tmp_path / "out" / "bom.cdx.json").read_text()
    valid(data)
    with pytest.raises(AssertionError, match="specVersion"):  # the check can fail
        valid(data.replace('"specVersion": "1.6"', '"specVersion": 1.6'))
    assert ("licenses" in json.loads(data)["metadata"]["component"]) is bool(licence)


def test_everything_is_in_it(build: Build, tmp_path: Path) -> None:
    out = tmp_path / "out"
    made = bundle_linux(build, out, every=True, results=[result(build, "int8")])
    bill = json.loads((out / "bom.cdx.json").read_text())
    parts = {part["bom-ref"]: part for part in bill["components"]}
    for artifact in made.manifest.artifacts:
        part = parts[f"model:{artifact.variant}"]
        digest = sha256_file(out / artifact.files[0])
        assert part["hashes"] == [{"alg": "SHA-256", "content": digest}]
        assert [file["name"] for file in part["components"]] == list(artifact.files)
        assert "float32 1×10" in part["modelCard"]["modelParameters"]["outputs"][0]["format"]
    metrics = parts["model:int8"]["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    assert [metric["type"] for metric in metrics] == ["top-1", "median latency in ns"]
    assert "raspberry-pi-5" in metrics[1]["slice"]
    assert parts["source"]["hashes"][0]["content"] == "ab" * 32
    assert parts["data:calibration"]["hashes"][0]["content"] == "cd" * 32
    assert parts["package:tensorflow@2.21.0"]["purl"] == "pkg:pypi/tensorflow@2.21.0"
    refs = {"bundle", *parts}
    for entry in bill["dependencies"]:
        assert {entry["ref"], *entry["dependsOn"]} <= refs
    listed = [file.path for file in made.manifest.files]
    assert made.manifest.bill in listed


def test_equal_bundles_have_equal_bills_and_others_another_number(
    build: Build, tmp_path: Path
) -> None:
    bills = []
    for name, version in (("a", "1.0.0"), ("b", "1.0.0"), ("c", "1.0.1")):
        bundle_linux(build, tmp_path / name, about=About(version=version))
        bills.append((tmp_path / name / "bom.cdx.json").read_bytes())
    assert bills[0] == bills[1]
    assert json.loads(bills[0])["serialNumber"] != json.loads(bills[2])["serialNumber"]
