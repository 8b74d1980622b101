"""How much the last representation moves with each token, at each layer: exact and estimated."""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from glassesjax.model.decoder import Block, Decoder
from glassesjax.model.layers import exact
from glassesjax.model.positions import Layout
from glassesjax.precision import RoundingPlan
from glassesjax.trace.pullback import layer_pullback

# Tokens whose Gram matrices are decomposed at once.
EIGEN_TOKENS = 64

Start = Int[Array, " seq"] | Float[Array, "seq model_dim"]
Rows = tuple[int, ...]
Parts = tuple[Array, Any]  # the second is None where there are no spectral norms


class Influence(NamedTuple):
    """Norms of the derivative of the last representation in each token of the residual stream.

    Row l belongs to the stream that enters layer l; the row after the last layer's belongs to what
    enters the final norm, of which only the last token has any influence.
    """

    frobenius: Float[Array, "rows seq"]
    """Root of the sum of squares of all entries."""
    spectral: Float[Array, "rows seq"] | None = None
    """Largest singular value, which the theorems bound; None where not asked for."""
    standard_error: Float[Array, "rows seq"] | None = None
    """Of an estimated ``frobenius``; None for an exact one."""


def exact_influence(
    decoder: Decoder,
    start: Start,
    *,
    layers: tuple[int, ...] | None = None,
    batch: int = 16,
    spectral: bool = False,
    freeze_attention: bool = False,
) -> Influence:
    r"""Norms of the Jacobian of the last representation, for each layer and token, exactly.

    .. math:: \left\lVert \partial y_n / \partial v_i^{(\ell)} \right\rVert

    One reverse pass for each batch of coordinates of y_n gives all layers. Memory, beside weights
    and residual streams: about 10 x batch x seq x (model_dim + hidden width) numbers and 2 heads x
    seq^2 for attention; spectral norms add rows x seq x model_dim^2. Batches of 8 to 16 run fastest
    on a CPU; an accelerator takes more at once.

    Source: arXiv 2406.04267v2, Theorem 5.1, the left side.
    Differs: attention may depend on its input, and norms on theirs, as in the real model.

    Args:
      decoder: The model; its dtype is that of the derivatives.
      start: Token numbers, or the residual stream as it enters the first layer.
      layers: Rows to return, from 0 to the number of layers; all if absent. No layer before the
        least of them is run backwards.
      batch: How many coordinates of y_n go backwards together.
      spectral: Also the largest singular values.
      freeze_attention: Takes attention weights as constants, the hypothesis of the theorem.

    Returns:
      One row per entry of ``layers``, one column per token.

    Raises:
      ValueError: ``layers`` is empty or names a layer that is not there, or ``batch`` is not
        positive.
    """
    count = decoder.config.num_layers
    rows = tuple(range(count + 1)) if layers is None else layers
    if not rows or min(rows) < 0 or max(rows) > count:
        raise ValueError(f"Wanted layers between 0 and {count}, at least one; got {rows}.")
    cotangents = _batches(jnp.eye(decoder.config.model_dim, dtype=decoder.dtype), batch)
    options = {"rows": rows, "freeze": freeze_attention}
    square, gram = _exact(decoder, start, cotangents, spectral=spectral, **options)
    return Influence(jnp.sqrt(square), gram)


def estimated_influence(
    decoder: Decoder,
    start: Start,
    *,
    key: Array,
    probes: int = 32,
    batch: int = 16,
    freeze_attention: bool = False,
) -> Influence:
    r"""Frobenius norms of the same Jacobians, estimated from random signs w.

    .. math:: \mathbb E \lVert w^\top J_i \rVert_2^2 = \lVert J_i \rVert_F^2

    The mean of squares is unbiased; its root is not, by less than the standard error's square over
    twice the norm. Memory is that of ``exact_influence`` and does not grow with the probes.

    Source: arXiv 2406.04267v2, Theorem 5.1, the left side.
    Differs: an estimate.

    Args:
      decoder: The model; its dtype is that of the derivatives.
      start: Token numbers, or the residual stream as it enters the first layer.
      key: Seed of the signs.
      probes: How many vectors of signs; two at least, for a standard error.
      batch: How many of them go backwards together.
      freeze_attention: Takes attention weights as constants, the hypothesis of the theorem.

    Returns:
      One row per layer and one more, one column per token; the standard errors by the delta method.

    Raises:
      ValueError: Fewer than two probes, or ``batch`` is not positive.
    """
    if probes < 2:
        raise ValueError(f"Wanted two probes or more, for a standard error; got {probes}.")
    signs = jax.random.rademacher(key, (probes, decoder.config.model_dim), decoder.dtype)
    mean, variance = _estimate(decoder, start, _batches(signs, batch), probes, freeze_attention)
    norm = jnp.sqrt(mean)
    # A norm of zero is exactly zero for every probe.
    error = jnp.where(norm == 0, 0, jnp.sqrt(variance / probes) / (2 * norm))
    return Influence(norm, None, error.astype(norm.dtype))


def _batches(rows: Float[Array, "vectors model_dim"], batch: int) -> Array:
    """Rows in batches of one size, the last filled with zeros."""
    if batch < 1:
        raise ValueError(f"Wanted a positive batch, got {batch}.")
    batch = min(batch, len(rows))
    count = math.ceil(len(rows) / batch)
    filled = jnp.pad(rows, ((0, count * batch - len(rows)), (0, 0)))
    return filled.reshape(count, batch, -1)


@functools.partial(jax.jit, static_argnames=("rows", "spectral", "freeze"))
def _exact(
    decoder: Decoder,
    start: Array,
    cotangents: Array,
    *,
    rows: tuple[int, ...],
    spectral: bool,
    freeze: bool,
) -> Parts:
    walk = _Walk(decoder, start, freeze)
    grams = tuple(sorted(set(rows))) if spectral else ()

    def add(total: Parts, batch: Array) -> tuple[Parts, None]:
        square, gram = walk.back(batch, min(rows), grams)
        return (total[0] + jnp.sum(square, axis=1), total[1] + gram), None

    size, length = decoder.config.model_dim, walk.resid.shape[1]
    dtype = walk.plan.carrier_dtype
    square = jnp.zeros((decoder.config.num_layers + 1 - min(rows), length), dtype)
    zero = square, jnp.zeros((len(grams), length, size, size), dtype)
    (square, gram), _ = jax.lax.scan(add, zero, cotangents)
    square = square[jnp.asarray([row - min(rows) for row in rows])]
    if not spectral:
        return square, None
    largest = jax.lax.map(
        lambda matrix: jnp.linalg.eigvalsh(matrix)[-1],
        gram.reshape(-1, size, size),
        batch_size=EIGEN_TOKENS,
    )
    # Rounding may leave the Gram matrix of a zero below zero.
    norms = jnp.sqrt(jnp.maximum(largest, 0)).reshape(len(grams), length)
    return square, norms[jnp.asarray([grams.index(row) for row in rows])]


@functools.partial(jax.jit, static_argnames=("probes", "freeze"))
def _estimate(
    decoder: Decoder, start: Array, cotangents: Array, probes: int, freeze: bool
) -> tuple[Array, Array]:
    """Mean and variance of the probes' squares, merged batch by batch."""
    walk = _Walk(decoder, start, freeze)
    size = cotangents.shape[1]

    def merge(total: tuple[Array, Array, Array], batch: Array) -> tuple[Any, None]:
        seen, mean, spread = total
        square, _ = walk.back(batch, 0, ())
        here = jnp.minimum(probes - seen, size)
        inside = (jnp.arange(size, dtype=jnp.int32) < here)[None, :, None]
        count, before = here.astype(mean.dtype), seen.astype(mean.dtype)
        center = jnp.sum(square, axis=1) / count  # rows of filling are zero
        off = jnp.where(inside, square - center[:, None], 0)
        step, share = center - mean, count / (before + count)
        spread = spread + jnp.sum(off * off, axis=1) + step * step * before * share
        return (seen + here, mean + step * share, spread), None

    shape = decoder.config.num_layers + 1, walk.resid.shape[1]
    zero = jnp.zeros(shape, walk.plan.carrier_dtype)
    first = jnp.asarray(0, jnp.int32), zero, zero
    (_, mean, spread), _ = jax.lax.scan(merge, first, cotangents)
    return mean, spread / (probes - 1)


class _Walk:
    """A forward pass that kept what enters each layer, and the way back through it."""

    def __init__(self, decoder: Decoder, start: Array, freeze: bool) -> None:
        self.decoder, self.freeze = decoder, freeze
        self.plan = RoundingPlan.of_dtype(decoder.dtype)
        resid = decoder.enter(start) if start.ndim == 1 else start
        self.layout = Layout.line(len(resid))
        trace: Any = decoder.represent(resid)[1]  # the residual stream is kept, not None
        self.resid = trace.resid

    def back(self, batch: Float[Array, "batch model_dim"], least: int, grams: Rows) -> Parts:
        """Squares of the cotangents from row ``least`` on, and Gram matrices of some rows."""
        count = len(self.resid)
        found = self._from_top(batch, least)
        square, gram = [], {}
        for row, cotangent in found:
            square.insert(0, self._square(cotangent)[None])
            gram[row] = self._gram(cotangent)
        cotangent, after = found[-1][1], count - 1
        for row in sorted({least, *grams} - set(gram), reverse=True):
            cotangent, squares = self._through(cotangent, slice(row, after))
            square.insert(0, squares)
            gram[row], after = self._gram(cotangent), row
        size = self.resid.shape[1], batch.shape[1], batch.shape[1]
        chosen = [gram[row] for row in grams]
        return jnp.concatenate(square), jnp.stack(chosen) if chosen else jnp.zeros(
            (0, *size), self.plan.carrier_dtype
        )

    def _from_top(self, batch: Array, least: int) -> list[tuple[int, Array]]:
        """The row before the final norm, and the last layer's, of which only y_n is asked."""
        count = len(self.resid)
        final = lambda x: self.plan.store("output", self.decoder.final_norm(x, self.plan))
        block = self._block(-1)
        heads = block.heads(self.resid[-1], self.layout, self.plan, last=1)
        joined = block.attention.mix(*heads, self.layout, self.plan, self.freeze)
        out = block.rest(self.resid[-1, -1:], joined, self.plan)
        (top,) = jax.vmap(jax.vjp(final, out)[1])(batch[:, None])
        top = jnp.pad(top, ((0, 0), (self.resid.shape[1] - 1, 0), (0, 0)))
        if least == count:
            return [(count, top)]
        options = {"freeze": self.freeze, "last": 1, "finish": final}
        pull = layer_pullback(block, self.resid[-1], self.layout, self.plan, **options)
        return [(count, top), (count - 1, pull(batch[:, None]))]

    def _through(self, cotangent: Array, layers: slice) -> tuple[Array, Array]:
        """Back through some layers, one at a time; their squares, first layer first."""

        def step(cotangent: Array, layer: tuple[Block, Array]) -> tuple[Array, Array]:
            block, resid = layer
            pull = layer_pullback(block, resid, self.layout, self.plan, freeze=self.freeze)
            cotangent = pull(cotangent)
            return cotangent, self._square(cotangent)

        return jax.lax.scan(
            step, cotangent, (self._block(layers), self.resid[layers]), reverse=True
        )

    def _block(self, index: int | slice) -> Block:
        return jax.tree.map(lambda weight: weight[index], self.decoder.blocks)

    def _square(self, cotangent: Array) -> Float[Array, "batch seq"]:
        return jnp.sum(jnp.square(cotangent.astype(self.plan.carrier_dtype)), axis=-1)

    def _gram(self, cotangent: Array) -> Float[Array, "seq model_dim model_dim"]:
        return exact("bsd,bse->sde", cotangent, cotangent, self.plan.carrier_dtype)
