"""Layers that read narrow weights one at a time, whatever the backend: stacked, or in a row."""

import functools
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from glassesjax.model.layers import Rounding


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
    count = len(jax.tree.leaves(layers)[0])
    stop = count if stop is None else stop
    runs = [(max(a, start), min(b, stop), own) for a, b, own in runs_of_plans(layers, count)]
    if len(runs) > 1:  # one at least: no layers are a scan, too
        runs = [run for run in runs if run[0] < run[1]] or runs[:1]
    if len(runs) == 1:
        [(start, stop, layers)] = runs
        return _scan(step, carry, layers, start, max(start, stop), reverse)
    # Each plan is another program: a scan for each run of layers that have the same.
    parts = []
    for first, last, own in runs[::-1] if reverse else runs:
        carry, part = _scan(step, carry, own, first, last, reverse)
        parts.append(part)
    parts = parts[::-1] if reverse else parts
    return carry, jax.tree.map(lambda *each: jnp.concatenate(each), *parts)


def runs_of_plans(layers: Any, count: int) -> list[tuple[int, int, Any]]:  # noqa: ANN401
    """Runs of neighboring layers with the same rounding plan.

    Args:
      layers: Stacked layers, or any pytree with them in it.
      count: Number of layers.

    Returns:
      First layer, the layer after the last, and ``layers`` under the plan of the run; all layers
      as they are where their plan does not differ by layer.
    """
    parts = [part for part in jax.tree.leaves(layers, is_leaf=_is_part) if _is_part(part)]
    plans = {part.own_plan for part in parts if part.own_plan is not None and part.own_plan.layers}
    if not plans:
        return [(0, count, layers)]
    [plan] = plans
    runs = [list(run) for _, run in itertools.groupby(range(count), lambda i: plan.layers[i])]
    return [(run[0], run[-1] + 1, layer_of_plan(layers, run[0])) for run in runs]


def layer_of_plan(layers: Any, index: int) -> Any:  # noqa: ANN401
    """Layers under the plan of one of them, where their plan differs by layer.

    Args:
      layers: A layer, stacked layers, or any pytree with them in it.
      index: The layer whose plan it is.

    Returns:
      The same weights, in modules of their own.
    """

    def own(node: Any) -> Any:  # noqa: ANN401
        if not _is_part(node) or node.own_plan is None or not node.own_plan.layers:
            return node
        copy = jax.tree.map(lambda leaf: leaf, node)  # new modules, the same weights
        copy.follow(copy.own_plan.in_layer(index))
        return copy

    return jax.tree.map(own, layers, is_leaf=_is_part)


def _is_part(node: Any) -> bool:  # noqa: ANN401
    return isinstance(node, Rounding)


def _scan(
    step: Callable[[Any, Any], tuple[Any, Any]],
    carry: Any,  # noqa: ANN401
    layers: Any,  # noqa: ANN401
    start: int,
    stop: int,
    reverse: bool,
) -> tuple[Any, Any]:
    """``scan_layers`` over layers of one plan."""
    leaves, tree = jax.tree.flatten(layers)
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
