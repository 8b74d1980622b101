"""Attention sinks: weight on the first token, effective mixing and the norm of the sink's value."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from glassesjax.borders import SHARE, border
from glassesjax.precision import euclidean_norm


@border()
def mean_first_weight(
    attn_weights: Float[Array, "layers heads seq seq"],
) -> Float[Array, "layers heads"]:
    r"""Mean attention that the first token receives, of each head.

    .. math:: \frac1T \sum_i \alpha^{\ell,h}_{i,1}

    Source: a definition after arXiv 2504.02732, the quantity under the sink rate.

    Args:
      attn_weights: Rows belong to queries and have sum one.

    Returns:
      A number in [1 / T, 1] for causal weights, whose first row sees itself only.
    """
    return jnp.mean(attn_weights[..., 0], axis=-1)


@border(epsilon=SHARE)
def sink_rate(first_weight: Float[Array, "layers heads"], epsilon: float = 0.8) -> Float[Array, ""]:
    r"""Share of the heads whose mean attention to the first token exceeds a threshold.

    .. math:: \frac{1}{L H} \sum_{\ell,h} \mathbf{1}
       \Bigl[ \frac1T \sum_i \alpha^{\ell,h}_{i,1} > \epsilon \Bigr]

    It depends on the length: the mean counts row 1, and shorter rows have larger weights.

    Source: a definition after arXiv 2504.02732, sink rate.
    Differs: the default threshold is ours; that of the paper was not verified.

    Args:
      first_weight: Of all heads, from :func:`mean_first_weight` or, of a real model, from
        ``trace.attention_statistics``.
      epsilon: The threshold, in [0, 1].

    Returns:
      A number in [0, 1]; NaN where a weight is.
    """
    # A head without a number has no rate: a comparison with NaN would be false.
    sunk = (first_weight > epsilon).astype(first_weight.dtype)
    return jnp.mean(jnp.where(jnp.isnan(first_weight), jnp.nan, sunk))


@border()
def effective_mixing(
    updates: Float[Array, "*batch seq model_dim"], resid: Float[Array, "*batch seq model_dim"]
) -> Float[Array, "*batch"]:
    r"""Effective weight of attention against the residual stream, mean over the tokens.

    .. math:: \lambda = \mathrm{E} \, \frac{\lVert a \rVert}{\lVert x \rVert + \lVert a \rVert}

    Where each update is as long as its residual divided by beta, it is 1 / (1 + beta): the lambda
    of the normal form of the over-squashing bound.

    Source: a definition after arXiv 2602.16837, effective lambda; the form with beta is proved in
      docs/statements/sinks.md.
    Differs: the mean is over the tokens given; average over prompts outside.

    Args:
      updates: What attention adds to the residual stream, a.
      resid: The residual stream before it, x.

    Returns:
      One number in [0, 1] per layer; NaN where a token has neither update nor residual.
    """
    added = euclidean_norm(updates)
    return jnp.mean(added / (euclidean_norm(resid) + added), axis=-1)


@border()
def sink_value_ratio(values: Float[Array, "*batch seq value_dim"]) -> Float[Array, "*batch"]:
    r"""Norm of the first token's value over the mean norm of the others' values.

    .. math:: \lVert w_1 \rVert / \frac{1}{n - 1} \sum_{i \ge 2} \lVert w_i \rVert

    Far below one, attention to the first token does nearly nothing.

    Source: a definition of ours, after norms of values at the sink in arXiv 2504.02732.

    Args:
      values: Values of at least two tokens.

    Returns:
      The quotient; NaN for a single token.
    """
    norms = euclidean_norm(values)
    return norms[..., 0] / jnp.mean(norms[..., 1:], axis=-1)
