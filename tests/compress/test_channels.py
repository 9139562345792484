"""Which channels go: costs, floors, multiples and ranks, without a framework."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.compress.channels import (
    PINNED,
    Channels,
    Costs,
    Family,
    Site,
    find_families,
    keep_along,
    levelled,
    named,
    plan,
    sliced,
    unit_scores,
)
from edgekit.core.errors import UsageError


@st.composite
def chains(draw: st.DrawFn) -> tuple[list[Site], list[Family], np.ndarray]:
    """Layers one after the other, the last one's channels pinned, with scores for all units."""
    widths = draw(st.lists(st.integers(1, 24), min_size=2, max_size=4))
    channels = Channels()
    before = np.full(3, PINNED)
    sites = []
    for index, width in enumerate(widths):
        labels = channels.fresh(width)
        macs = draw(st.integers(1, 50))
        axes = {0: labels, 1: before}
        shape = (width, len(before))
        sites.append(Site(f"w{index}", f"layer{index}", "kernel", shape, axes, 1, macs))
        sites.append(Site(f"b{index}", f"layer{index}", "rest", (width,), {0: labels}))
        before = np.tile(labels, draw(st.integers(1, 3)))
    channels.pin(labels)
    families = find_families(channels, sites)
    for family in families:
        family.step = draw(st.integers(1, 8))
        family.floor = draw(st.integers(1, len(family.units)))
    seed = draw(st.integers(0, 99))
    return sites, families, np.random.default_rng(seed).random(len(channels))


def weighed(sites: list[Site], kept: np.ndarray, of: str) -> float:
    """The cost of arrays that are really cut."""
    arrays = [sliced(np.zeros(site.shape), site.axes, kept) for site in sites]
    each = [site.macs if of == "macs" else 1 for site in sites]
    return float(sum(a.size * e for a, e in zip(arrays, each, strict=True)))


@given(chain=chains(), of=st.sampled_from(["macs", "parameters"]), share=st.floats(0.05, 0.95))
def test_a_plan_keeps_to_its_target_floors_and_steps(chain, of, share) -> None:  # type: ignore[no-untyped-def]
    sites, families, scores = chain
    whole = Costs(sites, families, of).total
    made = plan(sites, families, scores, of=of, target=whole * (1 - share))
    assert made.cost == pytest.approx(weighed(sites, made.kept, of))
    assert made.whole == pytest.approx(weighed(sites, np.ones_like(made.kept), of))
    for family in families:
        left = int(made.kept[family.units].sum())
        assert left == len(family.units) or left % family.step == 0
        assert left >= min(family.floor, len(family.units))
        assert made.kept[family.units[~family.free]].all()
        gone, stay = scores[family.units[~made.kept[family.units]]], family.units[family.free]
        if len(gone):
            assert gone.max() <= scores[stay[made.kept[stay]]].min(initial=np.inf)
    if made.cost > whole * (1 - share):  # all that may go has gone
        for family in families:
            assert int(made.kept[family.units].sum()) == family.widths()[-1]
    else:  # no family could have kept one step more
        for family in families:
            widths = family.widths()
            at = widths.index(int(made.kept[family.units].sum()))
            if at:
                back = made.kept.copy()
                order = family.units[np.argsort(scores[family.units], kind="stable")]
                back[order[len(order) - widths[at - 1] :]] = True
                assert weighed(sites, back, of) > whole * (1 - share)


def test_what_is_tied_is_one_unit_and_one_family() -> None:
    channels = Channels()
    one, other, third = channels.fresh(3), channels.fresh(3), channels.fresh(2)
    channels.tie(one, other[::-1])
    assert channels.roots(other).tolist() == [2, 1, 0]
    (first, _, _), (second, free, _) = channels.families()
    assert first.tolist() == [0, 1, 2]
    assert second.tolist() == third.tolist()
    assert free.all()


def test_what_meets_a_fixed_channel_is_pinned() -> None:
    channels = Channels()
    one, other = channels.fresh(2), channels.fresh(2)
    channels.tie(one, np.array([PINNED, int(other[0])]))
    channels.tie(other, np.array([int(other[0]), PINNED]))
    (units, free, _), *others = channels.families()
    assert not others
    assert units.tolist() == [0, 1, 3]
    assert free.tolist() == [False, True, False]


def test_a_pin_outlives_a_later_tie() -> None:
    channels = Channels()
    one, other = channels.fresh(1), channels.fresh(1)
    channels.pin(other)
    channels.tie(one, other)
    assert not channels.families()[0][1].any()


def test_scores_are_means_of_what_the_tensors_say() -> None:
    labels = np.array([0, 1, 1, PINNED])
    found = unit_scores([(labels, [1, 2, 3, 9]), (np.array([1]), [1])], 3)
    assert found.tolist() == [1, 3, 0]
    family = Family(("a",), np.array([0, 1]), np.array([True, True]))
    assert levelled(found, [family]).tolist() == [0.5, 1.5, 0]


def test_indices_that_stay() -> None:
    kept = np.array([True, False])
    assert keep_along(np.array([0, 1, PINNED, 1, 0]), kept).tolist() == [0, 2, 4]


def test_a_pattern_that_means_no_layer_names_the_nearest() -> None:
    family = Family(("conv1", "short"), np.arange(2), np.ones(2, bool))
    assert named([family], ["sho*"], "exclude") == [family]
    with pytest.raises(UsageError, match="exclude = 'conv2' matches no layer with channels") as no:
        named([family], ["conv2"], "exclude")
    assert "conv1" in str(no.value.hint)
