"""Logits for the phase diagram: equal, drawn, and those of a model on a text."""

from collections.abc import Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from phase_cells import LENGTHS, STORE, expected_errors, mean_errors

from glassesjax.model import Decoder, open_model
from glassesjax.model.decoder import Block
from glassesjax.model.layer_scan import scan_layers
from glassesjax.model.positions import Layout
from glassesjax.tasks.text import read_text


class Measured(NamedTuple):
    """Errors of one kind of rows in every cell."""

    name: str
    lengths: tuple[int, ...]
    errors: np.ndarray
    """(lengths, rows, stores, orders, sums, chunks)."""
    expected: np.ndarray | None = None
    """(lengths, rows, sums, chunks): errors of ones from the mean speed of a running sum, for
    weights that are stored fused in ``STORE``."""


def equal_rows(lengths: Iterable[int] = LENGTHS) -> Measured:
    """One row of equal logits of each length."""
    errors = [mean_errors(np.zeros((1, n))) for n in lengths]
    return Measured("equal logits", tuple(lengths), np.stack(errors))


def gaussian_rows(
    rows: int, seed: int, lengths: Iterable[int] = LENGTHS, *, of_values: bool = False
) -> Measured:
    """Standard normal logits; values are ones, or normal with mean one and deviation one."""
    rng = np.random.default_rng(seed)
    logits, values = rng.normal(size=(2, rows, max(lengths)))
    if of_values:
        errors = [mean_errors(logits[:, :n], 1 + values[:, :n]) for n in lengths]
        return Measured("normal logits, normal values", tuple(lengths), np.stack(errors))
    errors = [mean_errors(logits[:, :n]) for n in lengths]
    expected = [[expected_errors(STORE, row[:n]) for row in logits] for n in lengths]
    return Measured("normal logits", tuple(lengths), np.stack(errors), np.array(expected))


def array_rows(name: str, rows: Iterable[np.ndarray], values: Iterable = ()) -> Measured:
    """Given logits, and values if any: one array (rows, n) for each length.

    Args:
      name: For the figure.
      rows: Ascending in n; minus infinity is a masked token.
      values: (rows, n, dim) for each length.
    """
    rows, values = list(rows), list(values)
    errors = [mean_errors(one, values[i] if values else None) for i, one in enumerate(rows)]
    return Measured(name, tuple(one.shape[1] for one in rows), np.stack(errors))


class Heads(NamedTuple):
    """A model's logits on a text, of the queries that see a number of tokens."""

    logits: np.ndarray
    """(layers, heads, n), temperature included."""
    values: np.ndarray
    """(layers, n, dim): those that the first head of each layer averages."""


def model_rows(model: str, text: str, lengths: tuple[int, ...]) -> list[Heads]:
    """The rows of a model on the beginning of a text, one record for each length."""
    opened = open_model(model)
    tokens = jnp.asarray(opened.tokenizer.encode(read_text(text))[: max(lengths)], jnp.int32)
    return heads_of(opened.decoder, tokens, lengths)


def heads_of(decoder: Decoder, tokens: jax.Array, lengths: tuple[int, ...]) -> list[Heads]:
    """The rows of a decoder that see the first tokens of a sequence, one record for each length."""
    last = jnp.asarray(lengths, jnp.int32) - 1
    logits, values = map(np.asarray, _pass(decoder, tokens, last))
    return [Heads(logits[:, :, i, :n], values[:, :n]) for i, n in enumerate(lengths)]


@jax.jit
def _pass(decoder: Decoder, tokens: jax.Array, last: jax.Array) -> tuple[jax.Array, jax.Array]:
    layout = Layout.line(len(tokens))

    def layer(resid: jax.Array, block: Block) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        after, trace = block(resid, layout, keep="attention")  # of one layer at a time
        *_, values = block.attention.heads(block.norm1(resid), layout)
        return after, (trace.attn_logits[:, last], values[:, 0])

    return scan_layers(layer, decoder.enter(tokens), decoder.layers)[1]
