"""Attention as plain arrays, linear in the length: each head's rows are made when they are read."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from glassesjax.borders import border
from glassesjax.errors import BadInput
from glassesjax.model.attention import attention_logits, softmax
from glassesjax.model.by_layer import masks_of, positions_of
from glassesjax.model.config import (
    TRIED,
    AdaptiveTemperature,
    ConstantTemperature,
    Mask,
    ScalableSoftmax,
    Temperature,
)
from glassesjax.model.decoder import Block, Decoder
from glassesjax.model.layer_scan import scan_layers
from glassesjax.model.layers import exact
from glassesjax.model.positions import Layout
from glassesjax.model.temperature import length_factors
from glassesjax.model.tiling import TILING
from glassesjax.precision import RoundingPlan

ADAPTIVE_UNBOUNDED = (
    "Expected a decoder of constant temperature or scalable softmax, got AdaptiveTemperature: "
    "no bound is known where a row's entropy scales its logits."
)


class LayerHeads(NamedTuple):
    """All that one layer's attention rows are made of; stacked, that of all layers in order.

    The logit of query j and key i is the soft-capped product of the two, less slope times distance;
    both times the factor of row j, where the temperature is not constant: ``attention_logits``.
    """

    queries: Float[Array, "*layers heads seq head_dim"]  #: rotated, times the logits' scale
    keys: Float[Array, "*layers kv_heads seq head_dim"]  #: rotated
    values: Float[Array, "*layers kv_heads seq value_dim"]
    softcap: Float[Array, "*layers"] | None  #: None where there is none
    slopes: Float[Array, "*layers heads"]  #: of ALiBi; zero where there is none
    first: Int[Array, "*layers seq"]  #: the first key that each row sees
    last: Int[Array, "*layers seq"]  #: the last one
    until: Int[Array, "*layers heads seq"] | None = None  #: the last row that sees each key
    sharpness: Float[Array, "*layers heads"] | None = None  #: of scalable softmax, where it is used
    adapted: Bool[Array, "*layers"] | None = None  #: true where temperature is adaptive

    @property
    def temperature(self) -> Temperature:
        """The kind of factor of each row."""
        if self.adapted is not None:
            return AdaptiveTemperature()
        return ConstantTemperature() if self.sharpness is None else ScalableSoftmax()


def check_unrounded(plan: RoundingPlan) -> None:
    """Refuses a plan that rounds in the pass: bounds are about exact passes.

    Raises:
      BadInput: The plan simulates rounding at another site than the weights.
    """
    if plan.rounds_in_pass:
        wanted = "Expected a decoder that rounds its weights alone, as bounds need"
        raise BadInput(f"{wanted}, got plan {plan.name}: use decoder.at(None).")


def check_stretch(mask: Mask) -> None:
    """Refuses a mask whose ``receptive_field`` is not what it sees, at the first positions.

    Raises:
      BadInput: It sees a key outside, or not one inside.
    """
    few = np.arange(TRIED, dtype=np.int32)
    with jax.ensure_compile_time_eval():  # numbers, also where a program is traced
        first, last = map(np.asarray, mask.receptive_field(jnp.asarray(few), TRIED))
        sees = [[bool(mask.sees(query, key)) for key in range(TRIED)] for query in range(TRIED)]
    stretch = (first[:, None] <= few) & (few <= last[:, None])  # [query, key]
    for query, key in np.argwhere(stretch != np.array(sees))[:1].tolist():
        expected = "Expected a mask that sees one stretch of keys, its receptive_field"
        raise BadInput(f"{expected}, got {mask} at positions {query} and {key}: mend either.")


@border()
def layer_heads(
    block: Block,
    resid: Float[Array, "seq model_dim"],
    until: Int[Array, "seq groups"] | None = None,
) -> LayerHeads:
    """What one layer's attention rows are made of, for one ordinary sequence.

    Args:
      block: The layer.
      resid: Residual stream before it.
      until: As ``Layout.until``, where a bounded state evicts.

    Returns:
      Queries, keys and values as the pass stores them, then in its carrier.

    Raises:
      BadInput: The plan rounds in the pass, the positions are no turn and no linear bias, or what
        the mask sees is not its receptive field.
    """
    plan = block.plan_of(resid)
    check_unrounded(plan)
    config, carrier, length = block.config, plan.carrier_dtype, len(resid)
    projected = block.heads(resid, Layout.line(length))
    # (seq, heads, width) -> (heads, seq, width)
    query, key, value = (y.astype(carrier).transpose(1, 0, 2) for y in projected)
    if until is not None:
        # (seq, groups) -> (heads, seq): a group decides for the heads that follow one another.
        until = jnp.repeat(until.T, config.num_heads // until.shape[1], axis=0)
    for mask in masks_of(config):
        check_stretch(mask)
    first, last = block.attention.mask.receptive_field(jnp.arange(length, dtype=jnp.int32), length)
    cap = config.attn_softcap
    sharpness = block.attention.sharpness_of_heads
    adaptive = isinstance(config.temperature, AdaptiveTemperature)
    return LayerHeads(
        queries=query * jnp.asarray(config.scale, carrier),
        keys=key,
        values=value,
        softcap=None if cap is None else jnp.asarray(cap, carrier),
        slopes=block.attention.positions.linear_bias(config.num_heads, carrier),
        first=first,
        last=last,
        until=until,
        sharpness=None if sharpness is None else sharpness.astype(carrier),
        adapted=jnp.ones((), bool) if adaptive else None,
    )


def _products(heads: LayerHeads, index: Int[Array, " rows"]) -> Float[Array, "heads rows seq"]:
    query, key = heads.queries[:, index], heads.keys
    # (heads, rows, head_dim) -> (kv_heads, n, head_dim), n = heads / kv_heads * rows
    grouped = query.reshape(len(key), -1, query.shape[-1])
    products = exact("knh,ksh->kns", grouped, key, key.dtype)
    # back to (heads, rows, seq)
    return products.reshape(*query.shape[:2], key.shape[1])


@border()
def attention_rows(
    heads: LayerHeads, index: Int[Array, " rows"]
) -> tuple[Float[Array, "heads rows seq"], Float[Array, "heads rows seq"]]:
    """Logits and weights of some query rows over all keys.

    Args:
      heads: One layer.
      index: The rows, in any order.

    Returns:
      Logits as the softmax gets them, -inf where the mask forbids, and the weights.
    """
    products, seen = _products(heads, index), _seen_by(heads, index)
    key = jnp.arange(products.shape[-1], dtype=index.dtype)[None]
    # (rows, 1) and (1, seq) -> (rows, seq); with slopes (heads, 1, 1) -> (heads, rows, seq)
    distance = jnp.abs(index[:, None] - key).astype(products.dtype)
    logits = attention_logits(
        products,
        seen,
        cap=heads.softcap,
        bias=-heads.slopes[:, None, None] * distance[None],
        temperature=heads.temperature,
        sharpness=heads.sharpness,
    )
    # Again, for what is added to -inf by the bias or multiplied by the temperature.
    logits = jnp.where(seen, logits, -jnp.inf)
    return logits, softmax(logits)


def _seen_by(heads: LayerHeads, index: Int[Array, " rows"]) -> Bool[Array, "#heads rows seq"]:
    key = jnp.arange(heads.keys.shape[1], dtype=index.dtype)[None]
    seen = ((heads.first[index][:, None] <= key) & (key <= heads.last[index][:, None]))[None]
    if heads.until is None:
        return seen
    # (heads, 1, seq) and (1, rows, 1) -> (heads, rows, seq)
    return seen & (heads.until[:, None, :] >= index[None, :, None])


def logit_slopes(heads: LayerHeads, index: Int[Array, " rows"]) -> Float[Array, "heads rows seq"]:
    r"""Derivative of each logit in the product of its query and key.

    .. math:: f_j \frac{d}{ds}\, c \tanh(s / c) = f_j \frac{4 e^{-2|s|/c}}{(1 + e^{-2|s|/c})^2}

    with the row's factor f_j: 1, or s_h log n_j of scalable softmax, which the input does not move.

    Args:
      heads: One layer.
      index: The query rows.

    Returns:
      Numbers in [0, 1] times the factor; of seen pairs.

    Raises:
      BadInput: The temperature is adaptive: then a product moves all logits of its row.
    """
    if heads.adapted is not None:
        raise BadInput(ADAPTIVE_UNBOUNDED)
    products = _products(heads, index)
    slopes = jnp.ones_like(products)
    if heads.softcap is not None:
        # 1 - tanh^2 by a decaying exponential: exact where tanh rounds to one.
        decay = jnp.exp(-2 * jnp.abs(products) / heads.softcap)
        slopes = 4 * decay / (1 + decay) ** 2
    if heads.sharpness is None:
        return slopes
    return length_factors(heads.sharpness, _seen_by(heads, index), slopes.dtype) * slopes


def turns(decoder: Decoder, length: int, dtype: jnp.dtype) -> Float[Array, "kinds positions h h"]:
    """What positions do to a query or key as a matrix, transposed: row a is where e_a goes.

    Args:
      decoder: Any decoder.
      length: Number of positions.
      dtype: Type of the result.

    Returns:
      One matrix for each position, or a single identity where nothing turns; for each of the
      positions of layers that differ, in the order of ``positions_of``.
    """
    kinds = [
        each.rotation(length, decoder.config.key_dim, dtype)
        for each in positions_of(decoder.config)[0]
    ]
    # (1, h, h) of layers that do not turn, beside (length, h, h)
    return jnp.stack(jnp.broadcast_arrays(*kinds))


class Residuals(NamedTuple):
    """The residual stream of one pass, in the plan's dtype."""

    resid: Float[Array, "layers+1 seq model_dim"]  #: before each layer, and after the last
    resid_mid: Float[Array, "layers seq model_dim"]  #: after each layer's attention
    attn_out: Float[Array, "layers seq model_dim"] | None = None  #: see ``Trace.attn_out``


def residuals(
    decoder: Decoder,
    tokens: Int[Array, " seq"],
    until: Int[Array, "layers seq groups"] | None = None,
) -> Residuals:
    """The residual stream of one pass, the last layer's output included.

    Args:
      decoder: Any decoder.
      tokens: One sequence.
      until: As for ``Decoder.represent``.

    Returns:
      Two arrays of layers x seq x model_dim numbers: no attention is kept.
    """
    layout, start = Layout.line(len(tokens)), decoder.enter(tokens)

    def run(resid: Array, layer: tuple[Block, Array | None]) -> tuple[Array, Any]:
        block, gone = layer
        return block(resid, layout._replace(until=gone), keep="residual")

    # scan over layers: trace fields (seq, model_dim) -> (layers, seq, model_dim)
    after, trace = scan_layers(run, start, (decoder.layers, until))
    resid = jnp.concatenate([trace.resid, after[None]])
    return Residuals(resid, trace.resid_mid, trace.attn_out)


def by_rows(
    make: Callable[[Int[Array, " rows"]], Array], length: int, rows: int = TILING.attention_rows
) -> Array:
    """Numbers for every query row, made for some rows at a time.

    Args:
      make: Row numbers to an array whose last axis is the rows.
      length: Number of rows.
      rows: How many at a time.

    Returns:
      The arrays, joined along their last axis.
    """
    rows = min(rows, length)
    every = jnp.arange(-(-length // rows) * rows, dtype=jnp.int32)
    # The last block is filled with the last row, cut off below.
    parts = jax.lax.map(make, jnp.minimum(every, length - 1).reshape(-1, rows))
    # (blocks, ..., rows) -> (..., blocks, rows) -> (..., seq)
    joined = jnp.moveaxis(parts, 0, -2)
    return joined.reshape(*joined.shape[:-2], -1)[..., :length]


def times_rows(
    row: Float[Array, " seq"],
    make: Callable[[Int[Array, " rows"]], Float[Array, "rows seq"]],
    rows: int = TILING.attention_rows,
) -> Float[Array, " seq"]:
    """A row times a square matrix, of which only some rows exist at a time.

    Args:
      row: The row.
      make: Row numbers to those rows of the matrix.
      rows: How many at a time.

    Returns:
      The product, summed exactly as often as there are blocks.
    """
    length = len(row)

    def add(total: Array, start: Array) -> tuple[Array, None]:
        inside = start + jnp.arange(rows, dtype=start.dtype)
        index = jnp.minimum(inside, length - 1)
        # The last block is filled with the last row, which then counts zero.
        weight = jnp.where(inside < length, row[index], 0)
        return total + exact("r,rs->s", weight, make(index), row.dtype), None

    rows = min(rows, length)
    starts = jnp.arange(-(-length // rows), dtype=jnp.int32) * rows
    return jax.lax.scan(add, jnp.zeros_like(row), starts)[0]
