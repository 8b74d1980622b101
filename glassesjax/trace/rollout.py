"""How much of each token reaches the last one, as a product of non-negative matrices.

A row is multiplied from the left through the layers, last one first, and normalized after each;
the scales add up as logarithms. So nothing overflows, and no seq x seq array ever exists.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from glassesjax.borders import COUNT, NON_NEGATIVE, SHARE, border
from glassesjax.errors import BadInput
from glassesjax.model.by_layer import positions_of
from glassesjax.model.config import AdaptiveTemperature, DecoderConfig
from glassesjax.model.decoder import Block, Decoder
from glassesjax.model.layer_scan import map_layers, scan_layers
from glassesjax.model.positions import Layout
from glassesjax.model.tiling import TILING
from glassesjax.precision import RoundingPlan
from glassesjax.precision.arithmetic import rounds_passes
from glassesjax.trace.constants import (
    LayerConstants,
    effective_share,
    layer_constants,
)
from glassesjax.trace.heads import (
    ADAPTIVE_UNBOUNDED,
    LayerHeads,
    attention_rows,
    layer_heads,
    residuals,
    times_rows,
    turns,
)
from glassesjax.trace.norms import norm_slopes

Until = Int[Array, "layers seq groups"] | None
_Layer = tuple[Block, Array, Array, Array | None, Array | None, Array | None]


class Rollout(NamedTuple):
    """A row times the layers' matrices: at layer l it is ``exp(log_gains[l]) * profile[l]``."""

    log_gain: Float[Array, ""]  #: log_gains[0]: the logarithm of the whole scale
    profile: Float[Array, "layers+1 seq"]  #: probabilities; row 0 is pi, the last one e_n
    log_gains: Float[Array, " layers+1"]  #: the scale from each layer's residual to the end
    shares: Float[Array, " layers"]  #: the attention's share of each layer's residual stream


@border()
def roll(
    length: int,
    layers: Any,  # noqa: ANN401  (any pytree, its leaves stacked over layers)
    multiply: Callable[[Float[Array, " seq"], Any], Float[Array, " seq"]],
    last_scale: Float[Array, ""],
    shares: Float[Array, " layers"],
    at: Int[Array, ""] | int = -1,
) -> Rollout:
    r"""The recursion that all kinds of rollout share.

    .. math:: \pi^{(\ell)} s_\ell = \pi^{(\ell + 1)} B^{(\ell)}, \qquad
       \pi^{(L)} = e_n, \quad {\textstyle\sum_i} \pi_i^{(\ell)} = 1

    Source: arXiv 2406.04267v2, Theorem 5.1 (proof), by vector-matrix products.

    Args:
      length: Number of tokens.
      layers: What ``multiply`` needs, stacked, first layer first.
      multiply: A row and one layer to the row times its non-negative matrix.
      last_scale: Factor after the last layer.
      shares: Passed on to the result.
      at: The token n; the last if absent.

    Returns:
      Rows and scales; a row of zeros stays one, at scale zero.
    """

    def step(state: tuple[Array, Array], layer: Any) -> tuple[Any, Any]:  # noqa: ANN401
        row, log_gain = state
        product = multiply(row, layer)
        # Sum one after each layer, the scale as a logarithm: products of many layers overflow.
        size = jnp.sum(product)
        row = product / jnp.where(size == 0, 1, size)
        state = row, log_gain + jnp.log(size)
        return state, state

    last = jnp.zeros(length, last_scale.dtype).at[at].set(1)
    start = last, jnp.log(last_scale)
    # scan over layers, last one first: profile (layers, seq), log_gains (layers,)
    _, (profile, log_gains) = scan_layers(step, start, layers, reverse=True)
    log_gains = jnp.append(log_gains, start[1])
    return Rollout(log_gains[0], jnp.concatenate([profile, last[None]]), log_gains, shares)


@border()
def check_past(config: DecoderConfig, length: int) -> None:
    """Refuses what a rollout to the last token has no meaning for.

    Args:
      config: The decoder's settings.
      length: Number of tokens.

    Raises:
      ValueError: No token, or rows that see later tokens.
    """
    if length < 1:
        raise ValueError("Expected one token or more, got none.")
    if not config.mask.causal:
        wanted = "Expected a decoder whose rows see no later token (Causal or Window)"
        raise ValueError(f"{wanted}, got {config.mask}: its paths to the last token have no order.")


@border()
def check_bounded(config: DecoderConfig) -> None:
    """Refuses decoders whose derivative :func:`block_stack` does not bound.

    Args:
      config: The decoder's settings.

    Raises:
      BadInput: The temperature is adaptive.
    """
    if isinstance(config.temperature, AdaptiveTemperature):
        raise BadInput(ADAPTIVE_UNBOUNDED)


class _Pass(NamedTuple):
    """One pass, the residual stream in the carrier."""

    resid: Float[Array, "layers seq model_dim"]
    resid_mid: Float[Array, "layers seq model_dim"]
    attn_out: Float[Array, "layers seq model_dim"] | None  # None where it has no norm of its own
    after: Float[Array, "seq model_dim"]
    shares: Float[Array, " layers"]
    plan: RoundingPlan


def _run(
    decoder: Decoder, tokens: Int[Array, " seq"], until: Array | None, at: Array | int = -1
) -> _Pass:
    check_past(decoder.config, len(tokens))
    plan = decoder.plan
    passed = residuals(decoder, tokens, until)
    wide = lambda x: x.astype(plan.carrier_dtype)
    resid, resid_mid, attn_out = jax.tree.map(wide, tuple(passed))  # fields that are None stay so
    # Rows after the token n have no part in a measured share: padding, or the answer itself.
    place = jnp.arange(len(tokens), dtype=jnp.int32)
    read = place <= jnp.asarray(at, jnp.int32) % len(tokens)
    share = lambda pair: effective_share(pair[0], pair[1], decoder.config, read)
    shares = jax.lax.map(share, (resid[:-1], resid_mid))
    return _Pass(resid[:-1], resid_mid, attn_out, resid[-1], shares, plan)


@border(shares=SHARE, rows=COUNT)
def rollout(
    decoder: Decoder,
    tokens: Int[Array, " seq"],
    *,
    shares: Float[Array, " layers"] | None = None,
    rows: int = TILING.attention_rows,
    until: Until = None,
    at: Int[Array, ""] | int = -1,
) -> Rollout:
    r"""Attention rollout that minds the residual stream, for the last token.

    .. math:: \pi = e_n^\top \prod_{\ell = L-1}^{0} \left( (1 - \lambda_\ell) I +
       \lambda_\ell \tfrac1H {\textstyle\sum_h} \alpha^{(\ell, h)} \right)

    Source: a definition after arXiv 2602.16837v2; the normal form of arXiv 2406.04267v2,
      Theorem 5.1.
    Differs: the mean over heads, and measured shares in place of 1 / (1 + beta_1).

    Args:
      decoder: Causal, with or without a window.
      tokens: One sequence.
      shares: The lambdas, in [0, 1] and in the type of the weights' arithmetic; measured
        (``trace.constants.effective_share``) if absent.
      rows: Query rows at once: memory is rows x heads x seq, beside the residual stream.
      until: When a bounded state evicted each token, as for ``Decoder.represent``.
      at: The token n, the last if absent; measured shares are means over it and those before.

    Returns:
      Probabilities and the shares. The logarithmic scale is zero up to rounding; under a plan that
      rounds the pass the weights are those that it stores, which need not sum to one, and the
      scale is that of their sums.

    Raises:
      ValueError: No token, another mask, or not one share for each layer.
    """
    run = _run(decoder, tokens, until, at)
    if shares is not None and len(shares) != decoder.config.num_layers:
        raise ValueError(f"Expected {decoder.config.num_layers} shares, got {len(shares)}.")
    shares = run.shares if shares is None else shares.astype(run.plan.carrier_dtype)

    def multiply(row: Array, layer: tuple[Block, Array, Array, Array | None]) -> Array:
        block, resid, share, gone = layer
        # The stream was widened for measured shares; attention reads it as the pass stores it.
        weights = _weights_of(block, resid.astype(run.plan.dtype), gone)
        # over heads: (heads, rows, seq) -> (rows, seq)
        mean = lambda index: jnp.mean(weights(index), axis=0)
        return (1 - share) * row + share * times_rows(row, mean, rows)

    one = jnp.ones((), run.plan.carrier_dtype)
    layers = (decoder.layers, run.resid, shares, until)
    return roll(len(tokens), layers, multiply, one, shares, at)


def _weights_of(
    block: Block, resid: Float[Array, "seq model_dim"], until: Int[Array, "seq groups"] | None
) -> Callable[[Int[Array, " rows"]], Float[Array, "heads rows seq"]]:
    """From query rows to their attention weights, as the plan of the layer stores them."""
    if not rounds_passes(block.plan_of(resid)):
        heads = layer_heads(block, resid, until)
        return lambda index: attention_rows(heads, index)[1]
    layout = Layout.line(len(resid))._replace(until=until)
    query, key, value = block.heads(resid, layout)
    carrier = block.plan_of(resid).carrier_dtype

    def weights(index: Int[Array, " rows"]) -> Float[Array, "heads rows seq"]:
        asking = jax.tree.map(lambda field: field[index], layout)
        kept = block.attention.weights(query[index], asking, key, value, layout)
        return kept.astype(carrier)

    return weights


@border(sigma=NON_NEGATIVE, rows=COUNT)
def printed_bound(
    decoder: Decoder,
    tokens: Int[Array, " seq"],
    *,
    sigma: Float[Array, "layers seq"] | None = None,
    rows: int = TILING.attention_rows,
    until: Until = None,
    at: Int[Array, ""] | int = -1,
) -> Rollout:
    r"""The bound of Theorem 5.1 at a real model, as a scale and a profile.

    .. math::
       \lVert \partial y_n / \partial v_i^{(0)} \rVert &\le
       \frac{1}{\beta_{3,n}} \Bigl[ \prod_{\ell = L-1}^{0} B^{(\ell)} \Bigr]_{ni} \\
       B_{ji} &= \left( 1 + \sigma_j / r_{2,j} \right) \left( {\textstyle\sum_h}
       \alpha_{ji}^h \lVert W_O^h W_V^h \rVert / r_{1,i} + \delta_{ji} \right)

    This holds with attention weights that do not depend on the input, as with
    ``freeze_attention``. With true attention it can be exceeded a hundredfold;
    ``theory.blocks.repaired_rollout`` cannot. The roots r of the norms are measured
    (``trace.norms.inverse_roots``), whose gains are in the matrices that follow
    (``trace.norms.folded``), and so is sigma (``trace.constants.mlp_slopes``). Norms
    of the outputs of attention and MLP, parallel blocks and weighted residuals enter as derived in
    ``trace.constants.layer_constants``. Norms of queries and keys have no part in it.

    Source: arXiv 2406.04267v2, Theorem 5.1 (B.5), with the constants of its proof.
    Differs: several heads with value and output matrices; norms and MLP at the point.

    Args:
      decoder: Causal, with or without a window.
      tokens: One sequence.
      sigma: Slope of each MLP alone at each token, non-negative; from the weights if absent.
      rows: Query rows at once: memory is rows x heads x seq, beside the residual stream.
      until: When a bounded state evicted each token, as for ``Decoder.represent``.
      at: The token n; the last if absent.

    Returns:
      The bound for each token, and at each layer for its residual stream.

    Raises:
      ValueError: No token, another mask, or sigma of another shape.
    """
    run = _run(decoder, tokens, until, at)
    _check_sigma(sigma, decoder.config, len(tokens))
    make = functools.partial(_layer_parts, dtype=run.plan.dtype)

    def multiply(row: Array, layer: _Layer) -> Array:
        return _times_printed(row, *make(layer), rows)

    last_scale = norm_slopes(decoder.final_norm, run.after[at], run.plan.carrier_dtype)
    layers = (decoder.layers, run.resid, run.resid_mid, run.attn_out, sigma, until)
    return roll(len(tokens), layers, multiply, last_scale, run.shares, at)


def _layer_parts(layer: _Layer, dtype: jnp.dtype) -> tuple[LayerHeads, LayerConstants]:
    block, resid, resid_mid, attn_out, slopes, gone = layer
    # Attention reads the stream as the pass stores it.
    resid = resid.astype(dtype)
    constants = layer_constants(block, resid, resid_mid, slopes, attn_out)
    return layer_heads(block, resid, gone), constants


def _times_printed(row: Array, heads: LayerHeads, constants: LayerConstants, rows: int) -> Array:
    norms = constants.value_norms[:, None, None]
    # over heads: (heads, rows, seq) -> (rows, seq)
    weighted = lambda index: jnp.sum(norms * attention_rows(heads, index)[1], axis=0)
    # Factor and share are of the row j, 1 / r_1 of the column i: before the product, and after it.
    row = row * constants.factor
    moved = times_rows(row * constants.share, weighted, rows) * constants.norm1_slope
    return moved + constants.skip * row


class BlockStack(NamedTuple):
    """All that both bounds need of one pass, as arrays."""

    heads: LayerHeads  #: stacked over layers
    constants: LayerConstants  #: likewise
    turns: Float[Array, "kinds positions h h"]  #: of each position: of all layers, or of each kind
    kinds: Int[Array, " layers"]  #: for each layer, which of ``turns`` is its own
    last_slope: Float[Array, ""]  #: 1 / beta_3 of the last token
    shares: Float[Array, " layers"]  #: measured, see ``effective_share``


@border(sigma=NON_NEGATIVE)
def block_stack(
    decoder: Decoder,
    tokens: Int[Array, " seq"],
    *,
    sigma: Float[Array, "layers seq"] | None = None,
    until: Until = None,
) -> BlockStack:
    """What ``theory.blocks`` bounds the derivative of a pass with.

    Source: arXiv 2406.04267v2, Theorem 5.1, repaired as ``theory.blocks`` derives it.

    Args:
      decoder: Causal, with or without a window.
      tokens: One sequence.
      sigma: As for :func:`printed_bound`.
      until: When a bounded state evicted each token, as for ``Decoder.represent``.

    Returns:
      Arrays linear in the length.

    Raises:
      ValueError: As :func:`printed_bound`.
      BadInput: The temperature is adaptive, for which no bound is known.
    """
    check_bounded(decoder.config)
    run = _run(decoder, tokens, until)
    _check_sigma(sigma, decoder.config, len(tokens))
    carrier = run.plan.carrier_dtype
    layers = (decoder.layers, run.resid, run.resid_mid, run.attn_out, sigma, until)
    # Every field gets layers as its first axis.
    parts = functools.partial(_layer_parts, dtype=run.plan.dtype)
    heads, constants = map_layers(parts, layers)
    return BlockStack(
        heads=heads,
        constants=constants,
        turns=turns(decoder, len(tokens), carrier),
        kinds=jnp.asarray(positions_of(decoder.config)[1], jnp.int32),
        last_slope=norm_slopes(decoder.final_norm, run.after[-1], carrier),
        shares=run.shares,
    )


@border(rows=COUNT)
def printed_rollout(stack: BlockStack, *, rows: int = TILING.attention_rows) -> Rollout:
    """The bound of :func:`printed_bound` from what the repaired one is made of.

    The norms of the weights, which take the longest on a large model, are in the stack already.

    Source: arXiv 2406.04267v2, Theorem 5.1 (B.5), with the constants of its proof.
    Differs: as :func:`printed_bound`.

    Args:
      stack: All layers, from :func:`block_stack`.
      rows: Query rows at once.

    Returns:
      The bound for each token, and at each layer for its residual stream.
    """

    def multiply(row: Array, layer: tuple[LayerHeads, LayerConstants]) -> Array:
        return _times_printed(row, *layer, rows)

    # (layers, heads, seq, head_dim)
    length = stack.heads.queries.shape[-2]
    return roll(length, (stack.heads, stack.constants), multiply, stack.last_slope, stack.shares)


def _check_sigma(sigma: Array | None, config: DecoderConfig, length: int) -> None:
    wanted = (config.num_layers, length)
    if sigma is not None and sigma.shape != wanted:
        raise ValueError(f"Expected sigma of shape {wanted}, got {sigma.shape}.")
