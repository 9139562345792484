"""The Android app's sources beside what they have to agree with: versions, colours, layouts."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from edgekit.bundles.android.sources import COMPILE_SDK, EXECUTORCH, LITERT, MIN_SDK
from tools import build_apk
from tools.build_apk import APP, DEMO, SHIPPED, TAKEN

ANDROID = "{http://schemas.android.com/apk/res/android}"
LAYOUTS = sorted((APP / "res" / "layout").glob("*.xml"))
GRADLE = (DEMO / "app" / "build.gradle.kts").read_text()


def test_the_runtimes_are_those_of_bundles() -> None:
    for name, version in (("LiteRtRuntime", LITERT), ("ExecuTorchRuntime", EXECUTORCH)):
        source = (APP / "java" / "dev" / "edgekit" / "demo" / f"{name}.java").read_text()
        assert f'VERSION = "{version}";' in source
    assert f'"com.google.ai.edge.litert:litert:{LITERT}"' in GRADLE
    assert f'"com.google.ai.edge.litert:litert-gpu:{LITERT}"' in GRADLE
    assert f'"org.pytorch:executorch-android:{EXECUTORCH}"' in GRADLE


def test_gradle_builds_what_is_tested_here() -> None:
    assert (f"minSdk = {MIN_SDK}" in GRADLE, f"compileSdk = {COMPILE_SDK}" in GRADLE) == (True,) * 2
    assert (str(MIN_SDK), str(COMPILE_SDK)) == (build_apk.MIN_SDK, build_apk.TARGET_SDK)
    assert f'applicationId = "{build_apk.PACKAGE}"' in GRADLE
    left_out = re.findall(r'"(\w+)\.java"', (DEMO / "core" / "build.gradle.kts").read_text())
    assert {*left_out, *TAKEN} == {path.stem for path in SHIPPED.glob("*.java")}


def colors(folder: str) -> dict[str, str]:
    tree = ElementTree.parse(APP / "res" / folder / "colors.xml")
    return {each.attrib["name"]: each.text or "" for each in tree.getroot()}


def contrast(one: str, other: str) -> float:
    """https://www.w3.org/TR/WCAG21/#dfn-contrast-ratio"""

    def luminance(color: str) -> float:
        parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = (
            part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
        )
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("folder", ["values", "values-night"])
def test_text_is_readable_by_day_and_by_night(folder: str) -> None:
    found = colors(folder)
    assert found.keys() == colors("values").keys()
    for text in ("text", "text_quiet", "accent", "good", "caution"):
        for ground in ("background", "surface"):
            assert contrast(found[text], found[ground]) >= 4.5, (text, ground)
    assert contrast(found["on_accent"], found["accent"]) >= 4.5


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda path: path.stem)
def test_layouts_can_be_used_by_everybody(layout: Path) -> None:
    for element in ElementTree.parse(layout).iter():
        assert element.get(f"{ANDROID}textSize", "sp").endswith("sp")
        if element.tag in ("ImageView", "ImageButton"):
            assert element.get(f"{ANDROID}contentDescription")
        if element.tag == "Button":
            assert element.get("style", "").startswith("@style/Action")
            text = element.get(f"{ANDROID}text", "")
            # A sign alone is not read out as what it does.
            assert text.startswith("@string/") or element.get(f"{ANDROID}contentDescription")
        if element.get(f"{ANDROID}clickable"):
            height = element.get(f"{ANDROID}minHeight", "0dp").removesuffix("dp")
            assert int(height) >= 48


def test_buttons_are_large_enough() -> None:
    styles = ElementTree.parse(APP / "res" / "values" / "styles.xml")
    action = styles.find("./style[@name='Action']/item[@name='android:minHeight']")
    assert action is not None
    assert int((action.text or "0dp").removesuffix("dp")) >= 48
