"""Scans that add in the order of an ``Accumulator``."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from glassesjax.precision.formats import FloatFormat
from glassesjax.precision.sums import Accumulator, contracted_axis


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
@functools.partial(jax.jit, static_argnums=0)
def running_sum(how: Accumulator, terms: Float[Array, "*batch n"]) -> Float[Array, "*batch"]:
    """Sum over the last axis; see ``accumulate``.

    Args:
      how: Format and order of the additions.
      terms: float32 or float64.

    Returns:
      Numbers of the format in the dtype of the terms.
    """
    terms = jnp.moveaxis(terms, -1, 0)  # (n, *batch)
    if how.order == "pairwise":
        return _tree(how.fmt, terms)
    terms = _blocks(how, terms)  # (blocks, width, *batch)
    # Chunks are summed in the carrier, parts in the format; all of them at once, term by term.
    inner = how.fmt if how.order == "split" else None
    return _running(how.fmt, _running(inner, jnp.moveaxis(terms, 1, 0)))


@running_sum.defjvp
def _running_sum_jvp(
    how: Accumulator, primals: tuple[Array], tangents: tuple[Array]
) -> tuple[Array, Array]:
    return running_sum(how, *primals), jnp.sum(tangents[0], axis=-1)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
@functools.partial(jax.jit, static_argnums=(0, 1))
def running_product(
    subscripts: str, how: Accumulator, x: Float[Array, "..."], y: Float[Array, "..."]
) -> Float[Array, "..."]:
    """Product of two arrays; see ``accumulated_product``.

    Args:
      subscripts: Letters of both operands and of the result.
      how: Format and order of the additions.
      x: float32 or float64.
      y: Of the same dtype.

    Returns:
      Numbers of the format in the dtype of the operands.
    """
    letter, (operands, result) = contracted_axis(subscripts), subscripts.split("->")
    x_axes, y_axes = operands.split(",")
    # The contracted axis first: (n, ...).
    pair = (jnp.moveaxis(x, x_axes.index(letter), 0), jnp.moveaxis(y, y_axes.index(letter), 0))
    x_axes, y_axes = x_axes.replace(letter, ""), y_axes.replace(letter, "")
    one = lambda pair: _outer(x_axes, y_axes, result, *pair)
    if how.order == "pairwise":
        return _counter(how.fmt, one, pair)
    pair = jax.tree.map(lambda operand: _blocks(how, operand), pair)  # (blocks, width, ...)
    if how.order == "split":
        # One sequential sum for each part, all of them term by term: (width, parts, ...).
        pair = jax.tree.map(lambda operand: jnp.moveaxis(operand, 1, 0), pair)
        return _running(how.fmt, _running(how.fmt, pair, jax.vmap(one)))
    if pair[0].shape[1] == 1:
        return _running(how.fmt, pair, lambda pair: one((pair[0][0], pair[1][0])))
    chunk = f"{letter}{x_axes},{letter}{y_axes}->{result}"
    return _running(how.fmt, pair, lambda pair: jnp.einsum(chunk, *pair, precision="highest"))


@running_product.defjvp
def _running_product_jvp(
    subscripts: str, how: Accumulator, primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    product = functools.partial(jnp.einsum, subscripts, precision="highest")
    (x, y), (x_dot, y_dot) = primals, tangents
    return running_product(subscripts, how, x, y), product(x_dot, y) + product(x, y_dot)


def _blocks(how: Accumulator, terms: Array) -> Array:
    """The first axis as blocks of terms (chunks, parts or single terms): (blocks, width, ...)."""
    blocks, width = how.blocks(len(terms))
    return _padded(terms, blocks * width).reshape((blocks, width, *terms.shape[1:]))


def _padded(terms: Array, length: int) -> Array:
    """Zeros after the last of the terms on the first axis: adding them changes nothing."""
    return jnp.pad(terms, [(0, length - len(terms))] + [(0, 0)] * (terms.ndim - 1))


def _rounded(fmt: FloatFormat | None, x: Array) -> Array:
    return x if fmt is None else fmt.round(x)


def _running(fmt: FloatFormat | None, terms: Any, term: Any = lambda one: one) -> Array:  # noqa: ANN401
    """The sequential sum over the first axis of ``term`` of each entry; None is the carrier."""
    one = _entry(term, terms)
    step = lambda total, entry: (_rounded(fmt, total + term(entry)), None)
    total, _ = jax.lax.scan(step, jnp.zeros(one.shape, one.dtype), terms)
    return total


def _entry(term: Any, terms: Any) -> jax.ShapeDtypeStruct:  # noqa: ANN401
    """Shape and dtype of one term."""
    return jax.eval_shape(
        term, jax.tree.map(lambda t: jax.ShapeDtypeStruct(t.shape[1:], t.dtype), terms)
    )


def _tree(fmt: FloatFormat, terms: Array) -> Array:
    """The balanced sum over the first axis: neighbors are added until one is left."""
    terms = _padded(terms, 1 << _levels(len(terms)))
    while len(terms) > 1:
        terms = fmt.round(terms[0::2] + terms[1::2])
    return terms[0]


def _levels(length: int) -> int:
    """Additions between a term and the balanced sum."""
    return max(1, (length - 1).bit_length())


def _counter(fmt: FloatFormat, term: Any, operands: tuple[Array, Array]) -> Array:  # noqa: ANN401
    """The balanced sum of ``term`` of each entry, of which a partial sum a level is kept.

    The number of terms so far is a binary counter: level k has a sum of 2^k terms where its k-th
    bit is set, and a carry adds two of them.
    """
    levels = _levels(len(operands[0]))
    operands = jax.tree.map(lambda one: _padded(one, 1 << levels), operands)
    one = _entry(term, operands)

    def step(kept: Array, counted: tuple[Array, Any]) -> tuple[Array, None]:
        index, entry = counted
        carries = lambda state: (index >> state[0]) & 1 == 1
        carry = lambda state: (state[0] + 1, fmt.round(kept[state[0]] + state[1]))
        level, total = jax.lax.while_loop(carries, carry, (jnp.int32(0), term(entry)))
        return kept.at[level].set(total), None

    kept = jnp.zeros((levels + 1, *one.shape), one.dtype)
    kept, _ = jax.lax.scan(step, kept, (jnp.arange(1 << levels, dtype=jnp.int32), operands))
    return kept[levels]


def _outer(x_axes: str, y_axes: str, result: str, x: Array, y: Array) -> Array:
    """One term of a product: no sum, so a product of floats rather than of matrices."""

    def spread(one: Array, axes: str) -> Array:
        order = sorted(range(len(axes)), key=lambda i: result.index(axes[i]))
        absent = [i for i, letter in enumerate(result) if letter not in axes]
        return jnp.expand_dims(one.transpose(order), absent)

    return spread(x, x_axes) * spread(y, y_axes)
