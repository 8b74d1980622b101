"""Shardings of the arrays of training over a mesh; without a mesh all functions are no-ops.

Two shardings are explicit: gradients are sums over each device's rows (``shard_map``), and the
states that ``train_steps`` returns have a constraint. The compiler propagates these to the
optimizer.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from glassesjax.train.config import ROWS

LEAST = 1024  # least size of a sharded array: smaller ones would save little memory


def partition_spec(shape: tuple[int, ...], ways: Mapping[str, int]) -> PartitionSpec:
    """Sharding of an array of stacked training states: its longest divisible axis is sharded.

    Args:
      shape: Shape of the array; the leading axis is that of seeds.
      ways: Sizes of the mesh axes.

    Returns:
      The sharding. Mesh axes of size one are omitted, as the compiler omits them; a different
      spec would make ``jax.jit`` compile again.
    """
    spec: list[str | None] = ["seed" if ways["seed"] > 1 else None] + [None] * (len(shape) - 1)
    fits = [axis for axis in range(1, len(shape)) if shape[axis] % ways["model"] == 0]
    if ways["model"] > 1 and math.prod(shape[1:]) >= LEAST and fits:
        spec[max(fits, key=lambda axis: shape[axis])] = "model"
    while spec and spec[-1] is None:
        spec.pop()
    return PartitionSpec(*spec)


def constrained(states: Any, mesh: Mesh | None) -> Any:  # noqa: ANN401
    """Constrains training states in a compiled function to their sharding on entry.

    Args:
      states: Stacked, traced.
      mesh: The one over which they are sharded, if any.

    Returns:
      The same.
    """
    if mesh is None:
        return states
    where = lambda leaf: NamedSharding(mesh, partition_spec(leaf.shape, mesh.shape))
    return jax.tree.map(lambda x: jax.lax.with_sharding_constraint(x, where(x)), states)


def summed_over_devices(
    sums: Callable[[Any, Any], Any],
    decoder: Any,  # noqa: ANN401
    rows: Any,  # noqa: ANN401
    mesh: Mesh | None,
) -> Any:  # noqa: ANN401
    """Sums over a batch: each device computes its rows with full weights, followed by a ``psum``.

    Without ``shard_map`` the compiler would shard the residual stream too, and communicate it in
    every layer.

    Args:
      sums: Function of a decoder and some rows.
      decoder: Weights of one model, gathered here if they are sharded.
      rows: Arrays with a leading axis of rows.
      mesh: The one over which the rows are divided, if any.

    Returns:
      The sums over all rows.
    """
    among = tuple(axis for axis in ROWS if mesh is not None and mesh.shape[axis] > 1)
    if not among:
        return sums(decoder, rows)
    local = lambda decoder, rows: jax.lax.psum(sums(decoder, rows), among)
    mapped = jax.shard_map(
        local,
        mesh=mesh,
        in_specs=(PartitionSpec(), PartitionSpec(among)),
        out_specs=PartitionSpec(),
        axis_names=set(among),
        check_vma=False,  # gradients are of the local rows, and summed by the psum above
    )
    return mapped(decoder, rows)
