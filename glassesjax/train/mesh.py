"""Many devices: a mesh, and learners placed on it. Placing decides how ``learn`` is divided.

Learners of different seeds lie along ``seed``. One model's batch is divided over ``data`` and
``model`` together; its large arrays, with the optimizer's moments of them, are divided over
``model`` (fully sharded) and repeated over ``data``.
"""

import math

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jaxtyping import Array

from glassesjax import draws
from glassesjax.borders import border
from glassesjax.errors import BadInput
from glassesjax.train.recipe import AXES, Recipe, check_mesh
from glassesjax.train.sharding import lies
from glassesjax.train.step import Learner


@border()
def make_mesh(*, seed: int = 1, data: int = 1, model: int = 1) -> Mesh:
    """Devices in a grid, for ``place`` and ``learn``.

    Args:
      seed: Groups of devices that share the seeds out.
      data: Groups within these that share each batch out and hold whole models.
      model: Devices within these that share batch and weights out.

    Returns:
      The mesh; it takes the first devices where a single process has more.

    Raises:
      BadInput: A size below 1, more than there are devices, or fewer where there are several
        processes, one of which would then have nothing to do.
    """
    sizes, devices = (seed, data, model), jax.devices()
    found, wanted = f"{seed} x {data} x {model}", math.prod(sizes)
    if min(sizes) < 1:
        raise BadInput(f"Expected a mesh of 1 or more along each axis, got {found}.")
    if wanted > len(devices):
        raise BadInput(f"Expected a mesh of at most {len(devices)} devices, got {found}: use less.")
    if jax.process_count() > 1 and wanted < len(devices):
        every = f"all {len(devices)} devices of {jax.process_count()} processes"
        raise BadInput(f"Expected a mesh of {every}, got {found}.")
    # Auto: the compiler divides what is not told; no sharding stands in the types of arrays.
    return jax.make_mesh(sizes, AXES, (AxisType.Auto,) * 3, devices=devices[:wanted])


@border()
def place(learners: Learner, mesh: Mesh, recipe: Recipe) -> Learner:
    """Learners on the devices of a mesh; call ``learn`` on them with the same mesh.

    Args:
      learners: Stacked; the same in every process.
      mesh: Of ``make_mesh``.
      recipe: How they will be trained.

    Returns:
      The same learners, in memory of their own.

    Raises:
      BadInput: The mesh does not divide the seeds, or the parts of a batch.
    """
    check_mesh(mesh.shape, len(learners.step), recipe)
    return jax.tree.map(lambda x: _put(x, NamedSharding(mesh, lies(x.shape, mesh.shape))), learners)


def _put(leaf: Array | np.ndarray, sharding: NamedSharding) -> Array:
    if isinstance(leaf, jax.Array) and draws.is_key(leaf):
        return draws.wrap(_put(draws.numbers(leaf), sharding), draws.implementation(leaf))
    host = np.asarray(leaf)
    return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])
