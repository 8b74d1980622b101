"""Rank collapse: measures of the distance between the tokens of one sequence, and bounds.

Rows are tokens, on the axis before the last. Spectra need float32 or float64.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from glassesjax.borders import NON_NEGATIVE, border
from glassesjax.precision import euclidean_norm, safe_entr
from glassesjax.theory.norms import vector_norm


@border()
@jax.jit
def residual_to_mean(values: Float[Array, "*batch n d"]) -> Float[Array, "*batch"]:
    r"""Frobenius distance of the tokens to their mean.

    .. math:: \lVert V - \tfrac1n 1 1^\top V \rVert_F

    Source: a definition after arXiv 2504.02732, its measure of rank collapse.

    Args:
      values: One vector per token.

    Returns:
      The distance, zero for equal tokens, in the unit of the values.
    """
    # minus the mean token, (*batch, 1, d)
    centered = values - jnp.mean(values, axis=-2, keepdims=True)
    return euclidean_norm(centered, axis=(-2, -1))


@border()
@jax.jit
def relative_residual(values: Float[Array, "*batch n d"]) -> Float[Array, "*batch"]:
    r"""Share of the tokens' norm that their mean does not explain.

    .. math:: \lVert V - \tfrac1n 1 1^\top V \rVert_F / \lVert V \rVert_F

    Source: a definition after arXiv 2504.02732.
    Differs: divided by the norm of the tokens; that is ours.

    Args:
      values: One vector per token.

    Returns:
      A number in [0, 1]; NaN where all values are zero.
    """
    return residual_to_mean(values) / euclidean_norm(values, axis=(-2, -1))


@border()
def representational_gap_bound(values: Float[Array, "*batch n d"]) -> Float[Array, "*batch"]:
    r"""Upper bound on the distance of any two tokens: rank collapse implies that of the last two.

    .. math:: \lVert v_n - v_{n-1} \rVert_2 \le \sqrt2 \, \lVert V - \tfrac1n 1 1^\top V \rVert_F

    Equality: two tokens, or others that all lie midway between the two.

    Source: after arXiv 2504.02732, proved in docs/statements/rank.md.
    Differs: the constant is ours, and sharp.

    Args:
      values: One vector per token.

    Returns:
      The bound, in the unit of the values.
    """
    return math.sqrt(2) * residual_to_mean(values)


@border()
@jax.jit
def stable_rank(values: Float[Array, "*batch n d"]) -> Float[Array, "*batch"]:
    r"""Squared Frobenius norm over squared operator norm, a rank that is robust to small errors.

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


@border()
@jax.jit
def effective_rank(values: Float[Array, "*batch n d"]) -> Float[Array, "*batch"]:
    r"""Exponential of the entropy of the singular values.

    .. math:: \exp \Bigl( -\sum_k p_k \ln p_k \Bigr), \qquad p_k = s_k / {\textstyle\sum_j} s_j

    Source: a definition after Roy and Vetterli, "The effective rank", EUSIPCO 2007.

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


@border()
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
    # |sum of units|^2 is n plus the sum over ordered pairs of different tokens.
    resultant = jnp.sum(jnp.square(jnp.sum(units, axis=-2)), axis=-1)
    pairs = n * (n - 1) or math.nan
    return (resultant - n) / jnp.asarray(pairs, values.dtype)


@border()
@jax.jit
def token_diameter(values: Float[Array, "*batch n d"]) -> Float[Array, "*batch"]:
    r"""Greatest distance of two tokens.

    .. math:: \mathrm{diam}(V) = \max_{i,j} \lVert v_i - v_j \rVert_2

    It vanishes with the residual, and the residual with it:

    .. math:: \sqrt{2 / (n - 1)} \, \lVert V - \tfrac1n 1 1^\top V \rVert_F \le
       \mathrm{diam}(V) \le \sqrt2 \, \lVert V - \tfrac1n 1 1^\top V \rVert_F

    Source: derived; proved in docs/statements/rank.md.

    Args:
      values: One vector per token.

    Returns:
      The distance, zero for equal tokens, in the unit of the values.
    """
    # Token by token: all pairs at once would take n times the memory of the values.
    farthest = lambda token: jnp.max(vector_norm(values - token[..., None, :], 2), axis=-1)
    tokens = jnp.moveaxis(values, -2, 0)  # (*batch, n, d) -> (n, *batch, d)
    return jnp.max(jax.lax.map(farthest, tokens), axis=0)


@border(diameter=NON_NEGATIVE, query_key_norms=NON_NEGATIVE, value_norms=NON_NEGATIVE)
def pure_attention_bound(
    diameter: Float[Array, ""],
    query_key_norms: Float[Array, "layers heads"],
    value_norms: Float[Array, "layers heads"],
    key_dim: int,
) -> Float[Array, " layers"]:
    r"""Upper bound on the tokens' diameter after each layer of attention alone; attained.

    .. math:: \mathrm{diam}(X') \le \mathrm{diam}(X) \sum_h \lVert W_h \rVert_2
       \tanh \frac{\lVert Q_h \rVert_2 \, \mathrm{diam}(X)^2}{4 \sqrt{d_{qk}}}

    for layers X' = sum_h softmax(X Q_h X^T / sqrt(d_qk)) X W_h in which each row sees all tokens:
    no mask, no positions, no residual connection, no MLP. A part of the logits that depends on
    the key alone, as a query's bias makes, changes nothing. Equality: two tokens, all matrices
    non-negative multiples of the identity.

    Source: after arXiv 2103.03404, proved in docs/statements/rank.md.
    Differs: in the diameter, with constants derived by us.

    Args:
      diameter: The :func:`token_diameter` of X before the first layer.
      query_key_norms: Operator 2-norms of Q_h, the product of query and transposed key map.
      value_norms: Operator 2-norms of W_h, the product of value and output map.
      key_dim: Width d_qk of queries and keys; at least 1.

    Returns:
      One bound per layer, in the unit of the diameter.

    Raises:
      ValueError: ``key_dim`` is not positive.
    """
    if key_dim < 1:
        raise ValueError(f"Expected a positive key_dim, got {key_dim}: pass the width of a key.")

    def layer(before: Array, norms: tuple[Array, Array]) -> tuple[Array, Array]:
        steep, moved = norms
        reach = jnp.tanh(steep * before * before / (4 * math.sqrt(key_dim)))
        after = before * jnp.sum(moved * reach)
        return after, after

    return jax.lax.scan(layer, diameter, (query_key_norms, value_norms))[1]  # (layers,)


@border(diameter=NON_NEGATIVE, strength=NON_NEGATIVE)
def doubly_exponential_bound(
    diameter: Float[Array, "*batch"],
    strength: Float[Array, "*batch"],
    heads: int,
    key_dim: int,
    layers: int,
) -> Float[Array, "*batch"]:
    r"""Upper bound on the tokens' diameter after layers of attention alone, as one power.

    .. math:: \mathrm{diam}(X_L) \le
       \Bigl( \frac{s H}{4 \sqrt{d_{qk}}} \Bigr)^{(3^L - 1)/2} \mathrm{diam}(X)^{3^L}, \qquad
       s = \max_{\ell, h} \lVert Q_h \rVert_2 \lVert W_h \rVert_2

    It is one inequality, r' <= c r^3, applied L times: :func:`pure_attention_bound` with the
    hyperbolic tangent's argument in place of it. It is not vacuous only below r = 1 / sqrt(c).

    Source: after arXiv 2103.03404, proved in docs/statements/rank.md.
    Differs: in the diameter, with a constant derived by us; the paper has a norm and constants that
      we did not verify.

    Args:
      diameter: The :func:`token_diameter` of X before the first layer.
      strength: The product s of a head's two operator norms; non-negative.
      heads: Number of heads H; at least 1.
      key_dim: Width d_qk of queries and keys; at least 1.
      layers: Depth L; non-negative.

    Returns:
      The bound, in the unit of the diameter; infinite where it overflows.

    Raises:
      ValueError: A size is outside its range.
    """
    if heads < 1 or key_dim < 1 or layers < 0:
        sizes = f"heads={heads}, key_dim={key_dim}, layers={layers}"
        expected = "Expected positive heads and key_dim, and non-negative layers"
        raise ValueError(f"{expected}, got {sizes}: pass the model's sizes.")
    # Layer by layer: no power of 3 is formed, and a zero stays zero.
    factor = strength * (heads / (4 * math.sqrt(key_dim)))
    for _ in range(layers):
        diameter = factor * diameter**3
    return diameter
