"""Attention statistics of every head, some rows at a time: entropy, logit range, weights."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from glassesjax.borders import COUNT, border
from glassesjax.model.decoder import Block, Decoder
from glassesjax.model.layer_scan import map_layers
from glassesjax.model.tiling import TILING
from glassesjax.precision import safe_entr
from glassesjax.trace.heads import attention_rows, by_rows, layer_heads, residuals


class AttentionStatistics(NamedTuple):
    """One number for each head; ``last_`` is of the last row alone."""

    entropy: Float[Array, "layers heads"]  #: mean over rows, in nats
    last_entropy: Float[Array, "layers heads"]
    logit_range: Float[Array, "layers heads"]  #: the largest over rows
    last_logit_range: Float[Array, "layers heads"]
    largest_weight: Float[Array, "layers heads"]  #: mean over rows
    last_largest_weight: Float[Array, "layers heads"]
    first_weight: Float[Array, "layers heads"]  #: mean over rows of the weight on the first token


@border(rows=COUNT)
def attention_statistics(
    decoder: Decoder, tokens: Int[Array, " seq"], *, rows: int = TILING.attention_rows
) -> AttentionStatistics:
    r"""Entropy, range of logits, largest weight and weight on the first token, of every head.

    .. math:: H_j = - \sum_i \alpha_{ji} \log \alpha_{ji}, \qquad
       \mathrm{range}_j = \max_i s_{ji} - \min_i s_{ji}, \qquad
       \frac1n \sum_j \alpha_{j1}

    over the keys that row j sees, and with soft cap and ALiBi in the logits.

    Source: definitions after arXiv 2410.01104 (entropy, range) and arXiv 2504.02732 (first token).

    Args:
      decoder: Any decoder, also with other masks than the causal one.
      tokens: One sequence.
      rows: Query rows at once: memory is rows x heads x seq, beside the residual stream.

    Returns:
      The statistics, in the accumulation dtype of the weights.

    Raises:
      ValueError: No token.
    """
    if len(tokens) < 1:
        raise ValueError("Expected one token or more, got none: pass some.")
    resid = residuals(decoder, tokens).resid[:-1]

    def layer(arrays: tuple[Block, Array]) -> AttentionStatistics:
        heads = layer_heads(*arrays)

        def statistics(index: Int[Array, " rows"]) -> Float[Array, "4 heads rows"]:
            logits, weights = attention_rows(heads, index)
            # -inf marks keys that the row does not see: they have no part in the range.
            lowest = jnp.min(jnp.where(jnp.isneginf(logits), jnp.inf, logits), axis=-1)
            entropy, highest = jnp.sum(safe_entr(weights), axis=-1), jnp.max(logits, axis=-1)
            # four times (heads, rows) -> (4, heads, rows)
            return jnp.stack(
                [entropy, highest - lowest, jnp.max(weights, axis=-1), weights[..., 0]]
            )

        # blocks of (4, heads, rows) -> four times (heads, seq)
        entropy, logit_range, largest, first = by_rows(statistics, len(tokens), rows)
        mean = lambda values: jnp.mean(values, axis=-1)  # over rows: (heads, seq) -> (heads,)
        return AttentionStatistics(
            entropy=mean(entropy),
            last_entropy=entropy[:, -1],
            logit_range=jnp.max(logit_range, axis=-1),
            last_logit_range=logit_range[:, -1],
            largest_weight=mean(largest),
            last_largest_weight=largest[:, -1],
            first_weight=mean(first),
        )

    return map_layers(layer, (decoder.layers, resid))  # over layers: (layers, heads) a field
