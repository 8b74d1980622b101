"""Distances of two last rows in closed form: exact cases and counterexamples of Theorem 4.2."""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from glassesjax.borders import COUNT, POSITIVE, SHARE, border


@border(last_weight=SHARE)
def one_layer_difference(
    last_weight: Float[Array, ""], last: Float[Array, " d"], others: Float[Array, " d"]
) -> Float[Array, " d"]:
    r"""Step of the attention output when the last token is repeated: one layer, no positions.

    .. math:: z^*_{n+1} - z_n = \frac{p (1 - p)}{1 + p} (v_a - w)

    Source: arXiv 2406.04267v2, Theorem 4.2, for one layer.
    Differs: an equality, where the theorem has a limit.

    Args:
      last_weight: The weight p of the last token on itself before the repetition.
      last: The last token's value v_a.
      others: Mean w of the other values under the attention, their weights made to sum to one.

    Returns:
      The difference of the two last rows, exact.
    """
    return last_weight * (1 - last_weight) / (1 + last_weight) * (last - others)


@border(copies=COUNT)
def bos_difference_factor(
    copies: Int[Array, "*batch"] | int, logit: Float[Array, "*batch"]
) -> Float[Array, "*batch"]:
    r"""Step of the attention output along v_token - v_bos for a start token and n equal tokens.

    .. math:: \frac{e^c}{(1 + n e^c) (1 + (n + 1) e^c)}

    Of order n^-2; the drift from n to 2 n copies is therefore of order 1 / n.

    Source: arXiv 2406.04267v2, Theorem 4.2, for one layer without positions.
    Differs: an equality, where the theorem has a limit.

    Args:
      copies: The number n of equal tokens before one more is appended; at least 1.
      logit: The logit c of such a token minus that of the start token.

    Returns:
      The factor, accurate for either sign of a large logit.
    """
    n = jnp.asarray(copies, logit.dtype)
    # Both exponentials over the larger, so that none overflows.
    small = jnp.exp(-jnp.abs(logit))
    bos, token = jnp.where(logit > 0, small, 1), jnp.where(logit > 0, 1, small)
    return small / ((bos + n * token) * (bos + (n + 1) * token))


@border(slope=POSITIVE)
def alibi_difference(
    slope: Float[Array, ""], last: Float[Array, " d"], output: Float[Array, " d"]
) -> Float[Array, " d"]:
    r"""Step of the attention output under ALiBi when only distance decides, in a long context.

    .. math:: z^*_{n+1} - z_n = (1 - q) (v_a - z_n), \qquad q = e^{-m}

    It does not decay with the context's length: ALiBi's logits are unbounded, and Theorem 4.2 does
    not apply. It decays by the factor q with each further copy of the last token.

    Source: arXiv 2406.04267v2, Figure 10, where ALiBi's curve levels off.
    Differs: the limit of an infinite context; with n tokens the step is 1 / (1 - q^(n+1)) as long.

    Args:
      slope: The penalty m per unit of distance; positive.
      last: The appended token's value v_a.
      output: The attention output z_n before it was appended.

    Returns:
      The difference of the two last rows.
    """
    return -jnp.expm1(-slope) * (last - output)


@border()
def window_receptive_field(width: int, layers: int) -> int:
    r"""Length of a run of equal tokens from which one more copy leaves the last row unchanged.

    .. math:: L (w - 1) + 1

    Windows without absolute positions collapse on such runs totally and not in a limit.

    Source: arXiv 2406.04267v2, Appendix C.6.
    Differs: the appendix offers windows as a remedy; this is an exact counterexample.

    Args:
      width: Tokens w that each token sees, itself included; at least 1.
      layers: The depth L; non-negative.

    Returns:
      The number of tokens that the last row depends on.

    Raises:
      ValueError: An argument is outside its range.

    Example:
      >>> window_receptive_field(width=4, layers=3)
      10
    """
    if width < 1 or layers < 0:
        sizes = f"width={width} and layers={layers}"
        raise ValueError(f"Expected a positive width and non-negative layers, got {sizes}.")
    return layers * (width - 1) + 1


@border()
def embedding_position_gap(dim: int, base: float = 10_000.0) -> float:
    r"""L2 distance of two successive sinusoidal positions, the same at every position.

    .. math:: \lVert p_{n+1} - p_n \rVert_2 = \sqrt{\textstyle\sum_k 2 (1 - \cos \omega_k)},
       \qquad \omega_k = b^{-2 k / d}

    Added to the embedding, such positions keep the residuals of two equal tokens this far apart:
    the first distance e_0 is not zero, and Theorem 4.2 does not apply.

    Source: arXiv 2406.04267v2, Theorem 4.2 (its tacit hypothesis on positions).

    Args:
      dim: Width d of the embedding; even.
      base: The base b of the wavelengths; positive.

    Returns:
      The distance.

    Raises:
      ValueError: An argument is outside its range.

    Example:
      >>> round(embedding_position_gap(64), 3)
      1.472
    """
    if dim < 0 or dim % 2 or base <= 0:
        sizes = f"dim={dim} and base={base}"
        raise ValueError(f"Expected an even non-negative dim and a positive base, got {sizes}.")
    # 2 (1 - cos w) is 4 sin^2(w / 2), which does not cancel at long wavelengths.
    halves = (base ** (-2 * k / dim) / 2 for k in range(dim // 2))
    return 2 * math.hypot(*(math.sin(half) for half in halves))
