"""Reads weights a layer at a time from mapped files into arrays that are allocated once."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array

from glassesjax.errors import BadInput, brief
from glassesjax.model.placing import TABLE, Container, Placed, layer_name, layers_of
from glassesjax.model.sharding import put, weight_sharding
from glassesjax.model.weights import parameter_shapes

ALIGNMENT = 64  # bytes; JAX takes such an array of NumPy as its own on a CPU, without a copy
BLOCK = 1 << 21  # numbers that are converted and checked at a time


class Rows(NamedTuple):
    """A tensor of a file, its rows as they are stored: a view of the mapped file."""

    array: np.ndarray
    """Numbers; or bytes, (..., bytes of a row), where they are packed in another way."""
    unpack: Callable[[np.ndarray], np.ndarray] | None = None
    """From packed rows to rows of numbers."""

    @property
    def numbers(self) -> np.ndarray:
        """The whole tensor as numbers."""
        if self.unpack is None:
            return self.array
        flat = self.array.reshape(-1, self.array.shape[-1])
        first = self.unpack(flat[:1])
        whole = np.empty((len(flat), first.shape[-1]), first.dtype)
        rows = max(1, BLOCK // first.size)
        for start in range(0, len(flat), rows):
            whole[start : start + rows] = self.unpack(flat[start : start + rows])
        return whole.reshape(*self.array.shape[:-1], -1)


Read = Callable[[str], Rows]


def read_arrays(
    container: Container, placed: Placed, read: Read, dtype: np.dtype, mesh: Mesh | None
) -> dict[str, Array]:
    """The weights of a container under our names, stacked over layers.

    One stacked array is filled at a time, and the file's pages are not copied elsewhere.

    Args:
      container: Its headers.
      placed: Where each weight lies.
      read: Function that gives a tensor by its name in the file.
      dtype: Of the arrays.
      mesh: Devices that share the weights by ``weight_sharding``; None for the default device.

    Raises:
      BadInput: A weight is not finite, also after rounding, or an unembedding that a tied model
        repeats is not its table.
    """
    where = container.folder
    if placed.repeated is not None:
        table = read(placed.sources[TABLE].names[0]).numbers
        again = read(placed.repeated).numbers
        _check_repeated(f"{brief(placed.repeated)} in {where}", table, again)
    arrays = {}
    for ours, shape in parameter_shapes(placed.config).items():
        buffer = aligned(shape, dtype)
        if ours in placed.zeros:
            buffer[...] = 0
        else:
            source = placed.sources[ours]
            layers = layers_of(ours, placed.config)
            for layer in layers:
                names = [layer_name(name, layer) for name in source.names]
                files = [read(name) for name in names]
                # Rows are put in order as they are stored; arithmetic needs numbers.
                unpack = None if source.layout.computes else files[0].unpack
                parts = [file.numbers if unpack is None else file.array for file in files]
                values = source.layout.take(parts, placed.config, layer)
                into = buffer[layer] if len(layers) > 1 or ours.startswith("blocks.") else buffer
                _fill(into, values, unpack, f"{names[0]} of {where}")
        if mesh is None:
            arrays[ours] = jax.device_put(buffer)
        else:
            arrays[ours] = put(buffer, weight_sharding(ours, placed.config, mesh))
        del buffer
    return arrays


def aligned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An uninitialised array whose first byte is aligned for JAX."""
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    raw = np.empty(size + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + size].view(dtype).reshape(shape)


def _fill(
    into: np.ndarray,
    values: np.ndarray,
    unpack: Callable[[np.ndarray], np.ndarray] | None,
    name: str,
) -> None:
    """Copies values into an array of as many numbers, some rows at a time, converted."""
    into = into.reshape(values.shape if unpack is None else (*values.shape[:-1], -1))
    rows = max(1, BLOCK // max(1, int(np.prod(into.shape[1:], dtype=np.int64))))
    for start in range(0, len(values), rows):
        part, given = into[start : start + rows], values[start : start + rows]
        given = given if unpack is None else unpack(given)
        with np.errstate(over="ignore", invalid="ignore"):
            part[...] = given
        if not _finite(part):
            if _finite(np.ascontiguousarray(given)):
                got = f"one of {name} beyond its range"
                raise BadInput(f"Expected weights in {into.dtype.name}, got {got}: choose another.")
            raise BadInput(f"Expected finite weights, got NaN or infinity in {name}: use another.")


def _finite(array: np.ndarray) -> bool:
    if array.dtype.itemsize != 2:
        return bool(np.isfinite(array).all())
    # An exponent of ones alone; on integers, which is faster than on 16-bit floats.
    mask = np.uint16(0x7C00 if array.dtype == np.float16 else 0x7F80)
    return not bool(((array.view(np.uint16) & mask) == mask).any())


def _check_repeated(name: str, table: np.ndarray, again: np.ndarray) -> None:
    rows = max(1, BLOCK // max(1, table.shape[-1]))
    for start in range(0, len(table), rows):
        part = slice(start, start + rows)
        if not np.array_equal(table[part], again[part]):
            expected = "Expected the table of embeddings as the unembedding of a tied model"
            raise BadInput(f"{expected}, got another {name}: use another model.")
