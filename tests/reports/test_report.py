"""The three reports: what they say, what they never say, and that hostile names just show."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from edgekit.core.build import Build
from edgekit.core.errors import OutputError
from edgekit.core.measurement import Memory, OperatorTime, OperatorTimes
from edgekit.core.result import Result, latest
from edgekit.core.verdict import Verdict
from edgekit.reports import (
    print_measurements,
    print_report,
    report_document,
    report_html,
    report_json,
    write_html,
)
from edgekit.reports.view import headline, in_plan_order
from tests.samples import result, write_build

HOSTILE = "a; rm -rf ~ <script>alert(1)</script> \" onload='x' {{ 7*7 }} [bold]\x1b[31m\u202e"
VOID = {"meta", "br", "hr", "img", "input", "link", "path", "circle", "polyline"}


@pytest.fixture
def build(tmp_path: Path) -> Build:
    return write_build(tmp_path / "build")


@pytest.fixture
def results(build: Build) -> list[Result]:
    return [
        result(build, "float32", seed=1),
        result(build, "int8", seed=2),
        result(build, "int8", seed=3, device="local", peak_rss=False),
    ]


def hostile(build: Build) -> Build:
    variant = build.variants[0]
    assert variant.artifact is not None
    spec = variant.artifact.signature.inputs[0].model_copy(update={"name": HOSTILE})
    signature = variant.artifact.signature.model_copy(update={"inputs": (spec,)})
    artifact = variant.artifact.model_copy(
        update={"signature": signature, "way": HOSTILE, "tools": {HOSTILE: HOSTILE}}
    )
    verdict = variant.verdict.model_copy(update={"status": "rejected", "reasons": (HOSTILE,)})
    return build.model_copy(
        update={
            "name": HOSTILE,
            "created": HOSTILE,
            "labels": (HOSTILE,),
            "model": build.model.model_copy(update={"name": HOSTILE, "digest": HOSTILE}),
            "data": build.data.model_copy(update={"evaluation": HOSTILE}),
            "profile": build.profile.model_copy(update={"title": HOSTILE, "page": HOSTILE}),
            "variants": (
                variant.model_copy(
                    update={
                        "artifact": artifact,
                        "verdict": verdict,
                        "recipe": variant.recipe.model_copy(update={"name": HOSTILE}),
                    }
                ),
                *build.variants[1:],
            ),
        }
    )


def hostile_result(build: Build) -> Result:
    made = result(build)
    taken = made.measurement.model_copy(
        update={
            "device": HOSTILE,
            "device_name": HOSTILE,
            "variant": HOSTILE,
            "hello": {HOSTILE: HOSTILE, "nested": {"a": [None, True, 1.5, {HOSTILE: []}]}},
            "environment_before": {HOSTILE: HOSTILE, "unavailable": HOSTILE},
            "environment_after": {},
        }
    )
    summary = made.summary.model_copy(update={"findings": (HOSTILE,), "stable": False})
    return made.model_copy(update={"measurement": taken, "summary": summary})


class Page(HTMLParser):
    """Fails on a tag that is not closed in order; collects what the page is made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"an attribute twice in <{tag}>"
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


class TestPage:
    def test_it_is_well_formed_and_needs_nothing_from_elsewhere(
        self, build: Build, results: list[Result]
    ) -> None:
        text = report_html(build, results)
        page = Page(text)
        allowed = {"html", "head", "meta", "title", "style", "body", "header", "main", "section"}
        allowed |= {"h1", "h2", "h3", "p", "div", "span", "code", "ol", "ul", "li", "figure"}
        allowed |= {"figcaption", "table", "thead", "tbody", "tr", "th", "td", "details", "summary"}
        allowed |= {"svg", "desc", "g", "path", "circle", "polyline", "text"}
        assert {tag for tag, _ in page.tags} <= allowed
        for tag, attributes in page.tags:
            assert not {"src", "href", "srcset", "style", "data", "action"} & set(attributes), tag
            assert not [name for name in attributes if name.startswith("on")]
        style = text[text.index("<style>") : text.index("</style>")]
        assert "url(" not in style
        assert "@import" not in style
        assert "default-src 'none'" in text

    def test_ids_are_unique_and_labels_lead_somewhere(
        self, build: Build, results: list[Result]
    ) -> None:
        page = Page(report_html(build, results))
        ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
        assert len(ids) == len(set(ids))
        for _, attributes in page.tags:
            for name in ("aria-labelledby", "aria-describedby"):
                assert set((attributes.get(name) or "").split()) <= set(ids)

    def test_tables_have_headers_and_scrolling_parts_take_the_focus(
        self, build: Build, results: list[Result]
    ) -> None:
        page = Page(report_html(build, results))
        assert all(a.get("scope") in ("row", "col") for tag, a in page.tags if tag == "th")
        wide = [a for _, a in page.tags if a.get("class") == "wide"]
        assert wide
        assert all(a.get("tabindex") == "0" and a.get("aria-label") for a in wide)
        assert ("html", {"lang": "en"}) in page.tags

    def test_it_says_what_there_is_to_say(self, build: Build, results: list[Result]) -> None:
        text = Page(report_html(build, results)).text
        for words in (
            "Raspberry Pi 5",
            "4 of 7 variants accepted.",
            "top-1 98.06 % (−0.55 points)",
            "top-1 accuracy fell by 5.28 points",
            "−0.55 −1.80 to +0.70",
            "The interval is of the change of Top-1",
            "first diverges at conv2d_1 (8.25 dB, below 10.0 dB)",
            "AllocateTensors failed at node 3",
            "quantize: the worker process ended with 1",
            "ab" * 32,
            "resize=8x8:bilinear",
            "0.00392157 × (stored − (-128))",
            "ai-edge-quantizer 0.10.0",
            "Times on “local” are of this computer, not of a Raspberry Pi 5.",
            "thermal_zone0:cpu-thermal 47.2",
            "not measured: no get_throttled in /sys/devices",
        ):
            assert words in text

    def test_what_was_not_measured_is_said_and_is_not_zero(
        self, build: Build, tmp_path: Path
    ) -> None:
        text = Page(report_html(build)).text
        assert "Nothing was measured on a device yet" in text
        assert "latency, loading time and memory are not measured" in text
        assert not re.search(r"(?<![\d.])0(\.0+)? (ms|µs|ns|s|MB|kB|B|dB)\b", text)
        unlabelled = write_build(tmp_path / "unlabelled", labelled=False)
        assert "no labels" in Page(report_html(unlabelled)).text

    def test_hostile_names_just_show(self, build: Build) -> None:
        text = report_html(hostile(build), [hostile_result(build)])
        page = Page(text)
        assert "script" not in {tag for tag, _ in page.tags}
        assert not any(name.startswith("on") for _, a in page.tags for name in a)
        assert "<script>alert(1)</script>" in page.text
        assert "{{ 7*7 }}" in page.text
        assert "49" not in re.findall(r"rm -rf ~[^<]*", page.text)[0]
        assert "\x1b" not in text
        assert "\u202e" not in text  # would turn the rest of the line around
        text.encode()

    def test_a_build_of_which_nothing_came(self, build: Build) -> None:
        failed = tuple(
            v.model_copy(update={"artifact": None, "verdict": Verdict(status="failed")})
            for v in build.variants
        )
        text = Page(report_html(build.model_copy(update={"variants": failed}))).text
        assert "0 of 7 variants accepted." in text
        assert "None can be used as it is" in text
        assert "no variant was compared with its source" in text

    def test_numbers_that_are_none_do_not_break_it(self, build: Build) -> None:
        variant = build.variants[0]
        parity = variant.verdict.parity[0].model_copy(
            update={"snr_db": float("inf"), "max_abs_error": float("nan")}
        )
        verdict = variant.verdict.model_copy(
            update={"parity": (parity,), "accuracy": None, "score": None}
        )
        odd = build.model_copy(
            update={"variants": (variant.model_copy(update={"verdict": verdict}),)}
        )
        assert "not finite" in Page(report_html(odd)).text

    def test_equal_input_gives_equal_bytes(self, build: Build, results: list[Result]) -> None:
        assert report_html(build, results) == report_html(build, results)

    def test_writing(self, build: Build, tmp_path: Path) -> None:
        write_html(build, tmp_path / "report.html")
        assert (tmp_path / "report.html").read_text() == report_html(build)
        (tmp_path / "file").write_text("")
        with pytest.raises(OutputError):
            write_html(build, tmp_path / "file" / "report.html")

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_contrast(self, build: Build, scheme: str) -> None:
        """4.5 : 1 for text, as in WCAG 2.2, 1.4.3; 3 : 1 for what is drawn, 1.4.11."""
        style = report_html(build)
        blocks = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
        colors = dict(
            re.findall(r"--([\w-]+): (#[0-9a-f]{6})", blocks[["light", "dark"].index(scheme)])
        )

        def luminance(color: str) -> float:
            parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
            linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
            return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

        def contrast(one: str, two: str) -> float:
            high, low = sorted((luminance(colors[one]), luminance(colors[two])), reverse=True)
            return (high + 0.05) / (low + 0.05)

        for ground in ("page", "card"):
            for ink in ("ink", "soft", "good", "bad"):
                assert contrast(ink, ground) >= 4.5, (ink, ground)
        assert contrast("note", "note-page") >= 4.5
        for line in ("accent", "l0", "l1", "l2", "l3", "l4", "l5"):
            assert contrast(line, "card") >= 3, line


def with_stand_in(build: Build) -> Build:
    """`build` whose variant ``int8`` was judged by something else."""
    return build.model_copy(
        update={
            "variants": tuple(
                v.model_copy(
                    update={"verdict": v.verdict.model_copy(update={"stand_in": "the file before"})}
                )
                if v.recipe.name == "int8"
                else v
                for v in build.variants
            )
        }
    )


@pytest.mark.parametrize("labelled", [True, False])
def test_what_is_of_a_stand_in_is_marked(tmp_path: Path, labelled: bool) -> None:
    build = with_stand_in(write_build(tmp_path / "build", labelled=labelled))
    out = io.StringIO()

    print_report(build, file=out, columns=80)
    page = report_html(build)

    lines = out.getvalue().splitlines()
    (marked,) = (line for line in lines if line.startswith("int8 "))
    assert " dB†" in marked
    assert not [line for line in lines if line.startswith("float32 ") and "†" in line]
    assert marked.count("†") == 2  # with the top-1, or the greatest error
    assert "† int8: cannot run here; judged on the file before" in lines
    assert page.count(" dB†</td>") == 1
    assert "† cannot run on the computer that made it; judged on the file before" in page


class TestTerminal:
    def printed(self, build: Build, results: list[Result], columns: int = 80) -> str:
        out = io.StringIO()
        print_report(build, results, file=out, columns=columns)
        return out.getvalue()

    def test_it_fits_eighty_columns_with_every_number_whole(
        self, build: Build, results: list[Result]
    ) -> None:
        text = self.printed(build, results)
        assert max(map(len, text.splitlines())) <= 80
        assert "…" not in text
        assert re.search(
            r"^int8 \* +13\.9 kB +34 % +13\.9 kB +98\.06 % +−0\.55 +27\.9 dB +accepted", text, re.M
        )
        assert re.search(r"^dynamic-old +not made +– +– +failed", text, re.M)
        assert "On raspberry-pi-5 (ssh://pi@10.0.0.7:22)" in text
        assert re.search(r"^int8 .*not measured", text, re.M)

    def test_a_pipe_gets_sentences_whole_and_the_variant_once(self, build: Build) -> None:
        variant = build.variants[0]
        long = "is over the budget, " * 20
        verdict = variant.verdict.model_copy(
            update={"status": "rejected", "reasons": (f"{variant.recipe.name}: {long}.",)}
        )
        changed = variant.model_copy(update={"verdict": verdict})
        out = io.StringIO()
        print_report(build.model_copy(update={"variants": (changed,)}), file=out)
        assert f"{variant.recipe.name} rejected: {long}." in out.getvalue().splitlines()

    def test_no_colour_but_on_a_terminal(
        self, build: Build, results: list[Result], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Terminal(io.StringIO):
            def isatty(self) -> bool:
                return True

        monkeypatch.setenv("TERM", "xterm-256color")
        for name in ("NO_COLOR", "FORCE_COLOR"):
            monkeypatch.delenv(name, raising=False)
        assert "\x1b[" not in self.printed(build, results)
        on, off = Terminal(), Terminal()
        print_report(build, results, file=on)
        assert "\x1b[32m" in on.getvalue()
        monkeypatch.setenv("NO_COLOR", "1")
        print_report(build, results, file=off)
        assert "\x1b[32m" not in off.getvalue()

    def test_hostile_names_just_show(self, build: Build) -> None:
        text = self.printed(hostile(build), [hostile_result(build)], columns=400)
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert "[bold]" in text

    def test_a_reason_that_variants_share_is_said_once(self, build: Build) -> None:
        same = tuple(
            v.model_copy(
                update={"verdict": v.verdict.model_copy(update={"reasons": ("no drop seen",)})}
            )
            for v in build.variants[:3]
        )
        text = self.printed(build.model_copy(update={"variants": same}), [])
        assert text.count("no drop seen") == 1
        assert "float32, float16, dynamic accepted: no drop seen" in text

    def test_a_build_of_a_version_that_did_not_zip(self, build: Build) -> None:
        known = build.variants[0].artifact
        assert known is not None
        older = known.model_copy(update={"zipped_bytes": None})
        first = build.variants[0].model_copy(update={"artifact": older})
        assert "41.2 kB   100 %    " in self.printed(
            build.model_copy(update={"variants": (first,)}), []
        )

    def test_nothing_measured(self, build: Build) -> None:
        assert "Nothing was measured on a device yet." in self.printed(build, [])


def measured(build: Build, **changed: Any) -> Build:
    """`build` as if its metric were another one."""
    return build.model_copy(
        update={
            "variants": tuple(
                v.model_copy(
                    update={
                        "verdict": v.verdict.model_copy(
                            update={
                                "accuracy": None,
                                "source_accuracy": None,
                                "score": v.verdict.score
                                and v.verdict.score.model_copy(update=changed),
                            }
                        )
                    }
                )
                for v in build.variants
            )
        }
    )


class TestMetrics:
    def test_an_error_is_shown_in_its_unit_and_its_change_in_percent(self, build: Build) -> None:
        error = {"metric": "rmse", "title": "RMSE", "unit": "percent", "larger_is_better": False}
        rmse = measured(build, **error)
        out = io.StringIO()
        print_report(rmse, file=out, columns=80)
        text = out.getvalue()
        assert re.search(r"^Variant +Size +of f32 +Zipped +RMSE +Percent +SNR +Verdict", text, re.M)
        assert re.search(r"^int8 \* .* 0\.9806 +\+0\.55 ", text, re.M)
        assert "Best accepted: int8: 13.9 kB, 34 % of float32; RMSE 0.9806 (+0.55 %)." in text
        page = Page(report_html(rmse)).text
        assert "Size against RMSE" in page
        assert "source model 0.9861" in page

    def test_metrics_that_differ_stand_under_one_head(self, build: Build) -> None:
        f1 = measured(build, metric="f1", title="macro F1").variants[0]
        mixed = build.model_copy(update={"variants": (f1, *build.variants[1:])})
        out = io.StringIO()
        print_report(mixed, file=out, columns=80)
        assert re.search(r"of f32 +Zipped +Metric +Points", out.getvalue())

    def test_builds_that_knew_top_1_alone_are_shown(self, build: Build) -> None:
        old = tuple(
            v.model_copy(update={"verdict": v.verdict.model_copy(update={"score": None})})
            for v in build.variants
        )
        text = Page(report_html(build.model_copy(update={"variants": old}))).text
        assert "top-1 98.06 % (−0.55 points)" in text


class TestDocument:
    def test_the_keys_that_are_promised(self, build: Build, results: list[Result]) -> None:
        document = json.loads(report_json(build, results))
        assert list(document) == ["schema", "build", "variants", "measurements"]
        assert document["build"]["best"] == "int8"
        variants = {variant["name"]: variant for variant in document["variants"]}
        assert variants["int8"]["size_of_float32"] == pytest.approx(13_900 / 41_200)
        assert variants["int8"]["zipped_bytes"] == pytest.approx(13_900, rel=0.01)  # it is noise
        assert variants["dynamic-old"]["zipped_bytes"] is None
        assert variants["int8"]["drop_points"] == pytest.approx(0.55)
        assert variants["int8"]["score"]["high"] == pytest.approx(1.8)
        assert variants["dynamic-old"]["score"] is None
        assert variants["dynamic-old"]["size_bytes"] is None
        assert variants["dynamic-old"]["top1"] is None
        assert variants["int16x8"]["compared"] is False
        assert len({tuple(variant) for variant in document["variants"]}) == 1
        measured = document["measurements"][0]
        assert measured["summary"]["median_ns"]["low"] < measured["summary"]["median_ns"]["value"]
        assert "launches" not in measured
        assert document["measurements"][2]["summary"]["peak_rss_bytes"] is None

    def test_it_is_json_for_every_reader(self, build: Build) -> None:
        variant = build.variants[0]
        parity = variant.verdict.parity[0].model_copy(update={"max_abs_error": float("nan")})
        verdict = variant.verdict.model_copy(update={"parity": (parity,)})
        odd = build.model_copy(
            update={"variants": (variant.model_copy(update={"verdict": verdict}),)}
        )

        def refuse(name: str) -> None:
            raise AssertionError(name)

        document = json.loads(report_json(odd), parse_constant=refuse)
        assert document["variants"][0]["parity"][0]["max_abs_error"] is None

    def test_raw_samples_on_request(self, build: Build, results: list[Result]) -> None:
        document = report_document(build, results, raw=True)
        taken = results[0].measurement
        samples = document["measurements"][0]["launches"][0]["samples_ns"]
        assert samples == list(taken.launches[0].samples_ns)


class TestSentences:
    def test_the_newest_of_like_measurements_counts(self, build: Build) -> None:
        old = result(build, created="2026-03-14T10:00:00+00:00")
        new = result(build, created="2026-03-15T10:00:00+00:00")
        elsewhere = result(build, device="local")
        assert latest([new, old, elsewhere]) == [new, elsewhere]
        assert latest([old, elsewhere, new]) == [elsewhere, new]
        half = new.measurement.model_copy(update={"cut_short": "the link broke"})
        assert latest([old, new.model_copy(update={"measurement": half})]) == [old]

    def test_results_stand_in_the_order_of_the_plan(self, build: Build) -> None:
        mixed = [result(build, "int8"), result(build, "float32"), result(build, "int8", seed=2)]
        assert in_plan_order(build, mixed) == [mixed[1], mixed[0], mixed[2]]

    def test_what_a_reader_must_know(self, build: Build) -> None:
        shared = build.model_copy(update={"data": build.data.model_copy(update={"overlap": 12})})
        lines = headline(shared, [result(build, emulated=True)])
        assert any("12 samples are in both" in line for line in lines)
        assert any("emulated" in line for line in lines)


@pytest.mark.slow
def test_a_browser_shows_it_light_and_dark(
    build: Build, results: list[Result], tmp_path: Path
) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs a browser: Debian package chromium")
    image = pytest.importorskip("PIL.Image")
    write_html(build, tmp_path / "report.html", results)
    grounds = []
    for scheme in ("1", "0"):  # blink's numbers for light and dark
        target = tmp_path / f"{scheme}.png"
        subprocess.run(
            [
                chromium,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                f"--user-data-dir={tmp_path / f'profile{scheme}'}",
                f"--blink-settings=preferredColorScheme={scheme}",
                "--window-size=900,900",
                f"--screenshot={target}",
                (tmp_path / "report.html").as_uri(),
            ],
            check=True,
            capture_output=True,
            timeout=120,
        )
        picture = image.open(target).convert("L")
        grounds.append(picture.getpixel((3, 3)))
        assert len(picture.getcolors()) > 20  # there is something on it
    assert grounds[0] > 200
    assert grounds[1] < 60


def with_operators(found: Result, times: OperatorTimes) -> Result:
    taken = found.measurement.model_copy(update={"operators": times})
    return found.model_copy(update={"measurement": taken})


def printed(build: Build, found: Result) -> str:
    out = io.StringIO()
    print_report(build, [found], file=out, columns=120)
    return out.getvalue()


def test_time_by_operator_is_told_by_kind_and_on_the_page_by_name(build: Build) -> None:
    operators = tuple(
        OperatorTime(name=name, kind=kind, where="delegate", calls=10, ns=ns)
        for name, kind, ns in (
            ("Conv #1", "Conv", 600_000),
            ("Conv #2", "Conv", 300_000),
            (HOSTILE, "Reshape", 0),
        )
    )
    times = OperatorTimes(runs=10, total_ns=1_000_000, operators=operators)
    found = with_operators(result(build, "int8"), times)
    text = printed(build, found)
    assert re.search(r"Conv +delegate +2\.00 +90\.0 µs +100\.0%", text)
    assert "under 1 µs" in text  # no operator takes no time
    assert "90.0 µs of 100 µs an inference" in text
    page = report_html(build, [found])
    assert "Conv #2" in page
    assert "<script>alert" not in page
    assert "the runtime does not tell which of your layers they are" in " ".join(text.split())


def test_time_by_layer_is_told_where_the_runtime_keeps_the_link(build: Build) -> None:
    operators = tuple(
        OperatorTime(name=layer or "own", kind="Conv", where="cpu", calls=10, ns=ns, layer=layer)
        for layer, ns in (("stem", 500_000), ("head", 300_000), ("", 200_000))
    )
    times = OperatorTimes(runs=10, total_ns=1_000_000, operators=operators)
    found = with_operators(result(build, "int8"), times)
    said = "by your layers: stem 50.0%, head 30.0%; unmapped 20.0%"
    assert said in " ".join(printed(build, found).split())
    page = report_html(build, [found])
    assert said in page
    assert "<td>unmapped</td>" in page


def test_a_profiler_that_is_not_there_is_told(build: Build) -> None:
    found = with_operators(result(build, "int8"), OperatorTimes(unavailable="no profiler there"))
    assert "time by operator is unavailable: no profiler there" in printed(build, found)
    assert "time by operator is unavailable: no profiler there" in report_html(build, [found])


def test_memory_that_was_held_and_why_some_of_it_is_not_known(build: Build) -> None:
    found = result(build, "int8")
    why = {"model_pss_bytes": "not readable", "arena_bytes": HOSTILE}
    memory = Memory(model_rss_bytes=3_400_000, swap_bytes=0, unavailable=why)
    found = found.model_copy(
        update={"summary": found.summary.model_copy(update={"memory": memory})}
    )
    text = " ".join(printed(build, found).split())
    assert "memory of int8: model's pages 3.4 MB" in text
    assert "(Pss) unavailable: not readable; swapped out 0 B; arena unavailable: a; rm" in text
    page = report_html(build, [found])
    assert "3.4 MB" in page
    assert "unavailable: not readable" in page
    assert "<script>alert" not in page


def test_what_a_runner_does_not_tell_has_its_reason_everywhere(build: Build) -> None:
    found = result(build, "int8")
    why = {"p90_ns": "no samples", "p99_ns": "no samples", "peak_rss_bytes": "too old"}
    missing = {**dict.fromkeys(why), "unavailable": why}
    found = found.model_copy(update={"summary": found.summary.model_copy(update=missing)})
    text = " ".join(printed(build, found).split())
    assert "int8: no p90, p99: no samples" in text
    assert "int8: no peak memory: too old" in text
    assert "unavailable: too old" in report_html(build, [found])
    (told,) = json.loads(report_json(build, [found]))["measurements"]
    assert told["summary"]["peak_rss_bytes"] is None
    assert told["summary"]["unavailable"] == why


def test_measurements_alone(build: Build, results: list[Result]) -> None:
    out = io.StringIO()
    print_measurements(build, results, file=out, columns=100)
    assert "Median" in out.getvalue()
    assert "Times on “local” are of this computer, not of a Raspberry Pi 5." in out.getvalue()
    assert "Verdict" not in out.getvalue()
