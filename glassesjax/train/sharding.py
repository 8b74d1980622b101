"""Where arrays of training lie on a mesh; without a mesh nothing here does anything.

Two things are told to the compiler: that gradients are sums over each device's own rows, and where
the learners lie that ``learn`` returns. It divides the rest, which is the optimizer, by them.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from glassesjax.train.recipe import ROWS

LEAST = 1024  # numbers of an array that is divided: a smaller one would save no memory to speak of


def lies(shape: tuple[int, ...], ways: Mapping[str, int]) -> PartitionSpec:
    """How an array of stacked learners lies: its longest axis that can be divided is.

    Args:
      shape: Of the array, its leading axis that of seeds.
      ways: Sizes of the mesh's axes.

    Returns:
      Its sharding over the mesh. Axes of one device are not named, as the compiler does not name
      them: one that came back under another name would be another type to ``jax.jit``.
    """
    spec: list[str | None] = ["seed" if ways["seed"] > 1 else None] + [None] * (len(shape) - 1)
    fits = [axis for axis in range(1, len(shape)) if shape[axis] % ways["model"] == 0]
    if ways["model"] > 1 and math.prod(shape[1:]) >= LEAST and fits:
        spec[max(fits, key=lambda axis: shape[axis])] = "model"
    while spec and spec[-1] is None:
        spec.pop()
    return PartitionSpec(*spec)


def in_place(learners: Any, mesh: Mesh | None) -> Any:  # noqa: ANN401
    """Learners that leave a compiled function as they lay when they came.

    Args:
      learners: Stacked, while they are traced.
      mesh: Over which they lie, if over any.

    Returns:
      The same.
    """
    if mesh is None:
        return learners
    where = lambda leaf: NamedSharding(mesh, lies(leaf.shape, mesh.shape))
    return jax.tree.map(lambda x: jax.lax.with_sharding_constraint(x, where(x)), learners)


def divided(
    sums: Callable[[Any, Any], Any],
    decoder: Any,  # noqa: ANN401
    rows: Any,  # noqa: ANN401
    mesh: Mesh | None,
) -> Any:  # noqa: ANN401
    """Sums over a batch: each device takes its own rows, with whole weights; then they are added.

    Left to itself the compiler would divide the residual stream, too, and send it around in every
    layer.

    Args:
      sums: Of a decoder and some rows.
      decoder: Weights of one learner, gathered here where they are divided.
      rows: Arrays with a leading axis of rows.
      mesh: Over which the rows are divided, if over any.

    Returns:
      The sums over all rows.
    """
    among = tuple(axis for axis in ROWS if mesh is not None and mesh.shape[axis] > 1)
    if not among:
        return sums(decoder, rows)
    own = lambda decoder, rows: jax.lax.psum(sums(decoder, rows), among)
    mapped = jax.shard_map(
        own,
        mesh=mesh,
        in_specs=(PartitionSpec(), PartitionSpec(among)),
        out_specs=PartitionSpec(),
        axis_names=set(among),
        check_vma=False,  # gradients are of the own rows, and added by hand: nothing varies
    )
    return mapped(decoder, rows)
