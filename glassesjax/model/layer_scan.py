"""Layers that read narrow weights one at a time, whatever the backend: stacked, or in a row."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array


def scan_layers(
    step: Callable[[Any, Any], tuple[Any, Any]],
    carry: Any,  # noqa: ANN401  (any pytree, as of jax.lax.scan)
    layers: Any,  # noqa: ANN401
    *,
    start: int = 0,
    stop: int | None = None,
    reverse: bool = False,
) -> tuple[Any, Any]:
    """``jax.lax.scan`` over layers, or over some of them, with its values and derivatives.

    Memory is that of one widened layer. XLA for CPU has no slices of 16-bit numbers: of the scan it
    would make one over a stack that it has widened as a whole. Of some layers it would copy them
    first, on every backend.

    Args:
      step: As of ``jax.lax.scan``.
      carry: Its first argument at the first layer that runs.
      layers: Any pytree whose leaves have a leading axis of layers.
      start: First layer, from 0.
      stop: The layer after the last; all if absent.
      reverse: Begins with the last layer.

    Returns:
      The last carry, and what the steps return, stacked in the order of the layers.
    """
    leaves, tree = jax.tree.flatten(layers)
    stop = len(leaves[0]) if stop is None else stop
    whole = stop - start == len(leaves[0])
    # The scan's own slices of these are not computed unless something is differentiated: a
    # derivative of the stack itself would be added up at its full size in each layer.
    stacks = [
        None if whole and not _narrow(leaf) else jax.lax.stop_gradient(leaf) for leaf in leaves
    ]

    def read(carry: Any, at: tuple[Array, list[Array]]) -> tuple[Any, Any]:  # noqa: ANN401
        number, slices = at
        # Tied to the number of the layer, so that no conversion of the stack moves out of the loop.
        number, inside = jax.lax.optimization_barrier((number, stacks))
        layer = lambda stack: jax.lax.dynamic_index_in_dim(stack, number, keepdims=False)
        own = [
            each if stack is None else _same(each, layer(stack))
            for each, stack in zip(slices, inside, strict=True)
        ]
        return step(carry, jax.tree.unflatten(tree, own))

    numbers = jnp.arange(start, stop, dtype=jnp.int32)
    every = numbers, [leaf[start:stop] for leaf in leaves]
    return jax.lax.scan(read, carry, every, reverse=reverse)


def map_layers(function: Callable[[Any], Any], layers: Any) -> Any:  # noqa: ANN401
    """``jax.lax.map`` over layers, read as ``scan_layers`` reads them.

    Args:
      function: Of one layer.
      layers: Any pytree whose leaves have a leading axis of layers.

    Returns:
      What it returns, stacked.
    """
    return scan_layers(lambda carry, layer: (carry, function(layer)), None, layers)[1]


def run_layer(
    step: Callable[[Any, Any], tuple[Any, Any]],
    carry: Any,  # noqa: ANN401
    layer: Any,  # noqa: ANN401
) -> tuple[Any, Any]:
    """``step(carry, layer)``, with its values and derivatives, for one layer of a row of them.

    Memory is that of one widened layer. XLA for CPU widens 16-bit weights before a product, and has
    no order for steps that do not depend on each other: it would widen those of all layers first.

    Args:
      step: A function of the carry and the layer, which closes over no traced value.
      carry: Any pytree of arrays.
      layer: The weights.

    Returns:
      The next carry, of the same shapes and types, and what else the step returns.
    """
    if not any(map(_narrow, jax.tree.leaves(layer))):
        return step(carry, layer)
    # A loop elsewhere would make the host of an accelerator wait for the number of its turns.
    looped, plain = functools.partial(_looped, step), step
    return jax.lax.platform_dependent(carry, layer, cpu=looped, default=plain)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _looped(step: Callable[[Any, Any], tuple[Any, Any]], carry: Any, layer: Any) -> Any:  # noqa: ANN401
    # A loop of one turn, which XLA does not know to be one: it takes no step of it out or apart.
    once = jax.lax.optimization_barrier(jnp.asarray(1, jnp.int32))
    more = jax.eval_shape(step, carry, layer)[1]
    more = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), more)

    def turn(number: Array, values: tuple[Any, Any]) -> tuple[Any, Any]:
        _, inside = jax.lax.optimization_barrier((number, layer))
        return step(values[0], inside)

    return jax.lax.fori_loop(0, once, turn, (carry, more))


@_looped.defjvp
def _looped_slope(
    step: Callable[[Any, Any], tuple[Any, Any]], primals: tuple[Any, Any], tangents: tuple[Any, Any]
) -> tuple[Any, Any]:
    """That of the step itself: a loop of unknown length has no reverse derivative."""
    return jax.jvp(step, primals, tangents)


def _narrow(leaf: Array) -> bool:
    return jnp.issubdtype(leaf.dtype, jnp.floating) and leaf.dtype.itemsize < 4


@jax.custom_jvp
def _same(layer: Array, read: Array) -> Array:
    """The layer as read; its derivative is that of the scan's slice, which has the same values."""
    return read


@_same.defjvp
def _same_slope(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    return primals[1], tangents[0]
