"""The plan: what is found before any work."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.core.errors import DataError, PlanError, UsageError
from edgekit.core.recipe import Budget, Calibration
from edgekit.jobs.plan import Plan, Wish, data_words, make_plan
from edgekit.jobs.sensitivity import sensitivity


def plan(folder: Path, *recipes: str, samples: Calibration | None = None) -> Plan:
    """For INT8 recipes of the given ``[calibration]`` tables."""
    np.savez(folder / "x.npz", x=np.zeros((200, 2), np.float32))
    names = []
    for index, text in enumerate(recipes):
        path = folder / f"r{index}.toml"
        head = f'schema = 1\nname = "r{index}"\nquantization = "int8"\n'
        path.write_text(f"{head}[calibration]\n{text}\n")
        names.append(str(path))
    return make_plan(
        Wish(
            model="keras:package.module:function",
            profile="linux-x86_64",
            variants=names,
            calibration=str(folder / "x.npz"),
            samples=samples,
        )
    )


def test_recipes_that_ask_for_different_samples_are_refused(tmp_path: Path) -> None:
    """All are made from the same ranges; one of them would record samples that it never saw."""
    with pytest.raises(PlanError, match="r0 and r1 ask for different calibration samples"):
        plan(tmp_path, "samples = 10", 'choice = "random"')
    both = plan(tmp_path, "samples = 10", 'choice = "random"', samples=Calibration(
        samples=20, choice="first", seed=0
    ))  # fmt: skip
    assert {recipe.calibration.samples for recipe in both.recipes} == {20}


def test_what_is_not_said_stays_as_the_recipe_has_it(tmp_path: Path) -> None:
    made = plan(tmp_path, 'samples = 10\nchoice = "random"', samples=Calibration(seed=3))
    wanted = Calibration(samples=10, choice="random", seed=3)
    assert made.recipes[0].calibration == wanted
    assert made.calibration is not None
    assert made.calibration.arguments["choice"] == wanted.to_json()


def test_a_label_given_twice() -> None:
    with pytest.raises(UsageError, match="the label 'cat' is given twice"):
        make_plan(Wish(model="no.keras", profile="host", labels=("cat", "dog", "cat")))


def test_a_model_named_by_its_file_is_never_run() -> None:
    with pytest.raises(UsageError, match="write mk:build"):
        make_plan(Wish(model="mk.py:build", profile="host", variants=("float32",)))


def test_only_the_npu_compiler_of_the_boards_chip_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wish = Wish(
        model="keras:package.module:function",
        profile="pixel-9",
        variants=("npu-int8",),
        calibration="x.npz",
    )
    monkeypatch.delenv("GOOGLE_TENSOR_COMPILER_LIB", raising=False)
    with pytest.raises(PlanError, match="GOOGLE_TENSOR_COMPILER_LIB: it is not set"):
        make_plan(wish)
    monkeypatch.setenv("GOOGLE_TENSOR_COMPILER_LIB", str(tmp_path))
    np.savez(tmp_path / "x.npz", x=np.zeros((20, 2), np.float32))
    monkeypatch.chdir(tmp_path)
    assert make_plan(wish).recipes[0].options["soc"] == "Tensor_G4"


@pytest.mark.parametrize("variant", ["float32", "gpu-int8", "onnx-int8", "int8-io"])
def test_layers_are_measured_in_quantized_tflite_files_only(tmp_path: Path, variant: str) -> None:
    np.savez(tmp_path / "x.npz", x=np.zeros((2, 2), np.float32))
    wish = Wish(
        model="keras:package.module:function",
        profile="pixel-9" if variant == "gpu-int8" else "linux-x86_64",
        variants=(variant,),
        calibration=str(tmp_path / "x.npz"),
    )
    with pytest.raises(PlanError, match=f"{variant}: layers are measured in TFLite for the CPU"):
        sensitivity(wish)


@pytest.mark.parametrize(
    ("kind", "table", "says"),
    [
        ("dynamic-int8", "bits = 4", "it has per-channel, per-tensor in 8 bits"),
        ("int16x8", 'ranges = "entropy"', "it does by min-max, moving-average, percentile, mse"),
    ],
)
def test_what_a_delegate_cannot_quantize_is_refused(
    tmp_path: Path, kind: str, table: str, says: str
) -> None:
    path = tmp_path / "r.toml"
    path.write_text(f'schema = 1\nname = "r"\nquantization = "{kind}"\n[quantize]\n{table}\n')
    with pytest.raises(PlanError, match=says):
        make_plan(Wish(model="k:m.f", profile="linux-x86_64", variants=(str(path),)))


def test_a_runtime_without_4_bit_kernels_is_refused(tmp_path: Path) -> None:
    wish = Wish(
        model="k:m.f", profile="raspberry-pi-5", variants=("int4",), runtime="tflite-runtime"
    )
    with pytest.raises(PlanError, match="does not run int4"):
        make_plan(wish)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"image": (20, 8, 8, 1), "y": (19,)}, "differ in their number of samples: image 20×8×8×1"),
        ({"labels": (20,)}, "has no inputs"),
        ({"image": (0, 8)}, "holds no samples"),
    ],
)
def test_arrays_that_do_not_fit_are_found_by_their_headers(
    tmp_path: Path, arrays: dict[str, tuple[int, ...]], said: str
) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, **{name: np.zeros(shape, np.float32) for name, shape in arrays.items()})
    with pytest.raises(DataError, match=said):
        data_words(Wish(model="m", profile="host", calibration=str(path)))


def test_what_is_in_the_data_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "x.npz", image=np.zeros((20, 8, 8, 1), np.float32), y=np.zeros(20, int))
    (tmp_path / "mine.py").write_text("raise SystemExit('it was run')\ndef samples(): ...")
    monkeypatch.chdir(tmp_path)
    wish = Wish(model="m", profile="host", calibration="x.npz", evaluation="mine:samples")

    first, second = data_words(wish)

    assert first == "--calibration x.npz: image 20×8×8×1 float32, y 20 int64"
    assert second == f"--evaluate mine:samples: in {tmp_path / 'mine.py'}, not called"
    with pytest.raises(UsageError, match="no module called 'yours'"):
        data_words(replace(wish, evaluation="yours:samples"))


def measured(folder: Path, *budgets: str, **more: Any) -> Plan:
    np.savez(folder / "x.npz", x=np.zeros((20, 2), np.float32))
    for index, text in enumerate(budgets):
        head = f'schema = 1\nname = "r{index}"\nquantization = "none"\n'
        (folder / f"r{index}.toml").write_text(f"{head}[budget]\n{text}\n")
    return make_plan(
        Wish(
            model="keras:package.module:function",
            profile="linux-x86_64",
            variants=[str(folder / f"r{index}.toml") for index in range(len(budgets))],
            **{"evaluation": str(folder / "x.npz"), **more},
        )
    )


def test_labels_are_read_as_the_metrics_take_them(tmp_path: Path) -> None:
    for budget, targets in (("", False), ('metric = "f1"', False), ('metric = "rmse"', True)):
        made = measured(tmp_path, budget)
        assert made.evaluation is not None
        assert made.evaluation.arguments["targets"] is targets


def test_a_metric_that_is_given_holds_for_all(tmp_path: Path) -> None:
    made = measured(tmp_path, 'metric = "rmse"\nmax_drop = 3', "min_snr_db = 7", metric="mse")
    assert [recipe.budget for recipe in made.recipes] == [
        Budget(metric="mse", max_drop=3),
        Budget(metric="mse", min_snr_db=7),
    ]


def test_metrics_of_labels_and_of_other_targets_do_not_go_together(tmp_path: Path) -> None:
    said = "r1 is measured by top1, which takes class labels, r0 by rmse, which takes other targets"
    with pytest.raises(PlanError, match=said) as why:
        measured(tmp_path, 'metric = "rmse"', "")
    assert "--metric NAME" in why.value.hint
    measured(tmp_path, 'metric = "f1"', "")


@pytest.mark.parametrize("metric", ["f1", "miou"])
def test_a_metric_needs_data(tmp_path: Path, metric: str) -> None:
    with pytest.raises(PlanError, match=f"the metric {metric} needs data"):
        measured(tmp_path, "", metric=metric, evaluation=None)
    measured(tmp_path, "", metric="top1", evaluation=None)


@pytest.mark.parametrize(
    ("metric", "said"),
    [("rsme", "did you mean rmse"), ("nowhere:score", "no module called 'nowhere'")],
)
def test_a_metric_that_is_not_there(tmp_path: Path, metric: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        measured(tmp_path, "", metric=metric)


def test_a_plan_like_another_reads_no_data_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A search makes a plan a candidate; folders of images are large."""
    samples = tmp_path / "x.npz"
    np.savez(samples, x=np.zeros((2, 3), np.float32))
    wish = Wish(
        model="keras:a.b:c", profile="host", variants=["float32"],
        calibration=str(samples), evaluation=str(samples),
    )  # fmt: skip
    first = make_plan(wish)
    read: list[Path] = []
    monkeypatch.setattr("edgekit.data._sha256", lambda path: read.append(path) or "0" * 64)
    again = make_plan(replace(wish, variants=["int8"]), like=first)
    assert not read
    assert again.calibration == first.calibration
    assert again.evaluation == first.evaluation
    assert [recipe.name for recipe in again.recipes] == ["int8"]
    chosen = replace(wish, variants=["int8"], samples=Calibration(samples=1))
    assert make_plan(chosen, like=first).calibration != first.calibration
    assert read
