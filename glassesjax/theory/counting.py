"""Counts that attention does not distinguish (Prop. 6.1) or a format does not (Cor. 6.2)."""

import math
from fractions import Fraction
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from glassesjax.borders import COUNT, NON_NEGATIVE, POSITIVE, border, check_domain
from glassesjax.errors import BadInput, check_choice
from glassesjax.precision import FloatFormat

# Repeats glassesjax.model.counter: a prediction must not depend on the model that it predicts.
Reading = Literal["share", "one_plus_share"]
_GROUND = {"share": 0, "one_plus_share": 1}
MOST_BITS = 24  # of a mantissa for which the search takes seconds; float32 has 23


@border(counts=NON_NEGATIVE)
def ratio_attention(
    counts: Float[Array, " types"],
    logits: Float[Array, "types types"],
    values: Float[Array, "types d"],
    resid: Float[Array, "types d"],
) -> Float[Array, "types d"]:
    r"""Output of unmasked attention without positions, for each type of token in the sequence.

    A token of type a, in a sequence with n_t tokens of each type t, becomes

    .. math:: z_a = \frac{\sum_t n_t e^{k(q_a, k_t)} v_t}{\sum_t n_t e^{k(q_a, k_t)}} + r_a

    Only the ratios of the counts enter, and tokens of one type stay equal: so that, by induction,
    a model of any depth has the same representations for the counts n and c n. The statement
    needs attention without a causal mask. With one, the output of two layers depends on the order.

    Source: arXiv 2406.04267v2, Proposition 6.1 (B.9).
    Differs: any number of types; the residual r is an argument. The proof's last display, of a one
    that attends, prints the query of a zero where that of a one is meant.

    Args:
      counts: How often each type occurs; non-negative, also fractions.
      logits: The logit k(q_a, k_t), row a for the type that attends.
      values: Values, one vector a type.
      resid: Residual stream that is added; the paper's equation has v for both.

    Returns:
      One row per type, whether or not it occurs; NaN where no token occurs and counts are traced.

    Raises:
      BadInput: A count is negative, or no token occurs.
    """
    check_domain("the sum of counts", jnp.sum(counts), POSITIVE)
    # A logarithm turns counts into logits: a type that does not occur is masked.
    weights = jax.nn.softmax(logits + jnp.log(counts)[None, :], axis=-1)
    return jnp.matmul(weights, values, precision="highest") + resid


@border()
def expected_error_floor(gap: float = 1.0) -> float:
    r"""Lower bound on the mean error of one answer to two counts.

    .. math:: \tfrac12 (|a - n| + |a - n'|) \ge \tfrac12 |n - n'|

    Equality: any answer between the two counts. The larger of the two errors is bounded by the
    same number, which only the midpoint attains.

    Source: arXiv 2406.04267v2, Corollary 6.2 (B.10).
    Differs: the corollary states only that one of the answers is wrong.

    Args:
      gap: Difference of the two counts.

    Returns:
      Half the gap.

    Example:
      >>> expected_error_floor()
      0.5
    """
    return abs(gap) / 2


class FailingLength(NamedTuple):
    """Where the counter of ``glassesjax.model.counter`` fails in a format, in counted ones."""

    first_equal: int
    """The least count whose stored representation is that of the next count, bit for bit."""
    first_wrong: int
    """The least count whose stored total is nearer to another count's share: an answer is wrong."""
    last_distinct: int
    """The last count whose stored representation is not that of the next count."""


@border()
def nearest(x: Fraction, fmt: FloatFormat) -> Fraction:
    """The number of a format nearest to a fraction, by exact arithmetic; ties to even.

    Args:
      x: Any fraction no larger than the format's largest number.
      fmt: The format; subnormal numbers are numbers.

    Returns:
      The rounded value, exactly.

    Example:
      >>> from glassesjax.precision import BF16
      >>> nearest(Fraction(1, 3), BF16)
      Fraction(171, 512)
    """
    if x == 0:
        return x
    # The exponent of x: that of the quotient of the bit lengths, or one less.
    exponent = abs(x.numerator).bit_length() - x.denominator.bit_length()
    exponent -= Fraction(2) ** exponent > abs(x)
    # Below the normal numbers the step stays that of the smallest of them.
    step = Fraction(2) ** (max(exponent, fmt.min_exponent) - fmt.mantissa_bits)
    return round(x / step) * step  # Python rounds a fraction half to even


@border(count=NON_NEGATIVE)
def stored_total(count: int, fmt: FloatFormat, reading: Reading) -> Fraction:
    r"""State of the counter after ``count`` ones, if its residual stream is stored in a format.

    .. math:: \mathrm{rd}(g + \mathrm{rd}(\tfrac{1}{n})), \qquad n = c + 1

    for the ground g = 0 or 1; the beginning-of-sequence token is the first of the n that share.
    Storing the other intermediates as well changes nothing, for each of them is the rounded share,
    a copy of it, or a small power of two.

    Source: arXiv 2406.04267v2, Corollary 6.2 (B.10).
    Differs: a decoder that is written down, where the corollary has any.

    Args:
      count: The number c of ones; not negative.
      fmt: The format.
      reading: What the share is added to.

    Returns:
      The total, exactly.

    Raises:
      BadInput: There is no such reading.
    """
    check_choice("reading", reading, get_args(Reading))
    return nearest(_GROUND[reading] + nearest(Fraction(1, count + 1), fmt), fmt)


@border()
def failing_length(fmt: FloatFormat, reading: Reading) -> FailingLength:
    r"""Counts at which a counter stored in a format fails, by exact arithmetic on fractions.

    With m mantissa bits the first equal pair comes near the count at which the gap between two
    shares is as small as a step,

    .. math:: \frac{1}{n (n + 1)} \approx 2^{-2m - 1} \quad\text{or}\quad 2^{-m},

    so that a bit more moves it by a factor of 2 for the share, and of the root of 2 for one plus
    the share, whose last distinct count, just below 2^(m + 1), doubles with each bit.

    Source: arXiv 2406.04267v2, Corollary 6.2 (B.10).
    Differs: which lengths, exactly, where the corollary states that there is one.

    Args:
      fmt: How the residual stream is stored.
      reading: What the share is read from.

    Returns:
      The three counts. The beginning-of-sequence token is attended too, so that 1/n is the share of
      the count n - 1.

    Raises:
      BadInput: The format has more than ``MOST_BITS`` mantissa bits, or there is no such reading.

    Example:
      >>> from glassesjax.precision import BF16
      >>> failing_length(BF16, "one_plus_share")
      FailingLength(first_equal=13, first_wrong=14, last_distinct=254)
    """
    check_choice("reading", reading, get_args(Reading))
    if fmt.mantissa_bits > MOST_BITS:
        expected = (
            f"Expected a format of at most {MOST_BITS} mantissa bits, to search its first pair"
        )
        got = f"got {fmt.name} with {fmt.mantissa_bits}"
        raise BadInput(f"{expected}, {got}: use a narrower format.")
    # No pair is equal below the count where two shares come as near as a step, rounding included:
    # the step at 1/n for n from 2^m on, since larger shares differ by more than their steps. Below
    # the normal numbers all steps are alike.
    m = fmt.mantissa_bits
    start = math.isqrt(1 << min(2 * m + 1, m - fmt.min_exponent)) - 2
    if _GROUND[reading]:
        start = min(start, math.isqrt(1 << m) // 2)  # twice rounded: by less than two steps
    total = lambda count: stored_total(count, fmt, reading)
    count = wrong = max(start, 0)
    while total(count) != total(count + 1):
        count += 1
    while _nearest_count(total(wrong), reading) == wrong:
        wrong += 1
    # Beyond this, 1/n is at most half the last step, and rounds to nothing.
    top = fmt.mantissa_bits + 1 - (0 if _GROUND[reading] else fmt.min_exponent)
    last = 1 << top
    while total(last) == total(last + 1):
        last -= 1
    return FailingLength(count, wrong, last)


@border(most=COUNT)
def first_wrong_readout(fmt: FloatFormat, reading: Reading, most: int) -> int | None:
    r"""The least count whose readout is wrong if the weights are stored in the format too.

    The scores' slopes and intercepts are then rounded, and products and sums of them are exact:

    .. math:: \mathrm{answer}(c) = \arg\max_{k \le \mathrm{most}}
              \bigl( \mathrm{rd}(a_k)\, y_c + \mathrm{rd}(b_k) \bigr)

    with the stored total y_c. The first of equal scores is the answer.

    Source: arXiv 2406.04267v2, Corollary 6.2 (B.10).
    Differs: the readout errs before the representations coincide, which the corollary leaves out.

    Args:
      fmt: The format of everything that is stored.
      reading: What the share is read from.
      most: The largest count that the counter can output.

    Returns:
      The count, or None where all up to ``most`` are correct.

    Raises:
      BadInput: There is no such reading.

    Example:
      >>> from glassesjax.precision import BF16
      >>> first_wrong_readout(BF16, "share", most=255)
      13
    """
    check_choice("reading", reading, get_args(Reading))
    counts = range(most + 1)
    shares = [Fraction(1, count + 1) for count in counts]
    # The tangents of (y - g)^2 at the shares: the largest at y is that of the nearest share.
    tangents = [(2 * s, -(2 * s * _GROUND[reading] + s * s)) for s in shares]
    lines = [[nearest(x, fmt) for x in tangent] for tangent in tangents]
    for count in counts:
        total = stored_total(count, fmt, reading)
        scores = [slope * total + intercept for slope, intercept in lines]
        if scores.index(max(scores)) != count:
            return count
    return None


def _nearest_count(total: Fraction, reading: Reading) -> int | None:
    """The count whose share is nearest; the smaller of two. None where no share is left."""
    share = total - _GROUND[reading]
    if share <= 0:
        return None
    below = max(math.floor(1 / share), 1)
    return min((below, below + 1), key=lambda n: abs(Fraction(1, n) - share)) - 1
