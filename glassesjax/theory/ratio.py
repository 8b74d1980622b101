"""Best accuracy of counting from the ratio alone: exact, by enumeration of the sequences."""

import math
from collections.abc import Mapping
from fractions import Fraction

from glassesjax.borders import SHARE, border, require

Seen = tuple[Fraction, bool]


@border(share=SHARE)
def ratio_only_accuracy(lengths: Mapping[int, Fraction], share: Fraction) -> Fraction:
    r"""Upper bound on the accuracy of any answer that depends on ratio and last token only.

    Each of the n tokens of an item is a one with probability p, independently. The output of a
    decoder without mask and positions depends on the share of ones r and the last token t only, so
    that its best answer is the likeliest count of each such pair:

    .. math:: A = \sum_{r, t} \max_k P(k, r, t), \qquad
       P(k, k / n, 1) = P(n) \binom{n - 1}{k - 1} p^k (1 - p)^{n - k}

    and the same with :math:`\binom{n-1}{k}` for an item that ends in a zero. Equality: the answer
    that names that count.

    Source: arXiv 2406.04267v2, Proposition 6.1 (B.9).
    Differs: the proposition states that two prompts are equal; this is the resulting accuracy.

    Args:
      lengths: How often each length is drawn; they sum to one.
      share: How often a token is a one.

    Returns:
      The accuracy of the best such answer, exactly.

    Raises:
      BadInput: A length is below 1, or the lengths' shares are no distribution.

    Example:
      >>> half = Fraction(1, 2)
      >>> ratio_only_accuracy({1: half, 2: half}, Fraction(1))  # 1 and 11 have one ratio
      Fraction(1, 2)
      >>> ratio_only_accuracy({2: half, 3: half}, half)  # 11 and 111 have one ratio
      Fraction(15, 16)
    """
    require(min(lengths, default=0) >= 1, "lengths from 1 on", sorted(lengths)[:1])
    total = sum(lengths.values())
    require(total == 1 and min(lengths.values()) >= 0, "lengths whose shares sum to one", total)
    likely: dict[Seen, list[Fraction]] = {}
    for length, drawn in lengths.items():
        for ones in range(length + 1):
            tokens = share**ones * (1 - share) ** (length - ones)
            for last in (False, True):
                before = ones - last
                ways = math.comb(length - 1, before) if before >= 0 else 0
                seen = Fraction(ones, length), last
                # At one ratio another length has another count, except for zero ones.
                likely.setdefault(seen, []).append(drawn * ways * tokens)
    best = Fraction(0)
    # The best answer at a ratio and a last token is the likeliest count.
    for (ratio, _), chances in likely.items():
        best += sum(chances) if ratio == 0 else max(chances)
    return best
