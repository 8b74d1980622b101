"""Shardings of a decoder's weights over devices, by the name of each: tensor parallelism.

Queries, keys, values, gates and ups are divided by output, head by head or feature by feature;
attention's output and the MLP's down by input, so that a layer's devices exchange two sums, one
after attention and one after the MLP. Embedding and unembedding are divided over the vocabulary.
The layout is that of Shoeybi et al., arXiv 1909.08053, section 3, without their padding.

The trainer (``train.sharding``) divides by shape: each of its devices gathers whole weights at
every step, so that there only an even division of weights and moments counts.
"""

import os
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

from glassesjax.borders import COUNT, border
from glassesjax.errors import BadInput
from glassesjax.memory import cores
from glassesjax.model.config import DecoderConfig, DenseMlp, GatedMlp
from glassesjax.model.decoder import Decoder
from glassesjax.model.weights import flat_parameters
from glassesjax.settings import WHOLE


class Split(NamedTuple):
    """The axis of a weight that is divided, and into how many units that stay whole."""

    axis: int
    """Of the stacked weight, the layers' axis included."""
    units: Callable[[DecoderConfig], int]
    """Heads, features or tokens along it; devices that do not divide their number each hold it
    all."""


def _heads(axis: int) -> Split:
    return Split(axis, lambda config: config.num_heads)


def _kv_heads(axis: int) -> Split:
    return Split(axis, lambda config: config.kv_heads)


def _features(axis: int) -> Split:
    # A linear MLP has no hidden features: its one matrix reads the residual stream.
    deep = lambda config: isinstance(config.mlp, DenseMlp | GatedMlp)
    return Split(axis, lambda config: config.mlp_dim if deep(config) else config.model_dim)


_TOKENS = Split(0, lambda config: config.vocab_size)

# Axes of stacked weights: layers, out, in. None: whole on each device.
RULES: Mapping[str, Split | None] = {
    "embed.table": _TOKENS,
    "embed.positions": None,
    "blocks.norm1.gain": None,
    "blocks.norm1.bias": None,
    "blocks.norm1_after.gain": None,
    "blocks.norm1_after.bias": None,
    "blocks.attention.query": _heads(1),
    "blocks.attention.query_bias": _heads(1),
    "blocks.attention.query_norm.gain": None,  # one for all heads, or for one norm over them
    "blocks.attention.query_norm.bias": None,
    "blocks.attention.key": _kv_heads(1),
    "blocks.attention.key_bias": _kv_heads(1),
    "blocks.attention.key_norm.gain": None,
    "blocks.attention.key_norm.bias": None,
    "blocks.attention.value": _kv_heads(1),
    "blocks.attention.value_bias": _kv_heads(1),
    "blocks.attention.sharpness": _heads(1),
    "blocks.attention.output": _heads(2),
    "blocks.attention.output_bias": None,  # added once, to the sum over devices
    "blocks.norm2.gain": None,
    "blocks.norm2.bias": None,
    "blocks.norm2_after.gain": None,
    "blocks.norm2_after.bias": None,
    "blocks.mlp.gate": _features(1),
    "blocks.mlp.gate_bias": _features(1),
    "blocks.mlp.up": _features(1),
    "blocks.mlp.up_bias": _features(1),
    "blocks.mlp.down": _features(2),
    "blocks.mlp.down_bias": None,
    "final_norm.gain": None,
    "final_norm.bias": None,
    "unembed": _TOKENS,
}
"""How each weight of a decoder is divided, by its name in ``flat_parameters``."""


@border(count=COUNT)
def device_mesh(count: int) -> Mesh:
    """The first devices as a mesh of one axis, for ``open_model`` and ``shard_decoder``.

    Args:
      count: Number of devices.

    Returns:
      A mesh with the axis ``model``.

    Raises:
      BadInput: There are not so many devices.
    """
    devices = jax.devices()
    if count > len(devices):
        there = f"{len(devices)} device{'s' if len(devices) > 1 else ''} here"
        expected = f"Expected at most the {there} for a mesh"
        raise BadInput(f"{expected}, got {count}: use fewer.")
    return Mesh(np.asarray(devices[:count]), ("model",), axis_types=(AxisType.Auto,))


def check_threads(mesh: Mesh) -> None:
    """Raises an error where eigenvalues on several devices of a CPU would not end.

    LAPACK calls of jaxlib 0.10 wait in XLA's pool of threads for work that they put there: with no
    thread more than devices they wait for ever. Threads of OpenBLAS, which several devices call at
    once, keep each other from work.

    Args:
      mesh: Any mesh; other devices than those of a CPU have no such pool.

    Raises:
      BadInput: The environment leaves too few threads to XLA, or several to OpenBLAS.
    """
    count = mesh.devices.size
    if count == 1 or mesh.devices.flat[0].platform != "cpu":
        return
    given, alone = os.environ.get("NPROC", ""), os.environ.get("OPENBLAS_NUM_THREADS", "")
    threads = int(given) if WHOLE.fullmatch(given) else cores()
    if threads <= count or alone != "1":
        expected = f"Expected NPROC over {count} and OPENBLAS_NUM_THREADS=1 for {count} devices"
        got = f"{threads} and {alone or 'none'}"
        remedy = f"set NPROC={2 * count} OPENBLAS_NUM_THREADS=1 in the environment"
        raise BadInput(f"{expected} of a CPU, got {got}: {remedy}.")


def weight_spec(
    name: str, config: DecoderConfig, count: int, axes: tuple[str, ...]
) -> PartitionSpec:
    """Which axis of a weight is divided over devices.

    Args:
      name: As in ``flat_parameters``.
      config: Of the decoder.
      count: Number of devices.
      axes: All axes of their mesh, which together divide one axis of the weight.

    Returns:
      The axis by its rule. Where the devices do not divide the heads, features or tokens of the
      rule, none is: the weight is whole on each, as are keys and values of fewer heads than
      devices, the queries of 9 heads on 4 devices, or a vocabulary of odd size.
    """
    rule = RULES[name]
    if rule is None or rule.units(config) % count:
        return PartitionSpec()
    return PartitionSpec(*[None] * rule.axis, axes)


def weight_sharding(name: str, config: DecoderConfig, mesh: Mesh) -> NamedSharding:
    """Where a weight lies on a mesh, by ``weight_spec``."""
    # Auto: the compiler propagates shardings; they are no part of array types.
    kinds = (AxisType.Auto,) * len(mesh.axis_names)
    auto = Mesh(mesh.devices, mesh.axis_names, axis_types=kinds)
    return NamedSharding(auto, weight_spec(name, config, mesh.devices.size, mesh.axis_names))


def put(array: np.ndarray, sharding: NamedSharding) -> Array:
    """An array of the host on the devices of a mesh, each of which takes its part only."""
    return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])


@border()
def shard_decoder(decoder: Decoder, mesh: Mesh) -> Decoder:
    """Divides the weights of a decoder over devices.

    Every function of the package takes the result as it takes the decoder itself: the compiler
    divides the work along, and adds what the devices have. Sums over a divided axis are then added
    in another order, so that numbers move by rounding.

    Args:
      decoder: Any decoder; weights that lie on another mesh are gathered on this host, one at a
        time.
      mesh: Devices, of ``device_mesh`` or any other mesh; the names of its axes have no effect.

    Returns:
      The same decoder, with its plan.
    """
    leaves = [
        put(np.asarray(weight), weight_sharding(name, decoder.config, mesh))
        for name, weight in flat_parameters(decoder).items()
    ]
    # Of the given one, whose plan its structure has.
    return jax.tree.unflatten(jax.tree.structure(decoder), leaves)
