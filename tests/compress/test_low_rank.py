"""Factors of kernels, and what the pass takes and refuses; no framework."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.compress import check_passes, spec_of, technique
from edgekit.compress.low_rank import Factors, LowRank, Site, least_costly
from edgekit.core.compression import PassSpec
from edgekit.core.errors import ConversionError, PlanError, UsageError
from edgekit.core.recipe import Recipe
from edgekit.core.sensitivity import LayerTrials, TechniqueSensitivity, Trial


@st.composite
def kernels(draw: st.DrawFn) -> Site:
    space = draw(st.integers(0, 3))
    shape = [draw(st.integers(1, 5)) for _ in range(space + 2)]
    draws = np.random.default_rng(draw(st.integers(0, 99)))
    strides = tuple(draw(st.integers(1, 2)) for _ in range(space))
    return Site("layer", draws.normal(size=shape).astype(np.float32), strides)


@given(kernels())
def test_the_error_is_what_is_not_kept_and_falls_with_the_rank(site: Site) -> None:
    """Eckart and Young: the squared error is the sum of the squared values that are left out."""
    total = np.square(site.kernel).sum()
    for at in range(len(site.space) + 1):
        full = Factors.of(site, at, 10**9, 1.0).full
        errors = []
        for rank in range(1, full + 1):
            found = Factors.of(site, at, rank, 1.0)
            error = np.square(found.first @ found.second - site.kernel).sum() / total
            assert error == pytest.approx(1 - found.kept, abs=1e-5)
            errors.append(error)
        assert all(less <= more + 1e-6 for more, less in pairwise(errors))
        assert errors[-1] < 1e-9


@given(kernels(), st.floats(0.05, 1))
def test_the_rank_is_the_least_that_keeps_the_energy(site: Site, energy: float) -> None:
    for at in site.ways("auto"):
        found = Factors.of(site, at, None, energy)
        assert found.kept >= energy - 1e-6
        if found.rank > 1:
            assert Factors.of(site, at, found.rank - 1, 1.0).kept < energy


def test_a_kernel_of_zeros_is_factored_too() -> None:
    found = Factors.of(Site("layer", np.zeros((3, 3, 4, 4), np.float32), (1, 1)), 1, None, 0.9)
    assert (found.rank, found.kept) == (1, 1.0)
    assert not (found.first @ found.second).any()


def test_the_cheapest_way_is_taken() -> None:
    """A kernel that is one column times one row is spatially separable with rank 1."""
    draws = np.random.default_rng(0)
    column, row = draws.normal(size=(3, 1, 8, 1)), draws.normal(size=(1, 3, 1, 8))
    site = Site("conv", (column @ row).astype(np.float32), (1, 1), (10, 10), (10, 10))
    found = LowRank().factors(site, None, 0.999)
    assert isinstance(found, Factors)
    assert found.text == "conv 3×1 and 1×3, rank 1 of 24"
    assert found.macs == 100 * (3 * 8 + 3 * 8)
    # Through all positions at once the same kernel has a higher rank.
    channels = LowRank(split="channels").factors(site, None, 0.999)
    assert isinstance(channels, str) or channels.macs > found.macs


def test_strides_go_first_where_that_costs_nothing() -> None:
    site = Site("conv", np.ones((1, 1, 8, 8), np.float32), (2, 2), (10, 10), (5, 5))
    found = LowRank().factors(site, None, 0.9)
    assert isinstance(found, Factors)
    assert found.macs == 25 * (8 + 8)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"energy": 0}, "energy"),
        ({"rank": 0}, "rank"),
        ({"energy": 0.8, "rank": 3}, "give one of energy and rank"),
        ({"ranks": {"conv": 0}}, "conv = 0: a rank is 1 or more"),
        ({"split": "both"}, "split"),
        ({"energies": {"conv": 0}}, "conv = 0.0: an energy is above 0"),
        ({"energies": "auto"}, "go together"),
        ({"remove": 0.5}, "go together"),
        ({"energies": "auto", "remove": 0.5, "rank": 3}, "rank both decide"),
        ({"target": "latency", "share": 0.5, "energy": 0.8}, "leave energy out"),
        ({"share": 0.5}, 'go with target = "latency"'),
    ],
)
def test_parameters_that_make_no_sense_are_refused(
    parameters: dict[str, object], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        technique(PassSpec(name="low-rank", parameters=parameters), "recipe")


def test_gentler_keeps_more_until_there_is_nothing_to_lose() -> None:
    found, energies = LowRank(energy=0.9), []
    while (milder := found.gentler()) is not None:
        found = milder
        energies.append(found.energy)
    assert energies == [0.95, 0.975, 0.9875, 0.99375]
    assert LowRank(energies={"a": 0.8}).gentler() == LowRank(energies={"a": 0.9})
    assert LowRank(rank=4, ranks={"a": 5}).gentler() == LowRank(rank=6, ranks={"a": 8})


def layer(name: str, *measured: tuple[float, float], weights: int = 100) -> LayerTrials:
    """`measured`: the share of its numbers that goes at each energy, and the dB that stay."""
    trials = [Trial(strength="", removed=gone, snr_db=snr) for gone, snr in measured]
    return LayerTrials(layer=name, kernels=(f"{name}.weight",), weights=weights, trials=trials)


CHEAP = layer("cheap", (0.0, 99), (0.1, 60), (0.3, 50), (0.5, 45), (0.8, 40))
DEAR = layer("dear", (0.1, 20), (0.2, 15), (0.4, 9), (0.6, 5), (0.9, 2))


def test_energies_are_lowered_where_that_costs_least() -> None:
    assert least_costly([DEAR, CHEAP], 0.25) == ({"cheap": 0.8}, 0.25)
    energies, gone = least_costly([DEAR, CHEAP], 0.5)
    assert energies == {"dear": 0.95, "cheap": 0.6}
    assert gone == pytest.approx(0.5)
    assert least_costly([layer("none", *[(0.0, 99)] * 5)], 0.5) == ({}, 0.0)


def test_the_most_energy_is_kept_with_which_so_much_is_gone() -> None:
    """Ranks are whole numbers: less energy may be the same rank."""
    same = layer("same", (0.5, 30), (0.5, 30), (0.5, 30), (0.5, 30), (0.5, 30))
    assert least_costly([same], 0.1) == ({"same": 0.98}, 0.5)


def test_what_is_excluded_is_not_chosen_and_too_much_is_refused() -> None:
    found = TechniqueSensitivity(
        model="m", technique="low-rank", strengths=("",) * 5, samples=7, zipped_bytes=1,
        whole=CHEAP, layers=(DEAR, CHEAP), measured="so",
    )  # fmt: skip
    chosen, said = LowRank(energies="auto", remove=0.5, exclude=("dear",)).selected(found)
    assert (chosen.energies, chosen.layers, chosen.remove) == ({"cheap": 0.8}, ("cheap",), None)
    assert "found on 7 training samples: cheap 80 %; others" in said
    with pytest.raises(
        ConversionError, match=r"remove = 0\.9 is not possible: .* 0\.8 of the"
    ) as e:
        LowRank(energies="auto", remove=0.9, exclude=("dear",)).selected(found)
    assert "remove = 0.8 or less" in e.value.hint
    assert technique(spec_of("low-rank", chosen), "recipe") == chosen


def test_it_does_not_follow_what_it_would_undo() -> None:
    passes = (PassSpec(name="prune"), PassSpec(name="low-rank"))
    recipe = Recipe(name="both", quantization="none", passes=passes)
    with pytest.raises(PlanError, match=r"pass 2, low-rank: .* what prune has made; put it first"):
        check_passes(recipe, "keras")
    check_passes(recipe.model_copy(update={"passes": passes[::-1]}), "torch")
