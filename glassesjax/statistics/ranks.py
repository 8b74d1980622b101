"""Spearman rank correlation of two means over examples, with a bootstrap interval."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

RESAMPLES = 2000  # draws: about 50 lie beyond each end
LEVEL = 0.95  # share of the resampled coefficients inside the interval
LEAST = 5  # groups that a rank correlation needs


class Correlation(NamedTuple):
    """Spearman's coefficient and its interval; NaN where all values are tied."""

    value: float
    low: float
    high: float


def spearman(
    first: Float[np.ndarray, "*sets values"], second: Float[np.ndarray, "*sets values"]
) -> Float[np.ndarray, "*sets"]:
    """Spearman's rank correlation along the last axis, tied values at their mean rank.

    As ``scipy.stats.spearmanr``, which takes one set a call.

    Args:
      first: Numbers; no NaN, which has no rank.
      second: Likewise.

    Returns:
      One coefficient for each set, from -1 to 1; NaN where all numbers of either are equal.
    """
    from scipy.stats import rankdata  # takes half a second

    centered = [rankdata(x, axis=-1) - (x.shape[-1] + 1) / 2 for x in (first, second)]
    product = np.sum(centered[0] * centered[1], axis=-1)
    scale = np.sqrt(np.prod([np.sum(x * x, axis=-1) for x in centered], axis=0))
    with np.errstate(invalid="ignore"):
        return np.asarray(product / scale)  # of one set it is a scalar


def correlate(
    right: list[Bool[np.ndarray, "..."]], measured: list[Float[np.ndarray, "..."]], seed: int
) -> Correlation:
    """Spearman's coefficient of accuracy and the mean of a measured value, over groups.

    Its interval is a percentile bootstrap over examples with the groups fixed: the examples of each
    group are resampled with replacement, those of ``right`` and of ``measured`` independently. It
    covers sampling of examples, not of decoders. Sampling noise attenuates the coefficient, and the
    interval more so, towards zero.

    Args:
      right: For each group, which of its examples are correct; one or more.
      measured: For each group, the measured values; their number may differ.
      seed: Seed of the resampling.

    Returns:
      NaN in all three with fewer than ``LEAST`` groups, or if all shares or all means are equal.
    """
    share, mean = (np.array([np.mean(x) for x in of]) for of in (right, measured))
    if len(share) < LEAST or math.isnan(value := float(spearman(share, mean))):
        return Correlation(math.nan, math.nan, math.nan)
    # Not scipy.stats.bootstrap: it refuses a group with one example, and gives no interval where a
    # single resample is all ties; such a resample is left out here.
    random = np.random.default_rng(seed)
    counts = np.array([len(x) for x in right])
    shares = random.binomial(counts, share, (RESAMPLES, len(counts))) / counts
    # (size,) -> (draws, size) -> (draws,)
    again = lambda x: np.mean(x[random.integers(len(x), size=(RESAMPLES, len(x)))], axis=1)
    means = np.stack([again(x) for x in measured], axis=1)  # (draws, groups)
    low, high = np.nanquantile(spearman(shares, means), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Correlation(value, float(low), float(high))


def dispersion(right: list[Bool[np.ndarray, "..."]]) -> float:
    """Overdispersion of accuracy between groups, relative to binomial sampling.

    Args:
      right: For each group, which of its examples are correct.

    Returns:
      Pearson's chi-squared over its degrees of freedom, about 1 for equal true accuracy; NaN
      where all examples are correct, or none, and with fewer than two groups.
    """
    share, counts = np.array([np.mean(x) for x in right]), np.array([len(x) for x in right])
    whole = np.sum(share * counts) / np.sum(counts)
    if len(counts) < 2 or whole in (0.0, 1.0):
        return math.nan
    squares = np.sum(counts * (share - whole) ** 2) / (whole * (1 - whole))
    return float(squares / (len(counts) - 1))
