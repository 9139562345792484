"""Factors of kernels, and what the pass takes and refuses; no framework."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.compress import check_passes, technique
from edgekit.compress.low_rank import Factors, LowRank, Site
from edgekit.core.compression import PassSpec
from edgekit.core.errors import PlanError, UsageError
from edgekit.core.recipe import Recipe


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
    found = LowRank(energy=0.999).factors(site, None)
    assert isinstance(found, Factors)
    assert found.text == "conv 3×1 and 1×3, rank 1 of 24"
    assert found.macs == 100 * (3 * 8 + 3 * 8)
    # Through all positions at once the same kernel has a higher rank.
    channels = LowRank(energy=0.999, split="channels").factors(site, None)
    assert isinstance(channels, str) or channels.macs > found.macs


def test_strides_go_first_where_that_costs_nothing() -> None:
    site = Site("conv", np.ones((1, 1, 8, 8), np.float32), (2, 2), (10, 10), (5, 5))
    found = LowRank().factors(site, None)
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
    assert LowRank(rank=4, ranks={"a": 5}).gentler() == LowRank(rank=6, ranks={"a": 8})


def test_it_does_not_follow_what_it_would_undo() -> None:
    passes = (PassSpec(name="prune"), PassSpec(name="low-rank"))
    recipe = Recipe(name="both", quantization="none", passes=passes)
    with pytest.raises(PlanError, match=r"pass 2, low-rank: .* what prune has made; put it first"):
        check_passes(recipe, "keras")
    check_passes(recipe.model_copy(update={"passes": passes[::-1]}), "torch")
