"""What a policy kept and for how long: statistics of the steps at which tokens were forgotten.

Everything here is a function of ``forgotten``, the steps that ``glassesjax.cache.replay`` gives: a
row for each decision (a layer's, or a key-value head's), a column for each token.
"""

import itertools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from glassesjax.borders import COUNT, border


@border()
def lifetimes(forgotten: Int[np.ndarray, "groups seq"]) -> Int[np.ndarray, "groups seq"]:
    """How many steps each token could be attended to.

    Its own step counts, and so does the one that dropped it: it took part in both. A token that is
    held to the end is counted until the end, and no longer.

    Source: arXiv 2401.06104v2, Tables 2 and 5, Figure 9.
    Differs: the paper does not say how it counts; its averages are those of ``mean_lifetime``,
      which follow from this way of counting.

    Args:
      forgotten: Steps after which tokens were gone; the length for those held to the end.

    Returns:
      Steps, at least 1.
    """
    length = forgotten.shape[1]
    return np.minimum(forgotten + 1, length) - np.arange(length, dtype=forgotten.dtype)


@border()
def held_to_end(forgotten: Int[np.ndarray, "groups seq"]) -> Bool[np.ndarray, "groups seq"]:
    """Which tokens are still held after the last step: their lifetime is cut off by the text's end.

    Args:
      forgotten: As for ``lifetimes``.

    Returns:
      True where the lifetime is at least what was counted.
    """
    return forgotten == forgotten.shape[1]


@border(slots=COUNT, length=COUNT)
def mean_lifetime(slots: int, length: int) -> float:
    r"""The mean lifetime over all tokens of a text, which is the same for every policy.

    .. math:: \frac{1}{T} \sum_{t=1}^{T} \min(t, k + 1)

    Each of k slots is always in use once there are tokens enough, so that a policy can only share
    out the steps. What one kind of token gains the others lose.

    Source: arXiv 2401.06104v2, Table 5, its averages, for T = 4096.
    Differs: the paper does not say that they follow from k and T.

    Args:
      slots: Capacity k, at least 1.
      length: Tokens T, at least 1.

    Returns:
      Steps.
    """
    full = max(length - slots, 0)  # steps that see k + 1 tokens
    before = length - full
    return (before * (before + 1) / 2 + full * (slots + 1)) / length


@border(lifetimes=COUNT)
def survival_mean(lifetimes: Int[np.ndarray, "..."], censored: Bool[np.ndarray, "..."]) -> float:
    r"""The mean lifetime that the product-limit estimate gives, where some are cut off.

    .. math:: \sum_{s=0}^{\tau - 1} \prod_{u=1}^{s} (1 - d_u / n_u)

    with d deaths at age u among n tokens that got as old, up to the greatest age. Without cut
    lifetimes it is the plain mean; with them it is not smaller. It presumes that late tokens live
    as early ones would, which sinks do not, and is too small where the oldest token is still held.

    Source: Kaplan and Meier 1958, restricted to the greatest age that was seen.

    Args:
      lifetimes: Steps, at least 1; not empty.
      censored: Which of them are cut off.

    Returns:
      Steps.
    """
    last = int(lifetimes.max())
    deaths = np.bincount(lifetimes[~censored], minlength=last + 1)
    at_least = np.cumsum(np.bincount(lifetimes.ravel(), minlength=last + 1)[::-1])[::-1]
    return float(np.sum(np.cumprod(1 - deaths[:last] / at_least[:last])))


@border(newest=COUNT)
def held_counts(
    forgotten: Int[np.ndarray, "groups seq"], newest: int | None = None
) -> Int[np.ndarray, "groups seq"]:
    """How many tokens are held after each step, or how many of the newest.

    Args:
      forgotten: As for ``lifetimes``.
      newest: Counts tokens among so many last positions only, the current one included.

    Returns:
      Numbers of tokens, one for each decision and step.
    """
    length = forgotten.shape[1]
    born = np.arange(length)
    gone = forgotten if newest is None else np.minimum(forgotten, born + newest)
    changes = np.zeros((len(forgotten), length + 1), np.int64)
    changes[:, :length] += 1
    for group, steps in enumerate(gone):
        np.subtract.at(changes[group], np.minimum(steps, length), 1)
    return np.cumsum(changes[:, :length], axis=1)


@border(slots=COUNT)
def recent_share(
    forgotten: Int[np.ndarray, "groups seq"], slots: int
) -> Float[np.ndarray, " groups"]:
    """How much of what is held stands among the last k positions, in the mean over the steps.

    Steps count from the first that dropped a token; before it everything is recent.

    Source: arXiv 2401.06104v2, section 6 (73 to 76 percent).
    Differs: the paper does not define recent; k positions are what a window of the same size holds.

    Args:
      forgotten: As for ``lifetimes``.
      slots: Capacity k.

    Returns:
      Shares from 0 to 1, one for each decision; NaN if the text is no longer than k.
    """
    if forgotten.shape[1] <= slots:
        return np.full(len(forgotten), np.nan)
    recent, held = held_counts(forgotten, slots), held_counts(forgotten)
    return np.mean(recent[:, slots:] / held[:, slots:], axis=1)


@border(slots=COUNT)
def overlap(
    first: Int[np.ndarray, "groups seq"], second: Int[np.ndarray, "groups seq"], slots: int
) -> float:
    r"""How alike are the tokens that two layers hold at the same time.

    .. math:: |A \cap B| / |A \cup B|

    in the mean over the steps from the first that dropped a token, and over the pairs of decisions.

    Args:
      first: One layer's ``forgotten``.
      second: The other's.
      slots: Capacity k of both.

    Returns:
      1 where they hold the same, 0 where nothing in common; NaN if the text is no longer than k.
    """
    if first.shape[1] <= slots:
        return float("nan")
    pairs = list(itertools.product(first, second))
    both = held_counts(np.array([np.minimum(a, b) for a, b in pairs]))[:, slots:]
    sizes = (held_counts(first)[:, slots:], held_counts(second)[:, slots:])
    union = np.array([a + b for a, b in itertools.product(*sizes)]) - both
    return float(np.mean(both / union))


@border(slots=COUNT)
def overlaps(
    forgotten: Sequence[Int[np.ndarray, "groups seq"]], slots: int
) -> Float[np.ndarray, "layers layers"]:
    """How alike any two layers are in what they hold.

    Args:
      forgotten: One entry a layer.
      slots: Capacity k of all.

    Returns:
      ``overlap`` for each pair of different layers, 1 on the diagonal.
    """
    table = np.eye(len(forgotten))
    for a, b in itertools.combinations(range(len(forgotten)), 2):
        table[a, b] = table[b, a] = overlap(forgotten[a], forgotten[b], slots)
    return table
