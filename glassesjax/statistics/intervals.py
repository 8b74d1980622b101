"""Block bootstrap confidence intervals for means, paired differences and ratios of means.

Whole blocks (runs of neighboring tokens, or passages) are resampled, since the tokens of one block
are not independent. Two quantities measured on the same blocks are compared pairwise.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

BLOCK = 64  # tokens: longer than a sentence, and the shortest segment of the perplexity study
LEVEL = 0.95  # probability with which an interval is to contain the value
RESAMPLES = 4000  # draws: about 100 lie beyond each end
UNIT_ROUNDOFF = 2.0**-53
ROUNDINGS = 64  # of pairwise (NumPy) sums of tens of blocks: a spread below counts as zero
LEAST_BLOCKS = 8  # with fewer, quantiles of the resamples are unreliable


class Interval(NamedTuple):
    """An estimate with its confidence interval at ``LEVEL``; NaN at both ends if undefined."""

    value: float
    low: float
    """In the units of the value, as ``high`` is."""
    high: float

    def excludes(self, point: float) -> bool:
        """Whether the interval does not contain a point.

        Args:
          point: In the units of the value.

        Returns:
          False where there is no interval.
        """
        return self.low > point or self.high < point

    @property
    def turned(self) -> "Interval":
        """The interval of the negated value: second minus first."""
        return Interval(-self.value, -self.high, -self.low)


def paired_difference(
    first: Float[np.ndarray, " _first"],
    second: Float[np.ndarray, " _second"],
    weights: Float[np.ndarray, " _weights"] | None = None,
    *,
    seed: int = 0,
) -> Interval:
    r"""Mean difference of two quantities measured on the same blocks, with its interval.

    .. math:: \hat\theta = \frac{\sum_b (x_b - y_b)}{\sum_b w_b}, \qquad
       s^2 = \frac{n}{n - 1} \frac{\sum_b (x_b - y_b - \hat\theta w_b)^2}{(\sum_b w_b)^2}

    Blocks are resampled with replacement, both sides of a pair together, ``RESAMPLES`` times; the
    interval is :math:`\hat\theta - q\, s` with q the quantiles of
    :math:`(\theta^* - \hat\theta) / s^*` at ``LEVEL``. It covers sampling of blocks like these, not
    of other texts. Blocks must be long enough to be nearly independent of their neighbors.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), section 12.5
    (bootstrap-t), with the standard error of a ratio.

    Args:
      first: Sums over each block, for example of losses in nats.
      second: Sums of the other quantity, in the same order.
      weights: Number of terms of each sum, for example tokens; 1 each if absent.
      seed: Seed of the resampling.

    Returns:
      The difference in units of a sum over a weight; no interval with fewer than ``LEAST_BLOCKS``
      blocks or where a number is not finite. Equal sides give zero at both ends.

    Raises:
      ValueError: The lengths differ, or a weight is not positive.
    """
    weights = np.ones(len(first)) if weights is None else weights
    if not len(first) == len(second) == len(weights):
        lengths = f"{len(first)}, {len(second)} and {len(weights)}"
        raise ValueError(f"Expected as many blocks on both sides, got {lengths}: pair them.")
    if not np.all(weights > 0):
        raise ValueError("Expected positive weights, got others: leave empty blocks out.")
    with np.errstate(invalid="ignore"):  # infinite on both sides
        gap = first - second
    draws = block_draws(len(gap), seed) if len(gap) >= LEAST_BLOCKS else None
    value = float(np.sum(gap) / np.sum(weights)) if len(gap) else math.nan
    if draws is None or not np.all(np.isfinite(gap)):
        return Interval(value, math.nan, math.nan)

    def estimate(
        counts: Int[np.ndarray, "draws blocks"],
    ) -> tuple[Float[np.ndarray, " draws"], Float[np.ndarray, " draws"]]:
        size = counts @ weights
        mean = counts @ gap / size  # (draws,)
        rest = np.sum(counts * (gap - mean[:, None] * weights) ** 2, axis=1)
        return mean, np.sqrt(rest * len(gap) / (len(gap) - 1)) / size

    size = float(np.sum(np.abs(first) + np.abs(second)) / np.sum(weights))
    once = estimate(np.ones((1, len(gap)), np.int64))
    return _studentized(*once, *estimate(draws), roundoff=ROUNDINGS * UNIT_ROUNDOFF * size)


def mean_ratio(
    part: Float[np.ndarray, " blocks"],
    count: Float[np.ndarray, " blocks"],
    whole: Float[np.ndarray, " blocks"],
    size: Float[np.ndarray, " blocks"],
    *,
    seed: int = 0,
) -> Interval:
    r"""Ratio of the mean over a subset of each block to the mean over all, with its interval.

    .. math:: \hat\rho = \frac{\sum_b p_b / \sum_b c_b}{\sum_b w_b / \sum_b s_b}

    As in ``paired_difference``, on the logarithm, whose standard error is that of its derivatives
    in the four sums.

    Args:
      part: Sum over the subset in each block; it may be empty in a block.
      count: Its size in each block.
      whole: Sum over all of each block.
      size: Size of each block.
      seed: Seed of the resampling.

    Returns:
      A ratio; no interval with fewer than ``LEAST_BLOCKS`` blocks of nonempty subset, where a sum
      is not positive, or where a number is not finite.

    Raises:
      ValueError: The lengths differ.
    """
    sums = np.stack([part, count, whole, size])
    total = np.sum(sums, axis=1)
    if not np.all(np.isfinite(sums)) or np.any(total <= 0):
        return Interval(math.nan, math.nan, math.nan)
    value = float(total[0] / total[1] / (total[2] / total[3]))
    if np.sum(count > 0) < LEAST_BLOCKS:
        return Interval(value, math.nan, math.nan)
    signs, blocks = np.array([1.0, -1.0, -1.0, 1.0]), sums.shape[1]

    def estimate(
        counts: Int[np.ndarray, "draws blocks"],
    ) -> tuple[Float[np.ndarray, " draws"], Float[np.ndarray, " draws"]]:
        drawn = counts @ sums.T  # draws 4
        influence = np.einsum("k,kb,rk->rb", signs, sums, 1 / drawn)  # (draws, blocks)
        spread = np.sum(counts * influence**2, axis=1) * blocks / (blocks - 1)
        return np.log(drawn) @ signs, np.sqrt(spread)

    draws = block_draws(blocks, seed)
    draws = draws[np.all(draws @ sums.T > 0, axis=1)]  # a draw without a member has no mean
    once = estimate(np.ones((1, blocks), np.int64))
    log = _studentized(*once, *estimate(draws), roundoff=ROUNDINGS * UNIT_ROUNDOFF)
    return Interval(value, math.exp(log.low), math.exp(log.high))


def block_draws(blocks: int, seed: int) -> Int[np.ndarray, "draws blocks"]:
    """How often each block occurs in each of ``RESAMPLES`` bootstrap resamples.

    Args:
      blocks: Number of blocks, positive.
      seed: Seed of the resampling.

    Returns:
      Counts whose rows sum to ``blocks``.
    """
    share = np.full(blocks, 1 / blocks)
    return np.random.default_rng(seed).multinomial(blocks, share, size=RESAMPLES)


def _studentized(
    value: Float[np.ndarray, " one"],
    error: Float[np.ndarray, " one"],
    values: Float[np.ndarray, " draws"],
    errors: Float[np.ndarray, " draws"],
    *,
    roundoff: float,
) -> Interval:
    # Not scipy.stats.bootstrap: its percentile and BCa intervals use no error of each draw. With 12
    # blocks they cover the true value in 87 to 90 % of cases, these in 95 %.
    if error[0] <= roundoff:  # all blocks are equal, so all resamples are
        return Interval(*[float(value[0])] * 3)
    gap = values - value
    # A resample of one repeated block has zero standard error: its ratio is infinite.
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(gap == 0, 0.0, gap / errors)
    ends = [(1 + LEVEL) / 2, (1 - LEVEL) / 2]
    high, low = np.quantile(ratio, ends, method="inverted_cdf")
    return Interval(*(float(value[0] - q * error[0]) for q in (0.0, high, low)))
