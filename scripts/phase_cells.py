"""Errors of a head's mean in low precision, by what is stored when and how it is added up."""

import functools
import itertools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from glassesjax.precision import Accumulator, FloatFormat, float_format
from glassesjax.theory.storage import running_limit, silent_length


class Store(NamedTuple):
    """How weights are stored: times a factor, in a format."""

    name: str
    fmt: FloatFormat
    scale: float = 1.0

    def round(self, weights: jax.Array) -> jax.Array:
        """The stored weights, divided by the factor, a power of two, again."""
        return self.fmt.round(weights * self.scale) / self.scale


STORES = (
    *(Store(f"e8m{bits}", float_format(f"e8m{bits}")) for bits in range(2, 11)),
    Store("e5m2", float_format("e5m2")),
    Store("e4m3fn", float_format("e4m3fn")),
    Store("e4m3fn*256", float_format("e4m3fn"), 256.0),
)
STORE = STORES[5]  # in bf16's bits, while running sums are compared
ORDERS = ("normalized", "fused")
SUMS = tuple(float_format(f"e8m{bits}") for bits in (7, 10, 13, 23))
CHUNKS = (1, 64, 512)
AXES = ("store", "order", "sum", "chunk")
LENGTHS = tuple(round(2 ** (k / 2)) for k in range(8, 41))
"""Two an octave from 2^4 to 2^20; every second one is no power of two."""
SEGMENT = 2048  # terms that are rounded at a time: a multiple of all chunks
LANES = 2**13  # running sums side by side, so that they stay in the processor's cache


def mean_errors(logits: np.ndarray, values: np.ndarray | None = None) -> np.ndarray:
    """Relative errors of the mean of each row's values under its softmax, in every cell.

    Weights are ``softmax(logits)`` (normalized) or ``exp(logits - max)`` (fused), stored, times the
    values, and added up; the fused sum is divided by the exact sum of the weights before they were
    stored, which kernels keep in float32.

    Args:
      logits: (rows, n).
      values: (rows, n), or (rows, n, dim): the error is then that of the vector, in L2. Ones if
        absent, for which the mean is the row's total weight.

    Returns:
      (rows, stores, orders, sums, chunks).
    """
    values = np.ones_like(logits) if values is None else values
    values = values if values.ndim == 3 else values[..., None]
    rows = max(1, LANES // (len(STORES) * len(ORDERS) * len(SUMS) * values.shape[2]))
    with jax.enable_x64(True):
        parts = [
            _errors(*(one[i : i + rows].astype(np.float64) for one in (logits, values)))
            for i in range(0, len(logits), rows)
        ]
    return np.concatenate(parts)


def _errors(logits: np.ndarray, values: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    total = weights.sum(axis=1)
    exact = np.einsum("rn,rnd->rd", weights, values) / total[:, None]
    running = jnp.zeros((len(CHUNKS), len(SUMS), len(ORDERS), len(STORES), *exact.shape))
    for start in range(0, logits.shape[1], SEGMENT):
        # (rows, terms, ...) -> (terms, rows, ...); zeros after the last change no sum.
        cut = [one[:, start : start + SEGMENT].swapaxes(0, 1) for one in (weights, values)]
        after = [(0, SEGMENT - len(cut[0]))]
        padded = [np.pad(one, after + [(0, 0)] * (one.ndim - 1)) for one in cut]
        running = _segment(running, *padded, total)
    means = np.array(running)
    means[:, :, ORDERS.index("fused")] /= total[:, None]
    errors = np.linalg.norm(means - exact, axis=-1) / np.linalg.norm(exact, axis=-1)
    return np.transpose(errors, (4, 3, 2, 1, 0))


@jax.jit
def _segment(
    running: jax.Array, weights: jax.Array, values: jax.Array, total: jax.Array
) -> jax.Array:
    """The running sums after one more segment; each chunk is summed in float64."""
    orders = (weights / total[None], weights)
    stored = [[store.round(one) for store in STORES] for one in orders]
    # (orders, stores, terms, rows) -> (terms, orders, stores, rows, dim)
    terms = jnp.moveaxis(jnp.stack([jnp.stack(one) for one in stored]), 2, 0)[..., None]
    terms = terms * values[:, None, None]
    after = []
    for chunk, sums in zip(CHUNKS, running, strict=True):
        chunks = terms.reshape(-1, chunk, *terms.shape[1:]).sum(axis=1)
        after.append(jax.lax.scan(_step, sums, chunks)[0])
    return jnp.stack(after)


def _step(sums: jax.Array, chunk: jax.Array) -> tuple[jax.Array, None]:
    return jnp.stack([fmt.round(one + chunk) for fmt, one in zip(SUMS, sums, strict=True)]), None


def border(store: Store, order: str, fmt: FloatFormat, chunk: int) -> tuple[float, float]:
    """Lengths from which the store of a row, and its sum, are predicted to fail.

    Args:
      store: How weights are stored.
      order: One of ``ORDERS``.
      fmt: The format of the running sum.
      chunk: Terms that are summed exactly.

    Returns:
      Of equal weights: where all are zero, and where the sum stops. The same is predicted for
      rows that are spread.
    """
    fails = math.inf if order == "fused" else float(silent_length(store.fmt, store.scale))
    return fails, float(running_limit(1, Accumulator(fmt, "chunked", chunk)))


def cells() -> list[tuple[int, ...]]:
    """The index of every cell, in the order of ``AXES``."""
    return list(itertools.product(*(range(len(a)) for a in (STORES, ORDERS, SUMS, CHUNKS))))


def expected_sum(terms: np.ndarray, fmt: FloatFormat, chunk: int) -> float:
    """The sum that a running sum of terms in random order is expected to reach.

    From a sum s, a number of the format, ``round(s + t) - s`` is the multiple of the spacing at s
    that is nearest to t. So each binade is crossed at a known mean speed, and slower than the one
    before; only ties and the order of the terms are left out.

    Args:
      terms: (n,), non-negative.
      fmt: The format of the running sum.
      chunk: Terms that are summed exactly.

    Returns:
      The sum after all terms.
    """
    padded = np.pad(terms, (0, -len(terms) % chunk))
    chunks = padded.reshape(-1, chunk).sum(axis=1)
    left, total = float(len(chunks)), 0.0
    exponent = math.floor(math.log2(max(np.mean(chunks), 1e-300)))
    while left > 0:
        spacing = 2.0 ** (exponent - fmt.mantissa_bits)
        speed = float(np.mean(np.round(chunks / spacing))) * spacing
        if speed == 0:
            break
        steps = min(left, (2.0 ** (exponent + 1) - total) / speed)
        left, total, exponent = left - steps, total + steps * speed, exponent + 1
    return total


def expected_errors(store: Store, logits: np.ndarray) -> np.ndarray:
    """Relative errors of the fused mean of ones by ``expected_sum``: (sums, chunks)."""
    weights = np.exp(logits - logits.max())
    with jax.enable_x64(True):
        terms = np.asarray(store.round(jnp.asarray(weights)))
    total = weights.sum()
    means = [[expected_sum(terms, fmt, chunk) / total for chunk in CHUNKS] for fmt in SUMS]
    return np.abs(np.array(means) - 1)


@functools.cache
def borders() -> np.ndarray:
    """The two predicted lengths of every cell: (stores, orders, sums, chunks, 2)."""
    shape = (len(STORES), len(ORDERS), len(SUMS), len(CHUNKS), 2)
    found = np.empty(shape)
    for i, j, k, c in cells():
        found[i, j, k, c] = border(STORES[i], ORDERS[j], SUMS[k], CHUNKS[c])
    return found


def crossing(lengths: np.ndarray, errors: np.ndarray, level: float) -> np.ndarray:
    """The length from which on every measured error is at least a level.

    Args:
      lengths: Ascending.
      errors: (lengths, ...).
      level: Of the relative error.

    Returns:
      One of the lengths for each cell, or infinity.
    """
    above = np.flip(np.logical_and.accumulate(np.flip(errors >= level, 0), axis=0), 0)
    first = np.argmax(above, axis=0)
    return np.where(above.any(axis=0), np.asarray(lengths, float)[first], np.inf)
