"""The convert job, where its surroundings fail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgekit.core.errors import OutputError, RejectedError, WorkerError
from edgekit.core.verdict import Verdict
from edgekit.jobs import convert
from edgekit.jobs.plan import Wish, make_plan
from tests.samples import write_build


def test_cached_work_that_vanishes_meanwhile_is_said(
    tmp_path: Path, fresh_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(*_: Any) -> Any:
        raise FileNotFoundError(2, "No such file", str(fresh_cache / "steps" / "samples.txt"))

    monkeypatch.setattr(convert, "open_inputs", opened)
    plan = make_plan(Wish(model="keras:a.b:c", profile="linux-x86_64", variants=["float32"]))
    with pytest.raises(WorkerError, match="removed while it was in use"):
        convert.convert(plan, tmp_path / "build")
    assert not (tmp_path / "build").exists()


def test_a_build_of_another_model_is_replaced_only_when_asked(tmp_path: Path) -> None:
    build = write_build(tmp_path / "build")
    again = build.model.model_copy(update={"digest": "0" * 64})  # trained once more
    other = build.model.model_copy(update={"name": "faces"})

    assert convert.check_output(tmp_path / "new", other) is None
    older = convert.check_output(tmp_path / "build", again)
    assert older == convert.Older("digits", build.profile.title, build.created)
    with pytest.raises(OutputError, match="another model, 'digits'; this one is 'faces'") as caught:
        convert.check_output(tmp_path / "build", other)
    assert "--replace" in caught.value.hint
    assert convert.check_output(tmp_path / "build", other, replace=True) == older

    (tmp_path / "build" / "build.json").write_text("{")
    with pytest.raises(OutputError, match="holds a build that cannot be read"):
        convert.check_output(tmp_path / "build", again)
    assert convert.check_output(tmp_path / "build", again, replace=True) == convert.Older()


def test_the_first_that_cannot_be_used_says_why_and_the_others_are_named(tmp_path: Path) -> None:
    made = write_build(tmp_path / "build", variants=("float32", "int8-io"))
    by_name = {variant.recipe.name: variant for variant in made.variants}
    float32, rejected = by_name["float32"], by_name["int8-io"]
    failed = float32.model_copy(
        update={"verdict": Verdict(status="failed", reasons=("no such operator",))}
    )
    changed = made.model_copy(update={"variants": (rejected, failed)})
    with pytest.raises(RejectedError) as caught:
        convert.require_usable(changed)
    assert caught.value.message == (
        "int8-io is rejected: top-1 accuracy fell by 5.28 points, more than the 1.00 allowed "
        "(nor can these be used: float32)"
    )
    assert caught.value.hint == (
        f"the build is kept: edgekit report {made.folder}; "
        "edgekit sensitivity tells what each layer costs"
    )
