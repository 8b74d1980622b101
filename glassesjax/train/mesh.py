"""Device meshes, and training states sharded over them, which shards ``train_steps``.

States of different seeds are sharded over ``seed``. One model's batch is sharded over ``data``
and ``model`` together; its large arrays, with the optimizer's moments of them, are sharded over
``model`` (fully sharded) and replicated over ``data``.
"""

import math

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jaxtyping import Array

from glassesjax import draws
from glassesjax.borders import border
from glassesjax.errors import BadInput
from glassesjax.model.sharding import put
from glassesjax.train.config import AXES, TrainConfig, check_mesh
from glassesjax.train.sharding import partition_spec
from glassesjax.train.step import TrainState


@border()
def make_mesh(*, seed: int = 1, data: int = 1, model: int = 1) -> Mesh:
    """A device mesh for ``shard`` and ``train_steps``.

    Args:
      seed: Size of the axis that shards the seeds.
      data: Size of the axis that shards each batch and replicates the weights.
      model: Size of the axis that shards both batch and weights.

    Returns:
      The mesh, of the first devices if a single process has more.

    Raises:
      BadInput: A size below 1, more devices than there are, or fewer with several processes, one
        of which would be idle.
    """
    sizes, devices = (seed, data, model), jax.devices()
    shape, count = f"{seed} x {data} x {model}", math.prod(sizes)
    if min(sizes) < 1:
        raise BadInput(f"Expected positive sizes of a mesh, got {shape}: use 1 or more.")
    if count > len(devices):
        raise BadInput(f"Expected a mesh of at most {len(devices)} devices, got {shape}: use less.")
    if jax.process_count() > 1 and count < len(devices):
        every = f"all {len(devices)} devices of {jax.process_count()} processes"
        raise BadInput(f"Expected a mesh of {every}, got {shape}: use all devices.")
    # Auto: the compiler propagates shardings; they are no part of array types.
    return jax.make_mesh(sizes, AXES, (AxisType.Auto,) * 3, devices=devices[:count])


@border()
def shard(states: TrainState, mesh: Mesh, training: TrainConfig) -> TrainState:
    """Shards training states over a mesh; call ``train_steps`` on them with the same mesh.

    Args:
      states: Stacked; the same in every process.
      mesh: A mesh of ``make_mesh``.
      training: Settings of the training.

    Returns:
      The same states, in new buffers.

    Raises:
      BadInput: The seeds, or the parts of a batch, are not divisible over the mesh.
    """
    check_mesh(mesh.shape, len(states.step), training)
    return jax.tree.map(
        lambda x: _put(x, NamedSharding(mesh, partition_spec(x.shape, mesh.shape))), states
    )


def _put(leaf: Array | np.ndarray, sharding: NamedSharding) -> Array:
    if isinstance(leaf, jax.Array) and draws.is_key(leaf):
        return draws.wrap(_put(draws.numbers(leaf), sharding), draws.implementation(leaf))
    return put(np.asarray(leaf), sharding)
