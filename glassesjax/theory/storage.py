r"""Lengths, gaps and sums from which a number format loses attention, in closed form.

A format has m mantissa bits and the least exponent e of a normal number, so that its smallest
number is :math:`\eta = 2^{e - m}`. Rounding is to nearest, ties to even: :math:`\eta / 2` and all
below it become zero. Numbers are exact fractions unless they say otherwise.
"""

import math
from fractions import Fraction

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from glassesjax.borders import COUNT, NON_NEGATIVE, POSITIVE, border
from glassesjax.precision import (
    E2M1,
    E4M3FN,
    Accumulator,
    FloatFormat,
    RoundingPlan,
    ScaledFormat,
    Scaling,
)
from glassesjax.theory.counting import nearest


def _half_smallest(fmt: FloatFormat) -> Fraction:
    """The largest number that is rounded to zero."""
    return Fraction(2) ** (fmt.min_exponent - fmt.mantissa_bits - 1)


@border(scale=POSITIVE)
def silent_length(fmt: FloatFormat, scale: float = 1.0) -> int:
    r"""Length from which equal weights are stored as zeros, if they are normalized before.

    .. math:: \mathrm{rd}(S / n) = 0 \Leftrightarrow n \ge \frac{2 S}{\eta} = S \, 2^{m + 1 - e}

    At one less each is stored as the smallest number, and the row has the sum
    :math:`(n - 1) \eta / S`, nearly two. Weights that are stored before they are divided by
    their sum are ones, at every length.

    Source: ours.

    Args:
      fmt: The format of the weights.
      scale: The factor S by which weights are multiplied before they are stored.

    Returns:
      A number of tokens.

    Example:
      >>> silent_length(E4M3FN)
      1024
    """
    return math.ceil(Fraction(scale) / _half_smallest(fmt))


@border()
def uniform_length(plan: RoundingPlan) -> int | None:
    r"""Length from which n and n + 1 equal weights are one number, in the plan's own order.

    .. math:: N = \min(N_{\mathrm{store}}, N_{\mathrm{sum}}), \qquad
              N_{\mathrm{sum}} = T \, 2^{m + 1}

    A plan that stores normalized weights (``attn_weights``) has :func:`silent_length` as its
    :math:`N_{\mathrm{store}}`; one that stores exponentials (``attn_exp``) has none. The softmax's
    sum reaches its :func:`running_limit`; in fused order that of T keys, a tile, is added at once.

    Source: ours.

    Args:
      plan: Any plan. Of one by layer the least length counts. Sums of products play no part: they
        are not the same for n and n + 1 while the weights differ.

    Returns:
      A number of tokens, before which there may be single equal pairs; None where there is none
      before a sum overflows.

    Example:
      >>> from glassesjax.precision import named_plan
      >>> orders = ("e4m3fn@attn_weights", "e4m3fn@attn_exp", "bf16@softmax_sum")
      >>> [uniform_length(named_plan(order)) for order in orders]
      [1024, None, 256]
    """
    lengths = [
        length
        for each in (plan.layers or (plan,))
        for length in (_store_length(each), _sum_length(each))
        if length is not None
    ]
    return min(lengths, default=None)


def _store_length(plan: RoundingPlan) -> int | None:
    match plan.attn_weights:
        case FloatFormat() as fmt:
            return silent_length(fmt)
        case ScaledFormat(element=FloatFormat() as fmt, scaling=Scaling(over="fixed") as scaling):
            return silent_length(fmt, scaling.factor)
    return None  # a scale of the row or block is that of the weight itself


def _sum_length(plan: RoundingPlan) -> int | None:
    if (how := plan.softmax_sum) is None:
        return None
    if plan.attn_exp is None or not plan.tile:
        limit = running_limit(1, how)
        return None if limit == math.inf else math.ceil(limit)
    # A tile's sum, of T ones or as many as its own order counts, then goes to the running one.
    one = min(Fraction(plan.tile), running_limit(1, how))
    limit = running_limit(one, Accumulator(how.fmt))
    return None if limit == math.inf else math.ceil(limit / Fraction(one) * plan.tile)


@border(n=COUNT)
def stored_row_sum(n: int, fmt: FloatFormat) -> Fraction:
    r"""Sum of a row of n equal weights that are normalized, then stored.

    .. math:: n \, \mathrm{rd}(1 / n)

    Source: ours.

    Args:
      n: Number of tokens.
      fmt: The format of the weights.

    Returns:
      The sum in exact arithmetic.

    Example:
      >>> stored_row_sum(1000, E4M3FN), stored_row_sum(1024, E4M3FN)
      (Fraction(125, 64), Fraction(0, 1))
    """
    return n * nearest(Fraction(1, n), fmt)


@border(n=COUNT)
def row_sum_error(n: int, fmt: FloatFormat) -> Fraction:
    r"""Bound on how far the stored row's sum is from one.

    .. math:: | n \, \mathrm{rd}(1/n) - 1 | \le \max\Bigl( \frac{u}{1 + u}, \frac{n \eta}{2} \Bigr),
              \qquad u = 2^{-m - 1}

    Equality: :func:`silent_length` tokens, where all weights are zero.

    Source: ours.

    Args:
      n: Number of tokens, at most :func:`silent_length`; beyond, the error is one.
      fmt: The format of the weights.

    Returns:
      The bound; over one half from half of :func:`silent_length` on.
    """
    roundoff = Fraction(1, 1 + (1 << (fmt.mantissa_bits + 1)))
    return max(roundoff, n * _half_smallest(fmt))


@border(term=POSITIVE)
def running_limit(term: Fraction | float | int, how: Accumulator) -> Fraction | float:
    r"""Number that a running sum of equal terms reaches and never exceeds.

    .. math:: \text{sequential: } L(t) = 2^{m + 1 + \lceil \log_2 t \rceil}, \quad
              \text{chunks of } c\!: L(c \, t), \quad
              \text{k parts: } \min(k, 2^{m + 1}) \, L(t)

    So ones stop at :math:`2^{m + 1}`, and in chunks of c or in k parts, powers of two, at c or k
    times that. A term of at most half the smallest number is never counted: L is zero. A balanced
    tree has no limit: of n ones it has the sum n up to a relative error of u, as if it were
    rounded once.

    Source: ours.

    Args:
      term: The term t, of so few bits that the carrier adds exactly before it rounds to the format.
      how: Format and order.

    Returns:
      The limit; infinity where there is none below the format's largest number, so that the sum
      goes on until it overflows.

    Example:
      >>> from glassesjax.precision import BF16
      >>> limits = [running_limit(1, Accumulator(BF16, "chunked", c)) for c in (1, 64, 512)]
      >>> [int(limit) for limit in limits]
      [256, 16384, 131072]
    """
    if how.order == "pairwise":
        return math.inf
    fmt, whole = how.fmt, Fraction(term) * (how.size if how.order == "chunked" else 1)
    if whole <= _half_smallest(fmt):
        return Fraction(0)
    # The least power of two that is no smaller: the exponent of a quotient of two integers.
    power = Fraction(2) ** (whole.numerator.bit_length() - whole.denominator.bit_length() - 1)
    while power < whole:
        power *= 2
    most = 1 << (fmt.mantissa_bits + 1)
    limit = power * most * (min(how.size, most) if how.order == "split" else 1)
    return limit if limit <= Fraction(fmt.max) else math.inf


@border(scale=POSITIVE)
def zero_gap(fmt: FloatFormat, scale: float = 1.0) -> float:
    r"""Gap below the row's greatest logit from which an unnormalized weight is stored as zero.

    .. math:: \mathrm{rd}(S e^{-g}) = 0 \Leftrightarrow g \ge g_0 = \ln S + (m + 1 - e) \ln 2

    The weight just inside is stored as the smallest number, twice its value.

    Source: after arXiv 2606.06521, whose constant 6.93 is the gap of e4m3fn at S = 1; proved in
      docs/statements/storage.md.
    Differs: exact, for every format.

    Args:
      fmt: The format of the weights.
      scale: The factor S of the weights, at most the format's largest number.

    Returns:
      The gap in nats.

    Example:
      >>> round(zero_gap(E4M3FN), 3), round(zero_gap(E4M3FN, scale=256.0), 3)
      (6.931, 12.477)
    """
    halvings = fmt.mantissa_bits + 1 - fmt.min_exponent
    return math.log(scale) + halvings * math.log(2)


@border(n=COUNT, gap=NON_NEGATIVE)
def lost_share_bound(n: int, gap: float) -> float:
    r"""Greatest share of a row's attention that is stored as zeros.

    .. math:: \sum_{g_i \ge g_0} p_i \le \frac{(n - 1) e^{-g_0}}{1 + (n - 1) e^{-g_0}}

    Equality: one logit above n - 1 others, by the gap itself.

    Source: ours.

    Args:
      n: Number of tokens in the row.
      gap: The gap from which weights are zero, as from :func:`zero_gap`.

    Returns:
      A share, below one.

    Example:
      >>> round(lost_share_bound(1025, zero_gap(E4M3FN)), 6)
      0.5
    """
    others = (n - 1) * math.exp(-gap)
    return others / (1 + others)


@border(scale=POSITIVE)
def lost_share(
    logits: Float[Array, "*batch n"], fmt: FloatFormat, scale: float = 1.0
) -> Float[Array, "*batch"]:
    r"""Share of each row's attention on tokens whose unnormalized weight is stored as zero.

    .. math:: \sum_i p_i \, [\mathrm{rd}(S e^{s_i - \max_j s_j}) = 0], \qquad
              p = \mathrm{softmax}(s)

    Source: a definition after arXiv 2606.06521.
    Differs: the share of the row, not a fraction of its tokens.

    Args:
      logits: float32 or float64; minus infinity where masked.
      fmt: The format of the weights; one with float32's exponents needs float64.
      scale: Their factor S.

    Returns:
      Shares in [0, 1]; at most :func:`lost_share_bound`.
    """
    weights = jnp.exp(logits - jnp.max(logits, axis=-1, keepdims=True))
    kept = fmt.round(jnp.asarray(scale, weights.dtype) * weights) > 0
    return jnp.sum(jax.nn.softmax(logits), axis=-1, where=~kept)


@border(largest=POSITIVE)
def mx_zero_border(largest: float, element: FloatFormat) -> Fraction:
    r"""Largest number that an MX block stores as zero beside its largest one.

    .. math:: \mathrm{rd}(x / s) = 0 \Leftrightarrow |x| \le s \, \frac{\eta}{2} =
              2^{\lfloor \log_2 x_{\max} \rfloor - e_{\max}} \, \frac{\eta}{2}

    with the block's power-of-two scale s and the exponent of the element's largest number. Of the
    largest number in the block it is 2^-4 for e2m1, 2^-6 for e2m3, 2^-9 for e3m2, 2^-18 for e4m3fn
    and 2^-32 for e5m2 where that is a power of two, and down to half of this where it is not.
    So equal weights are zero in no block, whatever their number.

    Source: ours, for the scale of the OCP Microscaling Formats (MX) specification, version 1.0.
    Differs: the exponent of the scale is not clipped.

    Args:
      largest: Largest magnitude in the block.
      element: Format of the elements.

    Returns:
      The border, which itself is stored as zero.
    """
    exponent = math.frexp(largest)[1] - math.frexp(element.max)[1]  # both one over the floor
    return Fraction(2) ** exponent * _half_smallest(element)


@border(largest=POSITIVE, tensor_largest=POSITIVE)
def nvfp4_zero_border(largest: float, tensor_largest: float) -> Fraction:
    r"""Largest number that an NVFP4 block stores as zero beside its largest one.

    .. math:: \mathrm{rd}(x / (s \, s_2)) = 0 \Leftrightarrow |x| \le \frac{s \, s_2}{4}, \qquad
              s = \mathrm{rd}_{e4m3}\Bigl( \frac{x_{\max}}{6 \, s_2} \Bigr), \qquad
              s_2 = \frac{X_{\max}}{6 \cdot 448}

    That is :math:`x_{\max} / 24`, up to 2^-4 of it, where the scale s is a normal number. A block
    whose largest number is at most :math:`X_{\max} / (448 \cdot 1024)` has the scale zero: it is
    lost as a whole.

    Source: ours, for the two scales of NVFP4.
    Differs: both scales are exact but for the rounding of s.

    Args:
      largest: Largest magnitude in the block.
      tensor_largest: Largest magnitude under the second scale.

    Returns:
      The border, which itself is stored as zero; ``largest`` for a block that is lost.
    """
    second = Fraction(tensor_largest) / (Fraction(E2M1.max) * Fraction(E4M3FN.max))
    scale = nearest(Fraction(largest) / (Fraction(E2M1.max) * second), E4M3FN)
    return scale * second * _half_smallest(E2M1) if scale else Fraction(largest)
