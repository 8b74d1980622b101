"""Statistics of retention: lifetimes and counts of cached tokens, from their eviction steps.

All functions take the eviction steps of ``glassesjax.cache.replay``: a row for each decision (a
layer's, or a key-value head's), a column for each token.
"""

import itertools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from glassesjax.borders import COUNT, border


@border()
def lifetimes(evicted_at: Int[np.ndarray, "groups seq"]) -> Int[np.ndarray, "groups seq"]:
    """Number of steps in which each token was visible.

    Its own step counts, and so does the one that evicted it: it was visible in both. A token that
    is retained to the end is counted until the end (censored).

    Source: arXiv 2401.06104v2, Tables 2 and 5, Figure 9.
    Differs: the paper does not define the count; its averages are those of ``mean_lifetime``,
      which follow from this way of counting.

    Args:
      evicted_at: Steps that evicted the tokens; the length for those retained to the end.

    Returns:
      Steps, at least 1.
    """
    length = evicted_at.shape[1]
    # The eviction step counts as visible; a retained token has no such step.
    return np.minimum(evicted_at + 1, length) - np.arange(length, dtype=evicted_at.dtype)


@border()
def cached_to_end(evicted_at: Int[np.ndarray, "groups seq"]) -> Bool[np.ndarray, "groups seq"]:
    """Which tokens are cached after the last step: their lifetime is right-censored.

    Args:
      evicted_at: As for ``lifetimes``.

    Returns:
      True where the lifetime is a lower bound.
    """
    return evicted_at == evicted_at.shape[1]


@border(slots=COUNT, length=COUNT)
def mean_lifetime(slots: int, length: int) -> float:
    r"""The mean lifetime over all tokens of a text, which is the same for every policy.

    .. math:: \frac{1}{T} \sum_{t=1}^{T} \min(t, k + 1)

    Once there are k tokens all k slots are in use, so that a policy only distributes the steps
    among the tokens.

    Source: arXiv 2401.06104v2, Table 5, its averages, for T = 4096.
    Differs: that they follow from k and T is ours.

    Args:
      slots: Capacity k, at least 1.
      length: Tokens T, at least 1.

    Returns:
      Steps.
    """
    full = max(length - slots, 0)  # steps that see k + 1 tokens
    # The cache fills for the first k tokens, then each step sees k + 1.
    before = length - full
    return (before * (before + 1) / 2 + full * (slots + 1)) / length


@border(lifetimes=COUNT)
def survival_mean(lifetimes: Int[np.ndarray, "..."], censored: Bool[np.ndarray, "..."]) -> float:
    r"""Mean lifetime by the product-limit (Kaplan-Meier) estimate under right censoring.

    .. math:: \sum_{s=0}^{\tau - 1} \prod_{u=1}^{s} (1 - d_u / n_u)

    with d evictions at age u among n tokens of at least that age, up to the greatest age. Without
    censored lifetimes it is the plain mean; with them it is not smaller. It assumes that late
    tokens have the lifetimes of early ones, which is false for sinks, and is too small where the
    oldest token is retained.

    Source: Kaplan and Meier 1958, restricted to the greatest observed age.

    Args:
      lifetimes: Steps, at least 1; not empty.
      censored: Which of them are right-censored.

    Returns:
      Steps.
    """
    last = int(lifetimes.max())
    evictions = np.bincount(lifetimes[~censored], minlength=last + 1)
    # Tokens of at least each age: the counts, summed from the greatest age down.
    at_least = np.cumsum(np.bincount(lifetimes.ravel(), minlength=last + 1)[::-1])[::-1]
    return float(np.sum(np.cumprod(1 - evictions[:last] / at_least[:last])))


@border(newest=COUNT)
def cached_counts(
    evicted_at: Int[np.ndarray, "groups seq"], newest: int | None = None
) -> Int[np.ndarray, "groups seq"]:
    """Number of cached tokens after each step, or of those among the newest positions.

    Args:
      evicted_at: As for ``lifetimes``.
      newest: Number of last positions to count in, the current one included; all if None.

    Returns:
      Numbers of tokens, one for each decision and step.
    """
    length = evicted_at.shape[1]
    position = np.arange(length)
    # A token leaves the count when it is evicted, or when it is no longer among the newest.
    until = evicted_at if newest is None else np.minimum(evicted_at, position + newest)
    changes = np.zeros((len(evicted_at), length + 1), np.int64)  # of the count, step by step
    changes[:, :length] += 1
    # Group by group: ``subtract.at`` counts an index as often as it comes, ``-=`` only once.
    for group, steps in enumerate(until):
        np.subtract.at(changes[group], np.minimum(steps, length), 1)
    return np.cumsum(changes[:, :length], axis=1)


@border(slots=COUNT)
def recent_share(
    evicted_at: Int[np.ndarray, "groups seq"], slots: int
) -> Float[np.ndarray, " groups"]:
    """Share of cached tokens that are among the last k positions, mean over the steps.

    Steps count from the first eviction; before it the share is one.

    Source: arXiv 2401.06104v2, section 6 (73 to 76 percent).
    Differs: the paper does not define recent; k positions are those of a window of the same size.

    Args:
      evicted_at: As for ``lifetimes``.
      slots: Capacity k.

    Returns:
      Shares from 0 to 1, one for each decision; NaN if the text is no longer than k.
    """
    if evicted_at.shape[1] <= slots:
        return np.full(len(evicted_at), np.nan)
    # Before the first eviction all cached tokens are recent.
    recent, cached = cached_counts(evicted_at, slots), cached_counts(evicted_at)
    return np.mean(recent[:, slots:] / cached[:, slots:], axis=1)


@border(slots=COUNT)
def overlap(
    first: Int[np.ndarray, "groups seq"], second: Int[np.ndarray, "groups seq"], slots: int
) -> float:
    r"""Jaccard similarity of the tokens that are cached in two layers.

    .. math:: |A \cap B| / |A \cup B|

    averaged over the steps from the first eviction on, and over the pairs of decisions.

    Args:
      first: Eviction steps of one layer.
      second: Those of the other.
      slots: Capacity k of both.

    Returns:
      1 for equal sets, 0 for disjoint ones; NaN if the text is no longer than k.
    """
    if first.shape[1] <= slots:
        return float("nan")
    pairs = list(itertools.product(first, second))
    # A pair is cached in both until the first of the two evictions: (pairs, seq).
    both = cached_counts(np.array([np.minimum(a, b) for a, b in pairs]))[:, slots:]
    sizes = (cached_counts(first)[:, slots:], cached_counts(second)[:, slots:])
    union = np.array([a + b for a, b in itertools.product(*sizes)]) - both
    return float(np.mean(both / union))


@border(slots=COUNT)
def overlaps(
    evicted_at: Sequence[Int[np.ndarray, "groups seq"]], slots: int
) -> Float[np.ndarray, "layers layers"]:
    """Pairwise ``overlap`` of layers.

    Args:
      evicted_at: Eviction steps of each layer.
      slots: Capacity k of all.

    Returns:
      ``overlap`` for each pair of different layers, 1 on the diagonal.
    """
    table = np.eye(len(evicted_at))
    for a, b in itertools.combinations(range(len(evicted_at)), 2):
        table[a, b] = table[b, a] = overlap(evicted_at[a], evicted_at[b], slots)
    return table
