"""Layouts of weights in files, each as one function of the part that it is."""

import math
from collections.abc import Sequence

import numpy as np

from glassesjax.model.by_layer import PositionsByLayer
from glassesjax.model.config import DecoderConfig, Positions, Rotary
from glassesjax.model.families.family import PLAIN, Layout, Shape

Part = int
QUERY, KEY, VALUE = 0, 1, 2


def transposed() -> Layout:
    """Matrices [in, out], as GPT-2's ``Conv1D`` has them; vectors are as they are."""
    return Layout(
        shapes=lambda shape, config: (shape[::-1],), take=lambda files, config, layer: files[0].T
    )


def _widths(config: DecoderConfig) -> tuple[int, int, int]:
    keys = config.kv_heads * config.key_dim
    return config.num_heads * config.key_dim, keys, keys


def stacked_rows(part: Part, count: int | None = None, *, conv: bool = False) -> Layout:
    """Queries, keys and values below one another; or ``count`` equal parts of that many rows.

    Args:
      part: Which of them.
      count: Number of equal parts; None for queries, keys and values.
      conv: Whether matrices are [in, out].
    """

    def rows(shape: Shape, config: DecoderConfig) -> Sequence[int]:
        return _widths(config) if count is None else [shape[0]] * count

    def shapes(shape: Shape, config: DecoderConfig) -> tuple[Shape, ...]:
        whole = (sum(rows(shape, config)), *shape[1:])
        return (whole[::-1] if conv else whole,)

    def take(files: list[np.ndarray], config: DecoderConfig, layer: int) -> np.ndarray:
        whole = files[0].T if conv else files[0]
        each = _widths(config) if count is None else [len(whole) // count] * count
        return whole[sum(each[:part]) : sum(each[: part + 1])]

    return Layout(shapes=shapes, take=take)


def grouped(part: Part) -> Layout:
    """Heads that share keys together: their queries, one key, one value (NeoX, BLOOM, Falcon)."""

    def shapes(shape: Shape, config: DecoderConfig) -> tuple[Shape, ...]:
        return ((sum(_widths(config)), *shape[1:]),)

    def take(files: list[np.ndarray], config: DecoderConfig, layer: int) -> np.ndarray:
        (array,) = files
        # (rows, ...) -> (kv_heads, queries + 2, head_dim, ...)
        group = config.num_heads // config.kv_heads + 2
        split = array.reshape(config.kv_heads, group, config.key_dim, *array.shape[1:])
        return split[:, (slice(None, -2), -2, -1)[part]]

    return Layout(shapes=shapes, take=take)


def neighbors() -> Layout:
    """Rows of each head in pairs that rotate together, one row behind the other (GGUF of LLaMA)."""

    def take(files: list[np.ndarray], config: DecoderConfig, layer: int) -> np.ndarray:
        (array,) = files
        width = config.key_dim
        one = first_rotary(config.positions)
        rotated = 0 if one is None else one.rotated_dim(width)
        # Row 2 i + p of a head goes to p rotated / 2 + i.
        order = [*range(0, rotated, 2), *range(1, rotated, 2), *range(rotated, width)]
        rows = np.arange(len(array)).reshape(-1, width)[:, order]
        return array[rows.reshape(-1)]

    return Layout(shapes=PLAIN.shapes, take=take)


def first_rotary(positions: Positions) -> Rotary | None:
    """The rotary positions of a decoder, also where some of its layers do not rotate."""
    layers = positions.layers if isinstance(positions, PositionsByLayer) else (positions,)
    return next((each for each in layers if isinstance(each, Rotary)), None)


def without_rows(count: int) -> Layout:
    """All rows but the first few (OPT's positions begin at 2)."""
    return Layout(
        shapes=lambda shape, config: ((shape[0] + count, *shape[1:]),),
        take=lambda files, config, layer: files[0][count:],
    )


def divided_by_layer(layout: Layout) -> Layout:
    """The same, divided by the layer's number from 1 (GPT-2's scale by layer)."""

    def take(files: list[np.ndarray], config: DecoderConfig, layer: int) -> np.ndarray:
        with np.errstate(all="ignore"):  # of weights that are not finite, which are refused later
            return layout.take(files, config, layer).astype(np.float64) / (layer + 1)

    return Layout(shapes=layout.shapes, take=take, computes=True)


def normed_rows(eps: float) -> Layout:
    """A table whose rows went through a LayerNorm: the table, its gain and its bias (BLOOM)."""

    def shapes(shape: Shape, config: DecoderConfig) -> tuple[Shape, ...]:
        return shape, shape[1:], shape[1:]

    def take(files: list[np.ndarray], config: DecoderConfig, layer: int) -> np.ndarray:
        table, gain, bias = files
        normed = np.empty(table.shape, np.float32)
        block = max(1, 2**20 // math.prod(table.shape[1:]))  # rows in float64 at a time
        with np.errstate(all="ignore"):  # weights that are not finite are refused once they are
            gain, bias = gain.astype(np.float64), bias.astype(np.float64)
            for start in range(0, len(table), block):
                rows = table[start : start + block].astype(np.float64)
                rows -= rows.mean(axis=-1, keepdims=True)
                rows /= np.sqrt((rows**2).mean(axis=-1, keepdims=True) + eps)
                normed[start : start + block] = rows * gain + bias
        return normed

    return Layout(shapes=shapes, take=take, computes=True)
