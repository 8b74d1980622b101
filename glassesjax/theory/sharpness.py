"""Sharpness of a softmax row as its length grows: entropy, adaptive temperature, length scaling.

Functions of rows act on the last axis; a logit of minus infinity is a masked entry, of weight
zero. Lengths count the unmasked entries.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from glassesjax.borders import COUNT, NON_NEGATIVE, POSITIVE, POSITIVE_SHARE, Domain, border
from glassesjax.model.temperature import factor_of_entropy
from glassesjax.precision import euclidean_norm, safe_entr
from glassesjax.theory.dispersion import Bracket


def _real(length: Array | int, dtype: jnp.dtype) -> Array:
    """A length as a floating-point number, also one beyond the integer dtypes."""
    return jnp.asarray(float(length) if isinstance(length, int) else length, dtype)


@border()
def entropy(weights: Float[Array, "*batch n"]) -> Float[Array, "*batch"]:
    r"""Shannon entropy of rows of weights, in nats.

    .. math:: H = - \sum_i \alpha_i \ln \alpha_i, \qquad 0 \ln 0 = 0

    Source: a definition after arXiv 2410.01104, adaptive temperature.
    Differs: exact at zero, where the paper's listing adds 1e-9 inside the logarithm.

    Args:
      weights: Non-negative, with sum one along the last axis.

    Returns:
      A number from 0, for a single one, to the logarithm of the row's length.
    """
    return jnp.sum(safe_entr(weights), axis=-1)


@border(entropy=NON_NEGATIVE)
def inverse_temperature(entropy: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    r"""Factor for the logits of a row, from the row's entropy.

    .. math:: \beta(H) = \max(1, -0.037 H^4 + 0.481 H^3 - 2.3 H^2 + 4.917 H - 1.791)

    for H > 0.5, and 1 otherwise. It is greatest, 2.421, at H = 4.412, and is 1 again from 5.944
    nats on, the entropy of 382 equal weights: longer flat rows are left as they are.

    Source: a definition after arXiv 2410.01104, Figure 5 and the listing beside it; its maximum
      and its end are enclosed in ball arithmetic, docs/statements/sharpness.md.

    Args:
      entropy: Entropy H in nats.

    Returns:
      The factor, from 1 to 2.421.
    """
    return factor_of_entropy(entropy)


@border()
def adapted_logits(logits: Float[Array, "*batch n"]) -> Float[Array, "*batch n"]:
    """Logits scaled by :func:`inverse_temperature` of the entropy of their softmax.

    Source: after arXiv 2410.01104, adaptive temperature; that no entropy grows is proved in
      docs/statements/sharpness.md.
    Differs: the entropy is exact at weights of zero.

    Args:
      logits: Rows of logits.

    Returns:
      Logits whose softmax has at most the entropy that it had.
    """
    # (*batch, n) times (*batch, 1)
    return logits * inverse_temperature(entropy(jax.nn.softmax(logits)))[..., None]


@border(threshold=POSITIVE_SHARE, logit_range=NON_NEGATIVE)
def threshold_length(
    threshold: Float[Array, "*batch"], logit_range: Float[Array, "*batch"]
) -> Float[Array, "*batch"]:
    r"""Length beyond which no softmax weight can reach a threshold; up to it, one can.

    .. math:: n^* = 1 + (1/t - 1) e^{\Delta}

    Source: after arXiv 2410.01104, Lemma 2.1, proved in docs/statements/sharpness.md.
    Differs: solved by us from the lemma's sharp form, which is attained, so that n* is exact.

    Args:
      threshold: The weight t, in (0, 1].
      logit_range: Range Delta of the logits, after division by the temperature.

    Returns:
      A real number; for n above it every weight is below the threshold.
    """
    return 1 + (1 / threshold - 1) * jnp.exp(logit_range)


@border(scale=POSITIVE)
def logit_range_bound(
    query_map: Float[Array, "key_dim model_dim"],
    key_map: Float[Array, "key_dim model_dim"],
    query_input: Float[Array, " model_dim"],
    key_inputs: Float[Array, "seq model_dim"],
    scale: float = 1.0,
) -> Float[Array, ""]:
    r"""Bound on the range of the logits of one row by spectral norms.

    .. math:: \Delta \le 2 \sigma_{\max}(Q) \sigma_{\max}(K) \, \|y\| \, \max_i \|x_i\|

    Equality: two opposite inputs, along singular vectors that match. Rotary positions keep norms,
    and with them the bound.

    Source: after arXiv 2410.01104, Proposition 3.1, proved in docs/statements/sharpness.md.
    Differs: the scale of the logits is an argument.

    Args:
      query_map: The matrix Q.
      key_map: The matrix K.
      query_input: The vector y of the query.
      key_inputs: The vectors x_i.
      scale: Factor of the products, often one over the root of the key's size; positive.

    Returns:
      The bound.
    """
    # By Cauchy-Schwarz no logit is larger than half of this in size.
    spectral = jnp.linalg.norm(query_map, ord=2) * jnp.linalg.norm(key_map, ord=2)
    longest = jnp.max(euclidean_norm(key_inputs))
    return 2 * scale * spectral * euclidean_norm(query_input) * longest


@border(length=COUNT, magnitude=NON_NEGATIVE, temperature=POSITIVE)
def bounded_logit_bracket(
    length: Num[Array, "*batch"] | int,
    magnitude: Float[Array, "*batch"],
    temperature: float = 1.0,
) -> Bracket:
    r"""Bracket of one softmax weight for logits of bounded magnitude.

    .. math:: \frac{e^{-2 \Delta / T}}{n} \le \alpha_i \le \frac{e^{2 \Delta / T}}{n}

    Source: after arXiv 2508.17821, Corollary 1, proved in docs/statements/sharpness.md.
    Differs: not sharp; ``dispersion_bracket`` at the range 2 Delta / T lies within it.

    Args:
      length: The number n of unmasked logits; at least 1.
      magnitude: Bound Delta on each logit's absolute value.
      temperature: The T by which logits are divided; positive.

    Returns:
      The two ends; the upper one may exceed one.
    """
    count = _real(length, magnitude.dtype)
    half = 2 * magnitude / temperature
    # The exponential and the mean of all are both within a factor exp(m / T) of one.
    return Bracket(jnp.exp(-half) / count, jnp.exp(half) / count)


@border()
def ssmax_weights(logits: Float[Array, "*batch n"], scale: float) -> Float[Array, "*batch n"]:
    r"""Scalable softmax: logits times the logarithm of the number of entries.

    .. math:: \alpha_i = \frac{n^{s z_i}}{\sum_j n^{s z_j}}

    Source: a definition after arXiv 2501.19399.
    Differs: n counts the unmasked entries of each row.

    Args:
      logits: Rows of logits z, below infinity.
      scale: The learned s; 0.43 in the paper's Figure 1.

    Returns:
      Weights with sum one; NaN where a row is masked everywhere.
    """
    masked = jnp.isneginf(logits)
    count = jnp.sum(~masked, axis=-1, keepdims=True)
    factor = scale * jnp.log(jnp.asarray(count, logits.dtype))
    # One entry has the factor zero, and zero times minus infinity is not a number.
    scaled = jnp.broadcast_to(factor, logits.shape) * jnp.where(masked, 0, logits)
    return jax.nn.softmax(jnp.where(masked, -jnp.inf, scaled))


@border(length=COUNT, gap=NON_NEGATIVE)
def ssmax_greatest_weight(
    length: Num[Array, "*batch"] | int, gap: Float[Array, "*batch"], scale: float
) -> Float[Array, "*batch"]:
    r"""Scalable softmax's weight on one logit that is a gap above equal others.

    .. math:: \alpha_{\max} = \frac{1}{1 + (n - 1) n^{-s g}}

    As n grows it tends to one for s g > 1, to one half for s g = 1 and to zero below.

    Source: after arXiv 2501.19399, whose map it is, proved in docs/statements/sharpness.md.
    Differs: the closed form and its limits are ours.

    Args:
      length: The number n of entries; at least 1.
      gap: The gap g.
      scale: The s of the map.

    Returns:
      The weight, in (0, 1].
    """
    count = _real(length, gap.dtype)
    # The others' odds as one exponential, so that no power of the length overflows.
    return 1 / (1 + (count - 1) * jnp.exp(-scale * gap * jnp.log(count)))


@border()
def critical_scaling(overlap: float) -> float:
    r"""The factor of log n in the logits at which attention turns from uniform to sharp.

    .. math:: \gamma_c = \frac{1}{1 - \rho}

    Source: after arXiv 2510.05554, proved in docs/statements/sharpness.md.
    Differs: from the exact weight, :func:`critical_self_weight`.

    Args:
      overlap: Inner product rho of any two of the unit vectors; below 1.

    Returns:
      The critical factor.

    Raises:
      ValueError: ``overlap`` is not in [-1, 1).
    """
    if not -1 <= overlap < 1:
        raise ValueError(f"Expected overlap in [-1, 1), got {overlap}: use distinct unit vectors.")
    return 1 / (1 - overlap)


def _self_odds(length: Array | int, gamma: Array, overlap: Array) -> tuple[Array, Array]:
    """The length, and the weight on all others over the weight on itself."""
    count = _real(length, gamma.dtype)
    return count, (count - 1) * jnp.exp(-gamma * (1 - overlap) * jnp.log(count))


@border(length=COUNT)
def critical_self_weight(
    length: Num[Array, "*batch"] | int,
    gamma: Float[Array, "*batch"],
    overlap: Float[Array, "*batch"],
) -> Float[Array, "*batch"]:
    r"""Weight of a token on itself among equally spaced unit vectors, without a mask.

    .. math:: A_{ii} = \frac{1}{1 + (n - 1) n^{-\gamma (1 - \rho)}}

    Source: after arXiv 2510.05554, whose setting it is, proved in docs/statements/sharpness.md.
    Differs: exact for each n and ours; the paper takes a limit.

    Args:
      length: The number n of tokens; at least 1.
      gamma: The logits are gamma log n times the inner products.
      overlap: Inner product rho of two different tokens.

    Returns:
      The weight, in (0, 1].
    """
    return 1 / (1 + _self_odds(length, gamma, overlap)[1])


@border(length=Domain(low=2))
def critical_cosine(
    length: Num[Array, "*batch"] | int,
    gamma: Float[Array, "*batch"],
    overlap: Float[Array, "*batch"],
) -> Float[Array, "*batch"]:
    r"""Cosine of two outputs of one layer on equally spaced unit vectors, without a residual.

    With a the weight on itself and b = (1 - a) / (n - 1) the one on each other token,

    .. math:: \cos = \frac{\rho + (1 - \rho) (2 a b + (n - 2) b^2)}
       {\rho + (1 - \rho) (a^2 + (n - 1) b^2)}

    As n grows it tends to 1 below the critical factor, to 4 rho / (1 + 3 rho) at it and to rho
    above it (for rho > 0).

    Source: after arXiv 2510.05554, proved in docs/statements/sharpness.md.
    Differs: exact for each n and ours; the paper takes limits.

    Args:
      length: The number n of tokens; at least 2.
      gamma: The logits are gamma log n times the inner products.
      overlap: Inner product rho of two different tokens, at least -1 / (n - 1).

    Returns:
      The cosine.
    """
    count, odds = _self_odds(length, gamma, overlap)
    weight = 1 / (1 + odds)
    rest = odds / (1 + odds)  # of all others together: each product with b^2 stays in range
    other = rest / (count - 1)
    # Products of the weights of two tokens: their own two coordinates, and the n - 2 others.
    crossed = 2 * weight * other + (count - 2) * other * other
    squared = weight * weight + rest * other
    return (overlap + (1 - overlap) * crossed) / (overlap + (1 - overlap) * squared)
