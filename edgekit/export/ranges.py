"""How wide the range of an activation is: from a histogram of its values to [least, greatest].

A range that holds every value wastes steps on the few that are far out; a narrower one cuts those
off (they become the end of the range) and rounds all others finer. Each method weighs that in its
own way. Nothing here knows a framework.

    min-max         the least and the greatest value
    moving-average  of the samples' own least and greatest values (`averaged`)
    percentile      what share of the values shall stay inside (`by_percentile`)
    mse             the least squared error (`by_squared_error`)
    entropy         the least change of the distribution (`by_entropy`)

Compared by H. Wu et al., "Integer Quantization for Deep Learning Inference: Principles and
Empirical Evaluation", 2020, https://arxiv.org/abs/2004.09602
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgekit.core.quantize import AVERAGING, USUAL_PERCENTILE, Quantize, RangeMethod
from edgekit.core.recipe import Recipe

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

BINS = 4096
_STEPS_AN_OCTAVE = 8  # how fine ranges are tried
_OCTAVES = 10  # the narrowest that is tried: 1/1024 of the whole


def range_arguments(recipe: Recipe, *, levels: int) -> dict[str, Any]:
    """What a step that collects ranges is told of `recipe`; nothing for the usual way, min-max.

    Args:
        levels: how many values the integers have; only the least squared error depends on it, so
            other methods are shared by integers of any size.
    """
    asked = recipe.quantize
    if asked.ranges in (None, "min-max"):
        return {}
    told: dict[str, Any] = {"method": asked.ranges}
    if asked.ranges == "percentile":
        told["percentile"] = asked.percentile
    if asked.ranges == "mse":
        told["levels"] = levels
    return told


def quantizer_arguments(recipe: Recipe) -> dict[str, Any]:
    """``{"quantize": …}`` with what is not of ranges, for the step that quantizes; empty for the
    usual way, so that variants which differ in nothing else share the step. Weights are made sparse
    after it."""
    told = recipe.quantize.model_copy(
        update={"ranges": None, "percentile": USUAL_PERCENTILE, "sparse": False}
    )
    return {} if told == Quantize() else {"quantize": told.to_json()}


class Histogram:
    """Counts of the values between two ends, which are known from an earlier pass.

    Zeros are counted apart: every affine quantizer here has an exact zero, so they have no error
    whatever the range is, and behind a ReLU they are most of the values.

    Args:
        low, high: the least and the greatest value; values outside count as the nearer end.
    """

    def __init__(self, low: float, high: float) -> None:
        import numpy as np

        self.low, self.high = min(low, 0.0), max(high, 0.0)
        self.counts = np.zeros(BINS, dtype=np.int64)
        self.zeros = 0

    def add(self, values: NDArray[np.floating]) -> None:
        """Count `values`, of any shape."""
        import numpy as np

        flat = np.asarray(values, dtype=np.float64).ravel()
        real = flat[flat != 0]
        self.zeros += flat.size - real.size
        width = self.high - self.low
        if width == 0 or real.size == 0:
            self.zeros += real.size
            return
        places = ((real - self.low) * (BINS / width)).astype(np.int64)
        np.clip(places, 0, BINS - 1, out=places)
        self.counts += np.bincount(places, minlength=BINS)

    @property
    def edges(self) -> Array:
        """The ends of the bins, BINS + 1 of them."""
        import numpy as np

        return np.linspace(self.low, self.high, BINS + 1)

    @property
    def centres(self) -> Array:
        """The values that the bins stand for."""
        edges = self.edges
        return (edges[:-1] + edges[1:]) / 2


def span(
    seen: Histogram, method: RangeMethod, *, percentile: float, levels: int, symmetric: bool
) -> tuple[float, float]:
    """The range by one of the methods that go by a histogram; it holds 0.

    Args:
        percentile: for that method.
        levels: how many values the integers have (256).
        symmetric: whether the quantizer has the same steps on both sides of 0 and no zero point.
    """
    if not seen.counts.any():
        return seen.low, seen.high
    if method == "percentile":
        low, high = by_percentile(seen, percentile)
    elif method == "mse":
        low, high = by_squared_error(seen, levels, symmetric=symmetric)
    elif method == "entropy":
        low, high = by_entropy(seen, levels)
    else:
        raise ValueError(f"{method} does not go by a histogram")
    return min(low, 0.0), max(high, 0.0)


def averaged(before: float | None, new: float) -> float:
    """Exponential moving average of the ends that samples have, the first one as it is.

    Jacob et al., "Quantization and Training of Neural Networks for Efficient
    Integer-Arithmetic-Only Inference", 2018, section 3.1, https://arxiv.org/abs/1712.05877
    """
    return new if before is None else (1 - AVERAGING) * before + AVERAGING * new


def by_percentile(seen: Histogram, percentile: float) -> tuple[float, float]:
    """Half of what is not inside lies below, half above: [q, 1 − q] with q = (100 − p) / 200.

    As ONNX Runtime's PercentileCalibrater; quantiles are interpolated inside a bin.
    """
    import numpy as np

    counts = seen.counts.astype(np.float64)
    width = seen.high - seen.low
    at_zero = min(int(-seen.low / width * BINS), BINS - 1) if width else 0
    counts[at_zero] += seen.zeros
    share = np.concatenate([[0.0], np.cumsum(counts) / counts.sum()])
    cut = (100 - percentile) / 200
    if cut == 0:
        return seen.low, seen.high
    return float(np.interp(cut, share, seen.edges)), float(np.interp(1 - cut, share, seen.edges))


def by_squared_error(seen: Histogram, levels: int, *, symmetric: bool) -> tuple[float, float]:
    """The range with the least expected squared error, of a grid of ranges.

    Error of a range: n·Δ²/12 for the n values inside, Δ = width / (levels − 1) being the step, and
    (x − end)² for each value x outside. R. Banner et al., "Post training 4-bit quantization of
    convolution networks for rapid-deployment", 2019, section 3, https://arxiv.org/abs/1810.05723
    """
    import numpy as np

    shrunk = 2.0 ** (-np.arange(_OCTAVES * _STEPS_AN_OCTAVE + 1) / _STEPS_AN_OCTAVE)
    total = float(seen.counts.sum())
    if symmetric:
        ends = max(-seen.low, seen.high) * shrunk
        highs, lows = np.minimum(ends, seen.high), np.minimum(ends, -seen.low)
        (over, lost), (under, missed) = _outside(seen, highs), _outside_below(seen, lows)
        error = (total - over - under) * (2 * ends / (levels - 1)) ** 2 / 12 + lost + missed
        best = int(error.argmin())
        return -float(lows[best]), float(highs[best])
    highs = seen.high * shrunk if seen.high > 0 else np.zeros(1)
    lows = -seen.low * shrunk if seen.low < 0 else np.zeros(1)
    (over, lost), (under, missed) = _outside(seen, highs), _outside_below(seen, lows)
    steps = (highs[:, None] + lows[None, :]) / (levels - 1)
    inside = total - over[:, None] - under[None, :]
    errors = inside * steps**2 / 12 + lost[:, None] + missed[None, :]
    row, column = np.unravel_index(int(errors.argmin()), errors.shape)
    return -float(lows[column]), float(highs[row])


def _outside(seen: Histogram, ends: Array) -> tuple[Array, Array]:
    """For each of `ends`: how many values lie above it, and the sum of their squared distances."""
    return _beyond(seen.centres, seen.counts, ends)


def _outside_below(seen: Histogram, ends: Array) -> tuple[Array, Array]:
    """The same for values below −end."""
    return _beyond(-seen.centres[::-1], seen.counts[::-1], ends)


def _beyond(values: Array, counts: NDArray[np.int64], ends: Array) -> tuple[Array, Array]:
    """`values` ascend. Σ c·(x − e)² over x > e, from sums of c, c·x and c·x² over the tail."""
    import numpy as np

    def tails(weights: Array) -> Array:
        return np.concatenate([np.cumsum(weights[::-1])[::-1], [0.0]])

    amount = counts.astype(np.float64)
    none, one, two = tails(amount), tails(amount * values), tails(amount * values**2)
    at = np.searchsorted(values, ends, side="right")
    squares = two[at] - 2 * ends * one[at] + ends**2 * none[at]
    return none[at], np.maximum(squares, 0)


def by_entropy(seen: Histogram, levels: int) -> tuple[float, float]:
    """The range whose quantized distribution Q is nearest to the clipped one P: least KL(P‖Q).

    P is the histogram inside the range, with what lies outside added to its ends; Q is the same
    without what lies outside, put together into `levels` bins and spread again over those of P's
    bins that are not empty. A range is |x| ≤ t, cut off at the least and greatest value. S. Migacz,
    "8-bit Inference with TensorRT", GTC 2017,
    https://on-demand.gputechconf.com/gtc/2017/presentation/s7310-8-bit-inference-with-tensorrt.pdf
    A range has at least `levels` bins, so the narrowest is levels / BINS of the whole.
    """
    import numpy as np

    widest = max(-seen.low, seen.high)
    bin_width = (seen.high - seen.low) / BINS
    best, least = (seen.low, seen.high), np.inf
    tried: set[tuple[int, int]] = set()
    for step in range(_OCTAVES * _STEPS_AN_OCTAVE + 1):
        end = widest * 2.0 ** (-step / _STEPS_AN_OCTAVE)
        low, high = max(seen.low, -end), min(seen.high, end)
        first = round((low - seen.low) / bin_width)
        last = round((high - seen.low) / bin_width)
        if last - first < levels:
            break
        if (first, last) in tried or not seen.counts[first:last].any():
            continue
        tried.add((first, last))
        divergence = _divergence(seen.counts, first, last, levels)
        if divergence < least:
            best, least = (low, high), divergence
    return best


def _divergence(counts: NDArray[np.int64], first: int, last: int, levels: int) -> float:
    import numpy as np

    inside = counts[first:last].astype(np.float64)
    clipped = inside.copy()
    clipped[0] += counts[:first].sum()
    clipped[-1] += counts[last:].sum()
    starts = np.linspace(0, inside.size, levels, endpoint=False).astype(np.int64)
    filled = inside > 0
    sums = np.add.reduceat(inside, starts)
    spread = np.add.reduceat(filled.astype(np.float64), starts)
    sizes = np.diff([*starts, inside.size])
    level = np.repeat(sums / np.maximum(spread, 1), sizes)
    one, other = _smoothed(clipped), _smoothed(np.where(filled, level, 0.0))
    return float(np.sum(one * np.log(one / other)))


def _smoothed(distribution: Array) -> Array:
    """As a distribution with nothing at 0, or the divergence would be infinite."""
    import numpy as np

    made: Array = np.maximum(distribution / distribution.sum(), 1e-9)
    return made
