"""Decay of distances with length: local exponents, the exponent of the tail, and the law."""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from glassesjax.borders import POSITIVE, border, require

SPREAD = 0.1  # local exponents that differ by no more belong to one power law
DECADE = 10  # least ratio of lengths of a tail that may be stable
TWICE = 2.0  # a law is chosen if the other one's prediction error is larger by this factor,
MISS = 0.4  # and if its own error of log distance is at most this: a factor of 1.5
LEAST = 4  # points of a tail that may be called stable

Law = Literal["power", "exponential", "undecided"]


class DecayFit(NamedTuple):
    """Fit of the decay of distances. The numbers are NaN below three points."""

    exponent: float
    """Slope of log distance against log length over the tail, by least squares."""
    low: float
    """Lower end of the interval over the starts of the tail."""
    high: float
    """Upper end."""
    stable: bool
    """Whether the local exponents of the tail, of four points or more, agree to ``SPREAD`` over a
    factor of ten."""
    power_error: float
    """Root mean square error of log distance in the last doubling of the length, as a power law
    predicts it from the two doublings before."""
    exponential_error: float
    """The same for an exponential."""
    first: int
    """Shortest length of the tail."""
    last: int
    """Longest length with a distance."""
    points: int
    """Number of positive, finite distances in all; exact zeros have no logarithm."""
    local: tuple[tuple[int, float], ...]
    """Lengths, ascending, each with the slope over the doubling that ends there."""

    @property
    def spans_decade(self) -> bool:
        """Whether the tail reaches over a factor of ten."""
        return self.points >= 3 and self.last >= DECADE * self.first

    @property
    def law(self) -> Law:
        """The law that predicts the last doubling within a factor of 1.5, and twice as well."""
        if self.power_error <= MISS and self.exponential_error > TWICE * self.power_error:
            return "power"
        if self.exponential_error <= MISS and self.power_error > TWICE * self.exponential_error:
            return "exponential"
        return "undecided"


@border()
def fit_decay(lengths: Sequence[int], distances: Sequence[float]) -> DecayFit:
    r"""Fits the exponent of the decay of distances with length, in the tail.

    .. math:: \log d_n \approx a + b \log n \quad (n \ge n_0)

    Distances of one model are no independent samples: the residuals of a straight line are not
    noise but curvature, and a standard error of the slope is no error of the limit. So the tail
    begins where local exponents stop changing, and the interval is the hull of the slopes
    over all shorter tails that still span a doubling. Where the local exponent moved one way over
    the last three doublings, the interval also covers two more such steps, but
    not beyond zero: a correction of order 1/n to a power law is then inside. That part is an
    extrapolation, and none of it is a confidence interval.

    Args:
      lengths: Positive lengths, each once.
      distances: One distance for each; zeros and what is not finite are left out.

    Returns:
      The fit. Without a stable tail over a factor of ten, ``stable`` is false and the exponent is
      that of the last factor of ten, with its interval.

    Raises:
      ValueError: A length is not positive or comes twice, a distance is negative, or there is not
        one distance for each.
    """
    if min(lengths, default=1) < 1 or len(set(lengths)) < len(lengths):
        raise ValueError(f"Expected positive lengths, each once, got {list(lengths)}.")
    _check_pairs("lengths", lengths, "distances", distances)
    require(all(d >= 0 or math.isnan(d) for d in distances), "distances of 0 or more", distances)
    pairs = sorted(zip(lengths, distances, strict=True))
    kept = [(n, d) for n, d in pairs if d > 0 and math.isfinite(d)]
    if len(kept) < 3:
        nothing = (math.nan,) * 3
        bounds = (kept[0][0], kept[-1][0]) if kept else (0, 0)
        return DecayFit(*nothing, False, math.nan, math.nan, *bounds, len(kept), ())
    n, d = np.asarray(kept, np.float64).T  # (points, 2) -> lengths and distances
    x, y = np.log(n), np.log(d)
    # For each point except the first: the start of its doubling, and the slope over it.
    starts = [min(int(np.searchsorted(n, n[at] / 2)), at - 1) for at in range(1, len(n))]
    spans = [(first, slice(first, at + 1)) for at, first in enumerate(starts, start=1)]
    local = [(first, _slope(x[span], y[span])) for first, span in spans]
    start, stable = _tail(n, local)
    cuts = [cut for cut in range(start, len(n) - 2) if cut == start or 2 * n[cut] <= n[-1]]
    slopes = [_slope(x[cut:], y[cut:]) for cut in cuts]
    ends = list(slopes)
    # The last local exponent, and two more steps ahead if it drifts over the last three doublings.
    back = [int(np.searchsorted(n, n[-1] / 2**half, side="right")) - 2 for half in (0, 1, 2)]
    if back[-1] >= 0:
        latest, before, earliest = (local[index][1] for index in back)
        if (latest - before) * (before - earliest) > 0:
            ahead = latest + 2 * (latest - before)
            # An extrapolation does not change sign.
            ends += [latest, ahead if ahead * latest > 0 else 0.0]
    return DecayFit(
        exponent=slopes[0],
        low=min(ends),
        high=max(ends),
        stable=stable,
        power_error=_prediction_error(n, x, y),
        exponential_error=_prediction_error(n, n, y),
        first=int(n[start]),
        last=int(n[-1]),
        points=len(n),
        local=tuple((int(n[at]), slope) for at, (_, slope) in enumerate(local, start=1)),
    )


@border(x=POSITIVE, y=POSITIVE)
def loglog_slope(x: Sequence[float | int], y: Sequence[float | int]) -> float:
    """The least-squares slope of log y against log x, over all points.

    Args:
      x: Positive numbers, two different ones at least.
      y: One positive number for each.

    Returns:
      The slope; NaN below two points.

    Raises:
      BadInput: A number is not positive, all x are one number, or there is not one y for each.
    """
    _check_pairs("x", x, "y", y)
    if len(x) < 2:
        return math.nan
    require(len(set(x)) > 1, "two different numbers or more as x", f"{x[0]} only")
    return _slope(np.log(np.asarray(x, np.float64)), np.log(np.asarray(y, np.float64)))


def _check_pairs(name: str, x: Sequence[object], of: str, y: Sequence[object]) -> None:
    require(len(x) == len(y), f"one of {of} for each of {len(x)} {name}", len(y), "give as many")


def _slope(x: Float[np.ndarray, " points"], y: Float[np.ndarray, " points"]) -> float:
    x, y = x - x.mean(), y - y.mean()
    return float(x @ y) / float(x @ x)


def _tail(n: np.ndarray, local: list[tuple[int, float]]) -> tuple[int, bool]:
    """Where the tail starts, and whether its local exponents agree over a factor of ten."""
    # From the longest length down, for as long as the exponents agree.
    start, low, high = len(n) - 1, math.inf, -math.inf
    for first, slope in reversed(local):
        low, high = min(low, slope), max(high, slope)
        if high - low > SPREAD:
            break
        start = first
    if n[-1] >= DECADE * n[start] and len(n) - start >= LEAST:
        return start, True
    decade = int(np.searchsorted(n, n[-1] / DECADE, side="right")) - 1
    return min(max(decade, 0), len(n) - 3), False


def _prediction_error(n: np.ndarray, x: np.ndarray, y: np.ndarray) -> float:
    """RMS error in the last doubling of a line through the two doublings before it."""
    new = n > n[-1] / 2
    old = ~new & (n >= n[-1] / 8)
    if old.sum() < 2 or np.ptp(x[old]) == 0:
        return math.nan
    slope = _slope(x[old], y[old])
    missed = y[new] - y[old].mean() - slope * (x[new] - x[old].mean())
    return float(np.sqrt(np.mean(missed**2)))
