"""What a search keeps, and how candidates are judged; whole ones are in tests/cli/test_tune.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgekit.core.build import Build
from edgekit.core.errors import DeviceError, OutputError
from edgekit.core.recipe import Recipe, load_recipe, named_recipe
from edgekit.core.result import Energy, Estimate, Result
from edgekit.core.tuning import Figures, Limits, Objective, Status, Tried, Tuning, front, steadied
from edgekit.jobs import tuning_files as files
from edgekit.jobs.tuning_figures import judged, require_told, timed
from tests.samples import result, write_build

TUNING: dict[str, Any] = {
    "model": "m",
    "board": "b",
    "on": "",
    "objective": "size",
    "limits": Limits(),
    "max_drop": 1,
}
HEADER = {"schema": 1, "model": "digits.keras", "board": "host", "asked": "a" * 64}


def tried(number: int, variant: str = "int8", status: Status = "fits", **figures: Any) -> Tried:
    return Tried(
        number=number,
        point={"family": "one"},
        recipe=named_recipe(variant),
        status=status,
        snr_db=figures.pop("snr_db", 30.0),
        figures=Figures(**figures),
    )


@pytest.fixture
def build(tmp_path: Path) -> Build:
    return write_build(tmp_path / "build")


class TestTheFront:
    def test_is_what_nothing_else_beats_in_both(self) -> None:
        tries = [
            tried(1, size=100, snr_db=60.0),
            tried(2, size=50, snr_db=30.0),
            tried(3, size=60, snr_db=20.0),  # larger than 2, and worse
            tried(4, size=50, snr_db=30.0),  # as good as 2, and later
            tried(5, size=10, status="over", snr_db=5.0),
            tried(6, snr_db=90.0),  # of which the size is not known
        ]
        assert [each.number for each in front(tries, "size")] == [2, 1]

    def test_takes_times_of_slow_rounds_as_what_they_would_be_in_usual_ones(self) -> None:
        usual = tried(1, latency=Estimate(value=10.0), yardstick=100.0, snr_db=30.0)
        slow = tried(2, latency=Estimate(value=18.0), yardstick=200.0, snr_db=30.0)
        assert steadied(slow, "latency", 100.0) == 9.0
        assert [each.number for each in front([usual, slow], "latency", 100.0)] == [2]


class TestJudging:
    def test_takes_sizes_score_and_reasons_of_the_variant(self, build: Build) -> None:
        found = judged(tried(1), build, Limits())
        variant = build.variant("int8")
        assert variant.artifact is not None
        assert found.status == "fits"
        assert found.score == variant.verdict.score
        assert found.figures.size == variant.size_bytes
        assert found.figures.zipped == variant.artifact.zipped_bytes
        assert found.digest == variant.artifact.files[0].sha256

    def test_says_which_limit_is_broken_and_by_what(self, build: Build) -> None:
        found = judged(tried(1), build, Limits(size=10_000))
        assert found.status == "over"
        assert found.reasons[-1] == "size 13.9 kB, of at most 10"

    def test_a_rejected_variant_is_over_and_keeps_its_reasons(self, build: Build) -> None:
        found = judged(tried(1, "int8-io"), build, Limits())
        assert found.status == "over"
        assert found.reasons == build.variant("int8-io").verdict.reasons

    def test_times_are_beside_the_yardsticks(self, build: Build) -> None:
        results = {name: result(build, name) for name in ("float32", "int8")}
        found = timed(tried(1), results, "float32", Limits(), ["latency"])
        assert found.figures.latency == results["int8"].summary.median_ns
        assert found.figures.yardstick == results["float32"].summary.median_ns.value
        slow = timed(tried(1), results, "float32", Limits(latency=1000), ["latency"])
        assert slow.status == "over"
        assert slow.reasons[-1].startswith("latency 0.0179 ms, of at most 0.001")

    def test_what_makes_a_measurement_worthless_fails_the_candidate(self, build: Build) -> None:
        bad = result(build, "int8")
        bad = told(bad, invalid=True, findings=("the board throttled",))
        found = timed(tried(1), {"int8": bad}, "int8", Limits(), ["latency"])
        assert (found.status, found.reasons) == ("failed", ("the board throttled",))

    @pytest.mark.parametrize(
        ("what", "missing", "said"),
        [
            (
                "energy",
                {"energy": None},
                "energy cannot be told on .*: no sensor of power is there",
            ),
            ("energy", {"energy": Energy(unavailable="the rails are hidden")}, "rails are hidden"),
            (
                "memory",
                {"peak_rss_bytes": None},
                "memory cannot be told on .*: its runner does not",
            ),
        ],
    )
    def test_a_figure_that_is_never_told_ends_the_search(
        self, build: Build, what: Objective, missing: dict[str, Any], said: str
    ) -> None:
        mute = told(result(build, "int8"), **missing)
        with pytest.raises(DeviceError, match=said):
            require_told([mute, mute], [what])

    def test_one_that_is_not_told_this_time_fails_the_candidate(self, build: Build) -> None:
        ok = result(build, "int8")
        mute = told(ok, peak_rss_bytes=None)
        require_told([ok, mute], ["latency", "memory"])
        found = timed(tried(1), {"int8": mute}, "int8", Limits(), ["latency", "memory"])
        assert (found.status, found.reasons) == (
            "failed",
            ("memory: its runner does not tell it",),
        )


def told(found: Result, **summary: Any) -> Result:
    return found.model_copy(update={"summary": found.summary.model_copy(update=summary)})


class TestWhatIsKept:
    def test_is_read_again(self, tmp_path: Path) -> None:
        files.begin(tmp_path / "out", HEADER, replace=False)
        tries = [tried(1, size=3.0), tried(2, "pte-int8", "over")]
        for each in tries:
            files.keep(tmp_path / "out", each)
        files.begin(tmp_path / "out", HEADER, replace=False)
        assert files.read_tries(tmp_path / "out") == tries

    def test_a_line_that_was_cut_off_is_left_out_and_written_anew(self, tmp_path: Path) -> None:
        files.begin(tmp_path, HEADER, replace=False)
        files.keep(tmp_path, tried(1))
        with open(tmp_path / files.TRIES_FILE, "a", encoding="utf-8") as lines:
            lines.write('{"number": 2, "poi')  # killed meanwhile
        assert files.read_tries(tmp_path) == [tried(1)]
        files.keep(tmp_path, tried(2))
        assert files.read_tries(tmp_path) == [tried(1), tried(2)]

    @pytest.mark.parametrize("line", ["{", "[]", '{"number": "x"}', "\0"])
    def test_a_changed_file_is_said(self, tmp_path: Path, line: str) -> None:
        files.begin(tmp_path, HEADER, replace=False)
        with open(tmp_path / files.TRIES_FILE, "a", encoding="utf-8") as lines:
            lines.write(f"{line}\n")
        with pytest.raises(OutputError, match="was changed") as caught:
            files.read_tries(tmp_path)
        assert "--replace" in caught.value.hint

    def test_another_search_is_left_alone_unless_it_is_to_be_replaced(self, tmp_path: Path) -> None:
        out = tmp_path / "out"
        files.begin(out, HEADER, replace=False)
        files.keep(out, tried(1))
        other = {**HEADER, "asked": "b" * 64}
        with pytest.raises(
            OutputError, match=r"holds another search, one of digits\.keras for host"
        ):
            files.begin(out, other, replace=False)
        assert files.read_tries(out) == [tried(1)]
        files.write(Tuning(**TUNING), out, [named_recipe("int8").model_copy(update={"name": "x"})])
        files.begin(out, other, replace=True)
        assert files.read_tries(out) == []
        assert [path.name for path in out.iterdir()] == [files.TRIES_FILE]

    def test_a_folder_of_something_else_is_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / "thesis.txt").write_text("all of it")
        for replace in (False, True):
            with pytest.raises(OutputError, match="exists and is not a search"):
                files.begin(tmp_path, HEADER, replace=replace)
        (tmp_path / files.TRIES_FILE).write_text("not json\n")
        with pytest.raises(OutputError, match="one that cannot be read"):
            files.begin(tmp_path, HEADER, replace=False)

    def test_recipes_are_written_as_a_person_would_and_mean_the_same(self, tmp_path: Path) -> None:
        recipe = Recipe.from_json(
            {
                "name": "int8-7",
                "quantization": "int8",
                "quantize": {"float": ["head"], "ranges": "mse"},
                "passes": [{"pass": "shrink", "remove": 0.4}, {"pass": "qat"}],
                "training": {"epochs": 3, "distill": {"temperature": 2}},
                "budget": {"max_drop": 0.25},
            }
        )
        older = recipe.model_copy(update={"name": "int8-3"})
        files.write(Tuning(**TUNING), tmp_path, [older])  # of an earlier end of the same search
        files.write(Tuning(**TUNING), tmp_path, [recipe, named_recipe("float16")])
        assert [p.name for p in (tmp_path / files.RECIPES).iterdir()] == ["int8-7.toml"]
        written = tmp_path / files.RECIPES / "int8-7.toml"
        assert load_recipe(str(written)) == recipe
        assert "quantization" in written.read_text()
        assert "calibration" not in written.read_text()
        assert json.loads((tmp_path / files.TUNING_FILE).read_text())["objective"] == "size"
