"""Several variants in one bundle: which phone gets which, and the class that chooses."""

from __future__ import annotations

import shutil
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from edgekit.bundles import bundle_android, verify_bundle
from edgekit.bundles.android.choice import Condition, parse_condition
from edgekit.core.artifact import File
from edgekit.core.build import Build
from edgekit.core.errors import InputError, UsageError
from edgekit.core.files import sha256_file
from tests.android_nets import SCORES, make_build, spec
from tests.bundles.test_android import App, api, libraries

pytestmark = pytest.mark.slow

__all__ = ["api", "libraries"]  # fixtures

TEXT = "signature=serving_default\nin.image=float32 12\nout.scores=float32 3\n"
CPU, GPU = f"accepts=CPU\n{TEXT}".encode(), f"accepts=GPU\n{TEXT}".encode()
NEITHER = f"accepts=NPU\n{TEXT}".encode()
MEMORY = 8_000_000_000


def build_of(folder: Path, **contents: bytes) -> Build:
    """A build with these variants of one net, whose contents say what takes them."""
    build = make_build(
        folder,
        (spec("image", "float32", 2, 2, 3),),
        (SCORES,),
        steps="resize=2x2:nearest,normalize=0.0/255.0",
        labels=("cat", "dog", "ü"),
    )
    (known,) = build.variants
    assert known.artifact is not None
    made = []
    for name, content in contents.items():
        path = f"artifacts/{name}.tflite"
        (build.folder / path).write_bytes(content)
        sha256 = sha256_file(build.folder / path)
        file = File(path=path, size_bytes=len(content), sha256=sha256)
        delegate = "gpu" if b"GPU" in content else "xnnpack"
        made.append(
            known.model_copy(
                update={
                    "recipe": known.recipe.model_copy(update={"name": name, "delegate": delegate}),
                    "artifact": known.artifact.model_copy(update={"files": (file,)}),
                }
            )
        )
    return build.model_copy(update={"variants": tuple(made)})


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("int8", Condition("int8")),
        ("npu: soc=SM8650|SM8750", Condition("npu", socs=("SM8650", "SM8750"))),
        ("npu:api>=31,ram>=8GB", Condition("npu", api=31, ram_gib=8)),
        ("npu: soc=QTI/SM8650|QTI/SM8750", Condition("npu", socs=("QTI/SM8650", "QTI/SM8750"))),
        ("a: soc=Tensor G3 , api>=34", Condition("a", socs=("Tensor G3",), api=34)),
    ],
)
def test_conditions_that_can_be_said(text: str, found: Condition) -> None:
    assert parse_condition(text) == found


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("npu: sco=SM8650", "'sco=SM8650' is no condition"),
        ("npu: ram>=8", "'ram>=8' is no condition"),
        ('npu: soc=a"b', "is no condition"),
        ("npu: api>=31, api>=33", "has two of a kind"),
        (": api>=31", "names no variant"),
    ],
)
def test_conditions_that_say_nothing(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        parse_condition(text)
    assert "soc=SM8650|SM8750" in caught.value.hint


@pytest.mark.parametrize(
    ("when", "says"),
    [
        (["npu: api>=31"], "names 'npu'; in the bundle are gpu, int8"),
        (["gpu: api>=31", "gpu: ram>=4GB"], "names 'gpu' twice"),
        (["int8", "gpu: api>=31"], "behind a variant for every phone no other is reached"),
        (["int8: api>=31", "gpu: api>=26"], "no variant for every phone"),
    ],
)
def test_rules_that_do_not_hold_together(tmp_path: Path, when: list[str], says: str) -> None:
    build = build_of(tmp_path / "build", gpu=GPU, int8=CPU)
    with pytest.raises(UsageError, match=says):
        bundle_android(build, tmp_path / "out", every=True, when=when)
    assert not (tmp_path / "out").exists()


def test_variants_that_an_app_cannot_treat_alike(tmp_path: Path) -> None:
    build = build_of(tmp_path / "build", gpu=GPU, int8=CPU)
    gpu, int8 = build.variants
    assert int8.artifact is not None
    signature = int8.artifact.signature.model_copy(
        update={"outputs": (spec("others", "float32", 3),)}
    )
    other = int8.model_copy(
        update={"artifact": int8.artifact.model_copy(update={"signature": signature})}
    )
    build = build.model_copy(update={"variants": (gpu, other)})
    with pytest.raises(InputError, match="gpu and int8 do not take and give the same"):
        bundle_android(build, tmp_path / "out", every=True, when=["gpu: api>=31", "int8"])


def test_what_is_in_the_bundle(tmp_path: Path) -> None:
    build = build_of(tmp_path / "build", gpu=GPU, int8=CPU)
    when = ["gpu: soc=SM8650, ram>=6GB", "int8"]
    made = bundle_android(build, tmp_path / "out", every=True, when=when)
    verify_bundle(made.folder)
    java = made.folder / "module" / "src" / "main" / "java" / "edgekit" / "net"
    assert {"Net.java", "NetGpu.java", "NetInt8.java", "Phone.java"} <= {
        path.name for path in java.iterdir()
    }
    assert "1. `gpu`: the SoC is SM8650, sold with 6 GB of memory or more" in (
        made.folder / "README.md"
    ).read_text(encoding="utf-8")
    plain = bundle_android(build, tmp_path / "plain", every=True).folder
    assert not list(plain.rglob("Phone.java"))


def test_an_app_gets_the_variant_for_its_phone(
    tmp_path: Path, libraries: tuple[Path, Path]
) -> None:
    build = build_of(tmp_path / "build", npu=GPU, gpu=NEITHER, int8=CPU)
    when = ["npu: soc=SM8650|SM8750, api>=31", "gpu: ram>=8GB", "int8"]
    app = App(build, "ChoiceMain", tmp_path, libraries, every=True, when=when)
    phones = [
        *("sm8650", "31", "4000000000"),  # the first that suits; capitals do not count
        *("SM8650", "30", "7400000000"),  # too old for that; a phone that is sold with 8 GB
        *("", "26", "4000000000"),
    ]
    said = app.run(*phones)
    assert said[0] == "a SoC that Android does not tell, API 0, 5700 MB: [int8]"
    assert said[1::3] == ["npu GPU", "int8 CPU", "int8 CPU"]
    assert said[2] == "[]"
    assert said[5].startswith("[gpu: LiteRT does not open edgekit/net/gpu.tflite")
    assert said[8] == "[]"
    assert {line.split("]")[0] for line in said[3::3]} == {"[1, 3"}


def test_no_variant_that_opens_is_an_error(tmp_path: Path, libraries: tuple[Path, Path]) -> None:
    build = build_of(tmp_path / "build", gpu=NEITHER, int8=NEITHER)
    app = App(build, "ChoiceMain", tmp_path, libraries, every=True, when=["gpu: api>=26", "int8"])
    said = app.run("", "26", str(MEMORY))
    assert said[1].startswith("no variant opens: [gpu: LiteRT does not open edgekit/net/gpu.tflite")
    assert "int8: LiteRT does not open" in said[1]


class TestAiPacks:
    """https://developer.android.com/google/play/on-device-ai"""

    WHEN = ("npu: soc=QTI/SM8650|Qualcomm/SM8650", "big-gpu: ram>=8GB", "int8")

    @pytest.fixture
    def build(self, tmp_path: Path) -> Build:
        contents = {"npu": GPU, "big-gpu": GPU, "int8": CPU}
        return build_of(tmp_path / "build", **contents)

    def test_what_play_reads(self, build: Build, tmp_path: Path) -> None:
        made = bundle_android(
            build, tmp_path / "out", every=True, when=self.WHEN, ai_pack="on-demand"
        )
        verify_bundle(made.folder)
        pack = made.folder / "pack"
        assets = pack / "src" / "main" / "assets" / "edgekit" / "net"
        assert sorted(path.relative_to(assets).as_posix() for path in assets.rglob("*.*")) == [
            "labels.txt",
            "model#group_big_gpu/big-gpu.tflite",
            "model#group_npu/npu.tflite",
            "model#group_other/int8.tflite",
        ]
        gradle = (pack / "build.gradle.kts").read_text()
        assert 'id("com.android.ai-pack")' in gradle
        assert "aiPack {" in gradle
        assert 'deliveryType.set("on-demand")' in gradle
        tree = ET.parse(pack / "device_targeting_config.xml").getroot()
        space = "{http://schemas.android.com/apk/config}"
        assert tree.tag == f"{space}device-targeting-config"
        assert [group.get("name") for group in tree] == ["npu", "big_gpu"]  # the first counts
        npu, gpu = (group.find(f"{space}device-selector") for group in tree)
        assert npu is not None
        assert gpu is not None
        assert [(chip.get("manufacturer"), chip.get("model")) for chip in npu] == [
            ("QTI", "SM8650"),
            ("Qualcomm", "SM8650"),
        ]
        assert int(gpu.get("ram-min-bytes", "0")) == int(8 * 2**30 * 0.85)
        readme = (made.folder / "README.md").read_text(encoding="utf-8")
        assert 'deviceTargetingConfig = file("../net_pack/device_targeting_config.xml")' in readme
        assert "AiPackManagerFactory" in readme

    def test_an_app_opens_what_was_delivered(
        self, build: Build, tmp_path: Path, libraries: tuple[Path, Path]
    ) -> None:
        how = {"every": True, "when": self.WHEN, "ai_pack": "fast-follow"}
        app = App(build, "DeliveredMain", tmp_path, libraries, **how)
        assets = tmp_path / "out" / "pack" / "src" / "main" / "assets" / "edgekit" / "net"
        # What bundletool does for a phone in each of the groups, and in one that there is not.
        for group, said in {
            "npu": ["npu GPU", "[]"],
            "big_gpu": ["big-gpu GPU", "[npu: it was not delivered]"],
            "other": ["int8 CPU", "[npu: it was not delivered, big-gpu: it was not delivered]"],
        }.items():
            phone = tmp_path / group
            shutil.copytree(assets / f"model#group_{group}", phone / "edgekit" / "net" / "model")
            shutil.copy(assets / "labels.txt", phone / "edgekit" / "net")
            assert app.run(str(phone)) == said
        (phone / "edgekit" / "net" / "model" / "int8.tflite").unlink()
        (said,) = app.run(str(phone))
        assert said.startswith("no variant opens: [npu: it was not delivered, ")

    @pytest.mark.parametrize(
        ("when", "says"),
        [
            ([], "delivers by groups of phones, and none is said"),
            (["npu: api>=31", "big-gpu: ram>=8GB", "int8"], "not deliver by Android's version"),
            (
                ["npu: soc=SM8650", "big-gpu: ram>=8GB", "int8"],
                "Play knows SoCs by maker and model",
            ),
            (["npu: soc=QTI/SM8650", "int8"], "big-gpu would be for no phone"),
        ],
    )
    def test_what_play_cannot_tell(
        self, build: Build, tmp_path: Path, when: list[str], says: str
    ) -> None:
        with pytest.raises(UsageError, match=says):
            bundle_android(build, tmp_path / "out", every=True, when=when, ai_pack="on-demand")
        assert not (tmp_path / "out").exists()
