"""Influence of each token on the last representation, at each layer: exact and estimated."""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from glassesjax import draws
from glassesjax.borders import COUNT, Domain, border, require
from glassesjax.model.decoder import Block, Decoder
from glassesjax.model.layer_scan import layer_of_plan, scan_layers
from glassesjax.model.layers import exact
from glassesjax.model.positions import Layout
from glassesjax.model.vocabulary import checked_tokens
from glassesjax.precision import Site, safe_sqrt
from glassesjax.trace.pullback import layer_pullback
from glassesjax.trace.rollout import Until

# Tokens whose Gram matrices are decomposed at once.
EIGEN_TOKENS = 64

Start = Int[Array, " seq"] | Float[Array, "seq model_dim"]
Rows = tuple[int, ...]
Squares = tuple[Array, Array, Array]  # peaks, and squares of both kinds in their units


class Influence(NamedTuple):
    """Norms of the Jacobian of the last representation with respect to each residual vector.

    Row l is for the input of layer l; the row after the last layer is for the input of the final
    norm, where only the last token has influence. With J_i the Jacobian with respect to the vector
    v_i of token i, there are three measures, all additive as squares. ``frobenius``, of J_i, is per
    unit of the vector: behind a norm c v_i has the same effect as v_i with a derivative c times as
    small, so that short vectors have a large value. ``frobenius * input_norm`` is per relative
    change, and invariant. ``along``, of J_i v_i, is for a change of the vector's length alone; a
    norm removes the length, so that it is zero for vectors that pass norms only (with one layer,
    all tokens but the last).
    """

    frobenius: Float[Array, "rows seq"]
    """Root of the sum of squares of all entries."""
    spectral: Float[Array, "spectral_rows seq"] | None = None
    """Largest singular value, which the theorems bound; None if it was not requested."""
    standard_error: Float[Array, "rows seq"] | None = None
    """Standard error of an estimated ``frobenius``; None for an exact one."""
    along: Float[Array, "rows seq"] | None = None
    """L2 norm of J_i v_i, the derivative along the token's vector."""
    along_standard_error: Float[Array, "rows seq"] | None = None
    """Standard error of an estimated ``along``; None for an exact one."""
    input_norm: Float[Array, "rows seq"] | None = None
    """L2 norm of the vector v_i."""


@border(batch=COUNT)
def exact_influence(
    decoder: Decoder,
    start: Start,
    *,
    layers: tuple[int, ...] | None = None,
    batch: int = 16,
    spectral: tuple[int, ...] = (),
    freeze_attention: bool = False,
    until: Until = None,
) -> Influence:
    r"""Norms of the Jacobian of the last representation, for each layer and token, exactly.

    .. math:: \left\lVert \partial y_n / \partial v_i^{(\ell)} \right\rVert

    One reverse pass for each batch of coordinates of y_n gives all layers. Memory, beside weights
    and residual streams: at most about 8 x batch x seq x (model_dim + hidden width) numbers, 3 x
    heads x seq^2 for attention, and 3 x seq x model_dim^2 for each spectral layer. Batches of 8 to
    16 run fastest on a CPU; an accelerator takes more at once. Squares are summed in units of the
    largest entry so far, layer by layer and token by token, so that small norms do not underflow.

    Of a decoder whose plan rounds the pass this is the straight-through derivative of the rounded
    pass: each operation's derivative at the rounded values, each rounding's the identity. A native
    plan of 16 bits stores derivatives in its dtype, too.

    Source: arXiv 2406.04267v2, Theorem 5.1, the left side.
    Differs: attention may depend on its input, and norms on theirs, as in the real model.

    Args:
      decoder: The model; derivatives are in the dtype of its plan.
      start: Token numbers, or the residual stream as it enters the first layer.
      layers: Rows of Frobenius norms to return, from 0 to the number of layers; all if absent.
      batch: Number of coordinates of y_n per reverse pass.
      spectral: Rows of largest singular values to return, numbered likewise, whatever ``layers``
        is. The reverse pass stops at the least row of both.
      freeze_attention: Treats attention weights as constants, the hypothesis of the theorem.
      until: The last query that sees each token of a bounded cache, as for ``Decoder.represent``.

    Returns:
      One row per entry of ``layers`` and of ``spectral``, in their order, one column per token.

    Raises:
      ValueError: A token is not in the vocabulary; ``layers`` is empty, it or ``spectral`` names a
        layer that is not there, or ``batch`` is not positive.
    """
    count = decoder.config.num_layers
    rows = tuple(range(count + 1)) if layers is None else layers
    if not rows or min(rows) < 0 or max(rows) > count:
        raise ValueError(f"Expected one or more layers from 0 to {count}, got {rows}: change them.")
    if any(not 0 <= row <= count for row in spectral):
        expected = f"Expected spectral layers from 0 to {count}"
        raise ValueError(f"{expected}, got {spectral}: change them.")
    start = _checked(decoder, start)
    cotangents = _batches(jnp.eye(decoder.config.model_dim, dtype=decoder.plan.dtype), batch)
    return _exact(
        decoder, start, cotangents, until, rows=rows, spectral=spectral, freeze=freeze_attention
    )


@border(probes=Domain(low=2), batch=COUNT)
def estimated_influence(
    decoder: Decoder,
    start: Start,
    *,
    key: Array,
    probes: int = 32,
    batch: int = 16,
    freeze_attention: bool = False,
    until: Until = None,
) -> Influence:
    r"""Estimates the norms of ``exact_influence``, except the spectral ones, by random signs w.

    .. math:: \mathbb E \lVert w^\top J_i \rVert_2^2 = \lVert J_i \rVert_F^2, \qquad
       \mathbb E (w^\top J_i v_i)^2 = \lVert J_i v_i \rVert_2^2

    Both use the same probes. The means of squares are unbiased; their roots have a bias of about
    the squared standard error over twice the norm. The second has the larger error: one number a
    probe, whose square has a variance of up to twice its squared mean. Memory is that of
    ``exact_influence`` and does not grow with the number of probes.

    Source: arXiv 2406.04267v2, Theorem 5.1, the left side.
    Differs: an estimate.

    Args:
      decoder: The model; derivatives are in the dtype of its plan.
      start: Token numbers, or the residual stream as it enters the first layer.
      key: PRNG key of the signs, of any implementation; ``draws.root_key`` gives the package's.
      probes: Number of sign vectors; at least two, for a standard error.
      batch: Number of probes per reverse pass.
      freeze_attention: Treats attention weights as constants, the hypothesis of the theorem.
      until: The last query that sees each token of a bounded cache, as for ``Decoder.represent``.

    Returns:
      One row per layer and one more, one column per token; the standard errors by the delta method.

    Raises:
      ValueError: A token is not in the vocabulary; fewer than two probes, or ``batch`` is not
        positive.
    """
    start = _checked(decoder, start)
    signs = draws.signs(key, (probes, decoder.config.model_dim), decoder.plan.dtype)
    batches = _batches(signs, batch)
    unit, mean, variance, sizes = _estimate(
        decoder, start, batches, probes, freeze_attention, until
    )
    norm = safe_sqrt(mean)
    # A norm of zero is exactly zero for every probe.
    error = safe_sqrt(variance / probes) / (2 * jnp.where(mean == 0, 1, norm))
    (frobenius, along), (error, along_error) = norm * unit, error * unit
    return Influence(frobenius, None, error, along, along_error, sizes)


def _checked(decoder: Decoder, start: Start) -> Start:
    """Validates tokens or residual stream outside compiled functions."""
    require(len(start) > 0, "one token or more", "none", "give some")
    if start.ndim == 1:
        return checked_tokens(start, decoder.config.vocab_size)
    width = decoder.config.model_dim
    require(start.shape[1] == width, f"start of width {width}, the decoder's", start.shape[1])
    return start


def _batches(rows: Float[Array, "vectors model_dim"], batch: int) -> Array:
    """Rows in batches of one size, the last padded with zeros."""
    batch = min(batch, len(rows))
    count = math.ceil(len(rows) / batch)
    filled = jnp.pad(rows, ((0, count * batch - len(rows)), (0, 0)))
    return filled.reshape(count, batch, -1)  # (vectors, model_dim) -> (count, batch, model_dim)


class _Sums(NamedTuple):
    """Sums over a batch of cotangents for each row and token, in units of their peak."""

    peak: Float[Array, "rows seq"]  # largest entry; squares of entries themselves may underflow
    square: Array  # rows seq, or rows batch seq
    along: Array  # the same for products with the token's vector, in units of its peak
    gram: Float[Array, "grams seq model_dim model_dim"]


def _unit(peak: Float[Array, "*rows seq"]) -> Float[Array, "*rows seq"]:
    """The power of two below each peak: division by it is exact."""
    limits = jnp.finfo(peak.dtype)
    peak = jnp.clip(peak, limits.tiny, limits.max)  # zero has no power of two below it
    return peak / (2 * jnp.frexp(peak)[0])


def _share(peak: Float[Array, "rows seq"], among: Float[Array, "rows seq"]) -> Array:
    """Factor that converts squares in units of one peak to units of a greater one."""
    return jnp.square(jnp.where(peak > 0, _unit(peak) / _unit(among), 0))


@functools.partial(jax.jit, static_argnames=("rows", "spectral", "freeze"))
def _exact(
    decoder: Decoder,
    start: Array,
    cotangents: Array,
    until: Until = None,
    *,
    rows: Rows,
    spectral: Rows,
    freeze: bool,
) -> Influence:
    walk = _Walk(decoder, start, freeze, until)
    grams, least = tuple(sorted(set(spectral))), min(rows + spectral)
    kept = jnp.asarray([row - least for row in grams], jnp.int32)

    def add(total: _Sums, batch: Array) -> tuple[_Sums, None]:
        sums = walk.back(batch, least, grams)
        # Both sums in units of the larger peak, which never falls from batch to batch.
        peak = jnp.maximum(total.peak, sums.peak)
        old, new = _share(total.peak, peak), _share(sums.peak, peak)
        square = old * total.square + new * jnp.sum(sums.square, axis=1)  # over the batch
        along = old * total.along + new * jnp.sum(sums.along, axis=1)
        # (rows, seq) -> (grams, seq, 1, 1), as gram
        old, new = old[kept, :, None, None], new[kept, :, None, None]
        return _Sums(peak, square, along, old * total.gram + new * sums.gram), None

    size, length = decoder.config.model_dim, walk.resid.shape[1]
    zero = jnp.zeros((decoder.config.num_layers + 1 - least, length), walk.carrier)
    gram = jnp.zeros((len(grams), length, size, size), zero.dtype)
    # scan over batches of cotangents; padding rows are zero and add nothing
    (peak, square, along, gram), _ = jax.lax.scan(add, _Sums(zero, zero, zero, gram), cotangents)
    unit, chosen = _unit(peak), jnp.asarray([row - least for row in rows])
    measured = Influence(
        frobenius=(safe_sqrt(square) * unit)[chosen],
        along=(safe_sqrt(along) * unit * walk.input_unit[least:])[chosen],
        input_norm=walk.input_norm[least:][chosen],
    )
    if not spectral:
        return measured
    # (grams, seq, d, d) -> (grams * seq, d, d), some tokens at a time
    largest = jax.lax.map(
        lambda matrix: jnp.linalg.eigvalsh(matrix)[-1],
        gram.reshape(-1, size, size),
        batch_size=EIGEN_TOKENS,
    )
    # Rounding may make the largest eigenvalue of a zero Gram matrix negative.
    largest = safe_sqrt(jnp.maximum(largest, 0)).reshape(gram.shape[:2])
    norms = largest * unit[kept]
    # Each matrix is decomposed once, however often ``spectral`` names its row.
    return measured._replace(spectral=norms[jnp.asarray([grams.index(row) for row in spectral])])


@functools.partial(jax.jit, static_argnames=("probes", "freeze"))
def _estimate(
    decoder: Decoder,
    start: Array,
    cotangents: Array,
    probes: int,
    freeze: bool,
    until: Until = None,
) -> tuple[Array, Array, Array, Array]:
    """Units, mean and variance of the probes' squares in these units, and norms of the vectors.

    The first three have a leading axis of two: the derivative, and the derivative along the vector.
    Batches are merged by the parallel variance update.
    """
    walk = _Walk(decoder, start, freeze, until)
    size = cotangents.shape[1]

    def merge(total: tuple[Array, ...], batch: Array) -> tuple[Any, None]:
        seen, top, mean, spread = total
        sums = walk.back(batch, 0, ())
        peak = jnp.maximum(top, sums.peak)
        # Leading axis of two, with one unit for both: rows batch seq -> 2 rows batch seq.
        old, square = _share(top, peak)[None], jnp.stack([sums.square, sums.along])
        square = _share(sums.peak, peak)[None, :, None] * square
        mean, spread = old * mean, old * old * spread
        # The last batch may have fewer probes than rows.
        here = jnp.minimum(probes - seen, size)
        inside = (jnp.arange(size, dtype=jnp.int32) < here)[None, None, :, None]
        count, before = here.astype(mean.dtype), seen.astype(mean.dtype)
        center = jnp.sum(square, axis=2) / count  # padding rows are zero
        off = jnp.where(inside, square - center[:, :, None], 0)
        # Chan, Golub and LeVeque's update: within the batch, and between it and those before.
        step, share = center - mean, count / (before + count)
        spread = spread + jnp.sum(off * off, axis=2) + step * step * before * share
        return (seen + here, peak, mean + step * share, spread), None

    # (rows, seq)
    zero = jnp.zeros_like(walk.input_norm)
    both = jnp.stack([zero, zero])  # (2, rows, seq)
    first = jnp.asarray(0, jnp.int32), zero, both, both
    (_, peak, mean, spread), _ = jax.lax.scan(merge, first, cotangents)
    unit = _unit(peak)
    units = jnp.stack([unit, unit * walk.input_unit])
    return units, mean, spread / (probes - 1), walk.input_norm


class _Walk:
    """A forward pass with the inputs of all layers, and the reverse pass through it."""

    def __init__(self, decoder: Decoder, start: Array, freeze: bool, until: Until) -> None:
        self.decoder, self.freeze, self.until = decoder, freeze, until
        self.carrier = decoder.plan.carrier_dtype
        # (seq,) -> (seq, model_dim), unless the residual stream itself is given
        resid = decoder.enter(start) if start.ndim == 1 else start
        self.line = Layout.line(len(resid))
        _, trace = decoder.represent(resid, until=until, keep="residual")
        kept: Any = trace.resid  # not None with keep="residual"
        self.resid: Array = kept
        # Vectors in units of powers of two, one a row and token, the last layer's output included.
        layout = self.line._replace(until=self._until(-1))
        after, _ = self._block(-1)(self.resid[-1], layout)
        streams = jnp.concatenate([self.resid, after[None]]).astype(self.carrier)
        self.input_unit = _unit(jnp.max(jnp.abs(streams), axis=-1))
        self.inputs = streams / self.input_unit[..., None]
        squares = jnp.sum(jnp.square(self.inputs), axis=-1)
        self.input_norm = jnp.sqrt(squares) * self.input_unit

    def back(self, batch: Float[Array, "batch model_dim"], least: int, grams: Rows) -> _Sums:
        """Squares of the cotangents from row ``least`` on, and Gram matrices of rows ``grams``."""
        top = self._from_top(batch, least)
        # With an axis of one row in front, as the scans below stack theirs.
        measured = [
            self._measure(cotangent[None], self.inputs[row][None])
            for row, cotangent in reversed(top)
        ]
        gram = {row: self._gram(cotangent) for row, cotangent in top if row in grams}
        after, cotangent = top[-1]

        def step(cotangent: Array, layer: tuple[Any, ...]) -> tuple[Array, Squares]:
            block, resid, vectors, until = layer
            layout = self.line._replace(until=until)
            cotangent = layer_pullback(block, resid, layout, freeze=self.freeze)(cotangent)
            return cotangent, self._measure(cotangent, vectors)

        # The inputs of the layers, without the last one's output.
        every = self.decoder.layers, self.resid, self.inputs[:-1], self.until
        # One scan down to each row of a Gram matrix: within a scan there would be one a layer.
        for row in sorted({row for row in (least, *grams) if row < after}, reverse=True):
            # peaks (layers, seq), squares (layers, batch, seq), first layer first
            cotangent, some = scan_layers(
                step, cotangent, every, start=row, stop=after, reverse=True
            )
            measured.insert(0, some)
            if row in grams:
                gram[row] = self._gram(cotangent)
            after = row
        peaks, squares, along = (jnp.concatenate(each) for each in zip(*measured, strict=True))
        shape = 0, self.resid.shape[1], batch.shape[1], batch.shape[1]
        chosen = [gram[row][None] for row in grams] or [jnp.zeros(shape, self.carrier)]
        return _Sums(peaks, squares, along, jnp.concatenate(chosen))

    def _from_top(self, batch: Array, least: int) -> list[tuple[int, Array]]:
        """Cotangents before the final norm and before the last layer, which needs y_n only."""
        count = len(self.resid)
        final = lambda x: self.decoder.plan.store(Site.OUTPUT, self.decoder.final_norm(x))
        block, layout = self._block(-1), self.line._replace(until=self._until(-1))
        # Of the last layer, one query row over all keys: no square of the length.
        heads = block.heads(self.resid[-1], layout, last=1)
        joined = block.attention.mix(*heads, layout, self.freeze)
        out = block.rest(self.resid[-1, -1:], joined)  # (1, model_dim)
        # vmap over the batch: (batch, 1, model_dim), padded to (batch, seq, model_dim)
        (top,) = jax.vmap(jax.vjp(final, out)[1])(batch[:, None])
        top = jnp.pad(top, ((0, 0), (self.resid.shape[1] - 1, 0), (0, 0)))
        if least == count:
            return [(count, top)]
        pull = layer_pullback(
            block, self.resid[-1], layout, freeze=self.freeze, last=1, finish=final
        )
        return [(count, top), (count - 1, pull(batch[:, None]))]

    def _until(self, index: int) -> Array | None:
        return None if self.until is None else self.until[index]

    def _block(self, index: int) -> Block:
        layer = jax.tree.map(lambda weight: weight[index], self.decoder.layers)
        return layer_of_plan(layer, index)

    def _measure(
        self,
        cotangent: Float[Array, "*rows batch seq model_dim"],
        vectors: Float[Array, "*rows seq model_dim"],
    ) -> Squares:
        """Peaks of the batch, and squares in their units: of all entries, and along the vectors."""
        peak, scaled = self._scaled(cotangent)
        # (*rows, batch, seq, d) and (*rows, 1, seq, d) -> (*rows, batch, seq)
        along = jnp.sum(scaled * vectors[..., None, :, :], axis=-1)
        return peak, jnp.sum(jnp.square(scaled), axis=-1), jnp.square(along)

    def _scaled(self, cotangent: Float[Array, "*rows batch seq model_dim"]) -> tuple[Array, Array]:
        wide = cotangent.astype(self.carrier)
        peak = jnp.max(jnp.abs(wide), axis=(-3, -1))  # over batch and model_dim: (*rows, seq)
        return peak, wide / _unit(peak)[..., None, :, None]

    def _gram(self, cotangent: Array) -> Float[Array, "seq model_dim model_dim"]:
        _, scaled = self._scaled(cotangent)
        return exact("bsd,bse->sde", scaled, scaled, self.carrier)
