"""Rank collapse: how far the tokens of one sequence are from being all the same vector.

Rows are tokens, on the axis before the last. Spectra need float32 or float64.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from glassesjax.precision import euclidean_norm, safe_entr, safe_sqrt


@jax.jit
def residual_to_mean(values: Float[Array, "*batch n d"]) -> Float[Array, "*batch"]:
    r"""Frobenius distance of the tokens to their mean.

    .. math:: \lVert V - \tfrac1n 1 1^\top V \rVert_F

    Source: arXiv 2504.02732 (secondary), its measure of rank collapse.

    Args:
      values: One vector per token.

    Returns:
      The distance, zero for equal tokens, in the unit of the values.
    """
    centered = values - jnp.mean(values, axis=-2, keepdims=True)
    return euclidean_norm(centered, axis=(-2, -1))


@jax.jit
def relative_residual(values: Float[Array, "*batch n d"]) -> Float[Array, "*batch"]:
    r"""Share of the tokens' norm that their mean does not explain.

    .. math:: \lVert V - \tfrac1n 1 1^\top V \rVert_F / \lVert V \rVert_F

    Source: arXiv 2504.02732 (secondary), its measure of rank collapse, made relative.

    Args:
      values: One vector per token.

    Returns:
      A number in [0, 1]; NaN where all values are zero.
    """
    return residual_to_mean(values) / euclidean_norm(values, axis=(-2, -1))


def representational_gap_bound(values: Float[Array, "*batch n d"]) -> Float[Array, "*batch"]:
    r"""Upper bound on the distance of any two tokens: rank collapse implies that of the last two.

    .. math:: \lVert v_n - v_{n-1} \rVert_2 \le \sqrt2 \, \lVert V - \tfrac1n 1 1^\top V \rVert_F

    Equality: two tokens, or others that all lie midway between the two.

    Source: arXiv 2504.02732 (secondary).
    Differs: with the constant that is sharp, by the parallelogram law.

    Args:
      values: One vector per token.

    Returns:
      The bound, in the unit of the values.
    """
    return math.sqrt(2) * residual_to_mean(values)


@jax.jit
def stable_rank(values: Float[Array, "*batch n d"]) -> Float[Array, "*batch"]:
    r"""Squared Frobenius norm over squared operator norm, a rank that bears small errors.

    .. math:: \lVert V \rVert_F^2 / \lVert V \rVert_2^2

    Source: classical.

    Args:
      values: One vector per token.

    Returns:
      A number from 1 to the rank; NaN where all values are zero.
    """
    spectrum = jnp.linalg.svd(values, compute_uv=False)
    scaled = spectrum / jnp.max(spectrum, axis=-1, keepdims=True)  # squares would underflow
    return jnp.sum(jnp.square(scaled), axis=-1)


@jax.jit
def effective_rank(values: Float[Array, "*batch n d"]) -> Float[Array, "*batch"]:
    r"""Exponential of the entropy of the singular values.

    .. math:: \exp \Bigl( -\sum_k p_k \ln p_k \Bigr), \qquad p_k = s_k / {\textstyle\sum_j} s_j

    Source: Roy and Vetterli 2007 (recalled).

    Args:
      values: One vector per token.

    Returns:
      A number from 1 to the rank; NaN where all values are zero.
    """
    spectrum = jnp.linalg.svd(values, compute_uv=False)
    # A singular value is an absolute value: at zero its derivative counts as zero.
    spectrum = jnp.where(spectrum == 0, 0, spectrum)
    return jnp.exp(
        jnp.sum(safe_entr(spectrum / jnp.sum(spectrum, axis=-1, keepdims=True)), axis=-1)
    )


@jax.jit
def mean_cosine(values: Float[Array, "*batch n d"]) -> Float[Array, "*batch"]:
    r"""Mean cosine over all pairs of different tokens.

    .. math:: \frac{1}{n (n - 1)} \sum_{i \ne j} \cos(v_i, v_j)
       = \frac{\lVert \sum_i u_i \rVert^2 - n}{n (n - 1)}, \qquad u_i = v_i / \lVert v_i \rVert

    Source: classical; one at rank collapse.

    Args:
      values: One vector per token.

    Returns:
      A number from -1 / (n - 1) to 1; NaN where a vector is zero, or there is no pair.
    """
    n = values.shape[-2]
    units = values / euclidean_norm(values)[..., None]
    resultant = jnp.sum(jnp.square(jnp.sum(units, axis=-2)), axis=-1)
    pairs = n * (n - 1) or math.nan
    return (resultant - n) / jnp.asarray(pairs, values.dtype)


@jax.jit
def composite_norm(values: Float[Array, "*batch n d"]) -> Float[Array, "*batch"]:
    r"""Geometric mean of a matrix's 1-norm and its maximum norm.

    .. math:: \lVert V \rVert_{1,\infty} = \sqrt{\lVert V \rVert_1 \lVert V \rVert_\infty}

    Source: Dong, Cordonnier and Loukas, arXiv 2103.03404 (secondary).

    Args:
      values: A matrix; the 1-norm is the largest sum of moduli down a column.

    Returns:
      The norm, in the unit of the values.
    """
    size = jnp.abs(values)
    columns, rows = (jnp.max(jnp.sum(size, axis=axis), axis=-1) for axis in (-2, -1))
    return safe_sqrt(columns) * safe_sqrt(rows)


def doubly_exponential_bound(
    residual: Float[Array, "*batch"],
    strength: Float[Array, "*batch"],
    heads: int,
    key_dim: int,
    layers: int,
) -> Float[Array, "*batch"]:
    r"""Upper bound on what remains of rank after pure attention: no residuals, no MLPs.

    .. math:: \lVert \mathrm{res}(X_L) \rVert_{1,\infty} \le
       \Bigl( \frac{4 \gamma \beta H}{\sqrt{d_{qk}}} \Bigr)^{(3^L - 1)/2}
       \lVert \mathrm{res}(X) \rVert_{1,\infty}^{3^L}

    It is one inequality, r' <= c r^3, applied L times; it says something only below
    r = 1 / sqrt(c).

    Source: Dong, Cordonnier and Loukas, arXiv 2103.03404 (secondary; not read, not verified here).
    Differs: gamma and beta enter by their product; their definitions are the source's.

    Args:
      residual: The :func:`composite_norm` of X less its mean row, before the first layer.
      strength: The product gamma beta of the source's constants; non-negative.
      heads: Number of heads H; at least 1.
      key_dim: Width d_qk of queries and keys; at least 1.
      layers: Depth L; non-negative.

    Returns:
      The bound, in the unit of the residual; infinite where it overflows.

    Raises:
      ValueError: A size is outside its range.
    """
    if heads < 1 or key_dim < 1 or layers < 0:
        found = f"heads={heads}, key_dim={key_dim}, layers={layers}"
        raise ValueError(f"heads and key_dim must be positive, layers non-negative, got {found}.")
    # Layer by layer: no power of 3 is formed, and a zero stays zero.
    factor = strength * (4 * heads / math.sqrt(key_dim))
    for _ in range(layers):
        residual = factor * residual**3
    return residual
