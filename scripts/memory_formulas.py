"""Memory of the passes of ``made_large`` from shapes alone: formulas, and the rows of a table.

A pass holds weights, a state, and temporaries. Of these the largest that live at one time are the
arrays of one stage of one layer, and what is kept of all layers. Bytes are those of one device.
"""

import math
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from made_large import (
    BATCH,
    LLAMA_7B,
    LLAMA_70B,
    LONGEST,
    PASSAGES,
    RUN,
    SLOTS,
    STATISTICS,
    TEXT,
    WINDOW,
)

from glassesjax.model import DecoderConfig
from glassesjax.model.sharding import weight_spec
from glassesjax.model.tiling import TILING
from glassesjax.model.weights import parameter_shapes

Size = Literal["7B", "70B"]
Xla = Mapping[Size, Mapping[str, Mapping[str, int]]]
"""Bytes of temporaries by size, pass and number of layers."""
CONFIGS: Mapping[Size, DecoderConfig] = {"7B": LLAMA_7B, "70B": LLAMA_70B}
DEVICES: Mapping[Size, int] = {"7B": 1, "70B": 16}
FEW = (4, 8)  # at two layers XLA takes a loop of influence apart: it has one turn
LIMIT = 80e9  # bytes of a device
NARROW = 2  # bytes of a stored weight
CHUNK = TILING.prefill_chunk


class Sizes(NamedTuple):
    """What one device has of a decoder: a part where the devices divide it, else all."""

    layers: int
    width: int
    hidden: int
    heads: int
    kv_heads: int
    head: int  # width of one
    vocabulary: int
    devices: int
    layer: int  # numbers in the matrices of a layer, all divided

    @classmethod
    def of(cls, size: Size) -> "Sizes":
        """Those of 7B on one device, or of 70B on one of 16."""
        config, count = CONFIGS[size], DEVICES[size]
        part = lambda units: units // count if units % count == 0 else units
        return cls(
            config.num_layers, config.model_dim, part(config.mlp_dim), part(config.num_heads),
            part(config.kv_heads), config.key_dim, part(config.vocab_size), count,
            sum(math.prod(shape[1:]) for name, shape in parameter_shapes(config).items()
                if name.startswith("blocks.")) // count,
        )  # fmt: skip

    @property
    def table(self) -> int:
        """Numbers of the embedding, and of the unembedding."""
        return self.vocabulary * self.width

    @property
    def largest(self) -> int:
        """Numbers of the largest matrix of a layer."""
        return self.width * self.hidden

    @property
    def shared(self) -> int:
        """Bytes of keys' and values' matrices of all layers, of which XLA widens a part ahead.

        They are whole on each device, which needs a part alone: the loop over layers would cut it.
        """
        both = 2 * self.kv_heads * self.head * self.width
        return 0 if self.devices == 1 else 4 * self.layers * both // self.devices


def held(size: Size) -> dict[str, int]:
    """Numbers of each weight that one device has."""
    config, count = CONFIGS[size], DEVICES[size]
    divided = lambda name: any(weight_spec(name, config, count, ("model",)))
    return {
        name: math.prod(shape) // (count if divided(name) else 1)
        for name, shape in parameter_shapes(config).items()
    }


def mlp(at: Sizes, rows: int, stored: int = 4, carrier: int = 4, matrix: int = 4) -> int:
    """The largest stage of a pass without gradients: ``up`` beside ``gate``, or ``down``.

    Args:
      at: Sizes.
      rows: Tokens.
      stored: Bytes of a number between two products.
      carrier: Bytes of one in a product's result.
      matrix: Bytes of a number of the matrix that is read.

    Returns:
      Bytes: one matrix, and rows of the residual stream and of hidden features.
    """
    narrow, wide = rows * at.width, rows * at.hidden
    up = 2 * wide * carrier + 2 * narrow * stored
    # The output, and its sum over the devices.
    down = wide * stored + narrow * (stored + carrier * (1 if at.devices == 1 else 2))
    return at.shared + at.largest * matrix + max(up, down)


def stream(at: Sizes, rows: int) -> int:
    """The residual stream of some tokens, in float32."""
    return 4 * rows * at.width


def certificate(at: Sizes, carrier: int) -> int:
    """Points of all heads and these less their center, logits and weights, the MLP's matrices."""
    points = at.heads * LONGEST * at.width
    pairs = at.heads * LONGEST**2
    rows = 2 * LONGEST * at.width
    whole = carrier * (2 * points + 2 * pairs + rows + at.largest)
    return at.shared + whole + NARROW * 3 * at.largest


def pulled(at: Sizes) -> int:
    """Two layers widened, what is kept of each layer, and a batch of cotangents."""
    kept = 3 * at.layers * TEXT * at.width
    batch = BATCH * TEXT * (2 * at.hidden + (0 if at.devices == 1 else 3 * at.width))
    return at.shared + 4 * (2 * at.layer + kept + batch)


def chunk(at: Sizes, slots: int) -> int:
    """Keys and values of the slots and the chunk, logits and weights of all their pairs."""
    every = slots + 1 + CHUNK
    return 4 * every * (2 * at.kv_heads * at.head + 2 * at.heads * CHUNK)


def caches(at: Sizes, slots: int, states: int = 3) -> int:
    """Keys and values of all layers, in float32: an empty state, and those before and after."""
    return states * 4 * at.layers * 2 * at.kv_heads * (slots + 1) * at.head


def rows_of_heads(at: Sizes) -> int:
    """Queries and keys of one passage in one layer, of all heads on each device."""
    return 4 * (at.heads * at.devices + at.kv_heads) * TEXT * at.head


def stack(at: Sizes) -> int:
    """What the bounds are made of, of one passage in one layer: rows, factors of the matrices."""
    factors = (2 * at.heads * at.devices + at.kv_heads) * at.head**2
    return rows_of_heads(at) + 4 * (at.kv_heads * TEXT * at.head + factors)


def turns(at: Sizes) -> int:
    """A matrix of a head's width for each token, such as its rotation."""
    return 4 * TEXT * at.head**2


def stacks(at: Sizes) -> int:
    """The constants of all layers and passages."""
    return PASSAGES * (at.layers * stack(at) + turns(at))


def factored(at: Sizes) -> int:
    """A layer widened, or queries' and outputs' matrices whole, three times for their QR factors.

    Beside it the residual stream of all layers, before and after attention, of all passages.
    """
    whole = 0 if at.devices == 1 else 6 * at.width**2
    kept = PASSAGES * 2 * at.layers * TEXT * at.width
    return at.shared + 4 * (max(at.layer, whole) + kept)


class Row(NamedTuple):
    """How a pass is counted."""

    temporaries: Callable[[Sizes], int]
    state: Callable[[Sizes], int] = lambda at: 0
    """Arguments and results beside the weights."""
    copies: int = 1
    """Copies of the weights that the command holds."""
    one_layer: bool = False
    """One program for each layer, the same for all."""
    results_first: bool = False
    """XLA has temporaries in the place of large results, the more of them the more layers."""

    def layers(self, size: Size) -> tuple[int, ...]:
        """At which numbers of layers the pass is compiled."""
        return (1,) if self.one_layer else (*FEW, CONFIGS[size].num_layers)


# What is an argument or a result has its place in the state.
ROWS: Mapping[str, Row] = {
    "collapse": Row(lambda at: mlp(at, RUN), copies=2),
    "influence, estimated": Row(pulled),
    "prefill, full": Row(lambda at: chunk(at, WINDOW), lambda at: caches(at, WINDOW), 2, True),
    "prefill, tova": Row(
        lambda at: mlp(at._replace(layers=0), CHUNK) - stream(at, CHUNK),
        lambda at: caches(at, SLOTS), 2, True,
    ),
    "perplexity, losses": Row(
        lambda at: 4 * (at.table + TILING.loss_rows * at.vocabulary),
        lambda at: caches(at, WINDOW), 2, True,
    ),
    "decode, full": Row(lambda at: 4 * at.table, lambda at: caches(at, WINDOW, 1), 2),
    "decode, tova": Row(lambda at: 4 * at.table, lambda at: caches(at, SLOTS, 1), 2),
    "collapse, bf16 arithmetic": Row(lambda at: mlp(at, RUN, stored=2, matrix=2), copies=2),
    "collapse, float64 arithmetic": Row(lambda at: mlp(at, RUN, 8, 8, 8), copies=2),
    "certificate": Row(lambda at: certificate(at, 4), copies=2),
    "certificate, float64 arithmetic": Row(lambda at: certificate(at, 8), copies=2),
    "influence, estimated, frozen attention": Row(pulled),
    "influence, exact": Row(pulled, lambda at: 4 * at.width**2),
    "influence, exact with operator norms": Row(
        lambda at: pulled(at) - 4 * at.layer + 8 * TEXT * at.width**2, lambda at: 4 * at.width**2
    ),
    "constants of the bounds": Row(factored, stacks, results_first=True),
    # XLA for CPU widens the embedding before the loop over passages.
    "rollout": Row(
        lambda at: mlp(at, TEXT) + 4 * at.table + 2 * at.layers * stream(at, TEXT)
    ),
    "printed bound": Row(
        lambda at: (at.layers + 1) * rows_of_heads(at) + 8 * at.heads * at.devices * TEXT**2,
        stacks,
    ),
    "repaired bound": Row(lambda at: (at.layers + 1) * stack(at) + 5 * turns(at), stacks),
    "attention statistics": Row(
        lambda at: mlp(at, STATISTICS) + (at.layers + 1) * stream(at, STATISTICS)
    ),
    "pruned pass": Row(
        lambda at: mlp(at, RUN) - (1 if at.devices == 1 else 2) * stream(at, RUN),
        lambda at: 2 * stream(at, RUN), 2,
    ),
}  # fmt: skip


def weights(size: Size) -> int:
    """Bytes of one copy, as stored."""
    return NARROW * sum(held(size).values())


def extended(xla: Mapping[str, int], layers: int) -> float:
    """The line through the two few numbers of layers, at all of them."""
    if len(xla) == 1:
        return float(xla["1"])
    few, more = FEW
    slope = (xla[str(more)] - xla[str(few)]) / (more - few)
    return xla[str(few)] + slope * (layers - few)


def total(name: str, size: Size, xla: Mapping[str, int]) -> float:
    """Bytes in all: the largest of formula, extension and XLA's own plan count."""
    row, at = ROWS[name], Sizes.of(size)
    largest = max(row.temporaries(at), extended(xla, at.layers), *xla.values())
    return row.copies * weights(size) + row.state(at) + largest


def row_text(name: str, size: Size, xla: Mapping[str, int]) -> list[str]:
    """The cells of a pass: GB of weights, state and sum, MB of temporaries."""
    row, at = ROWS[name], Sizes.of(size)
    gb, mb = (lambda count: f"{count / 1e9:.1f}"), (lambda count: f"{count / 1e6:,.0f}")
    few = [xla.get(str(layers)) for layers in FEW]
    found = [mb(xla["1"]), "the same"] if row.one_layer else [mb(each or 0) for each in few]
    everything = total(name, size, xla)
    return [
        name,
        gb(row.copies * weights(size)),
        gb(row.state(at)),
        mb(row.temporaries(at)),
        *found,
        mb(extended(xla, at.layers)),
        mb(list(xla.values())[-1]),
        gb(everything),
        "yes" if everything <= LIMIT else "no",
    ]
