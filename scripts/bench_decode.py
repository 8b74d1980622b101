"""Times decoding token by token: ours, the simplest JAX loop, transformers and kvpress.

The torch side runs in Pythons of its own, on the same weights; a side without one is left out:

    python -m venv peers && peers/bin/pip install torch==2.13.0 transformers==5.23.0 numpy
    python -m venv press && press/bin/pip install torch==2.13.0 kvpress==0.5.5
    python scripts/bench_decode.py --torch-python peers/bin/python --kvpress-python press/bin/python

(kvpress 0.5.5 brings transformers 5.2.0; torch's wheel for CPUs will do.) The sides take turns, so
that other work on the machine slows all of them alike, and in each turn a product of a large matrix
and a vector is timed: a token reads all weights once, so the memory sets the pace. States are
filled with random numbers, since time does not depend on what a state holds.

``--table-1`` gives bytes, largest batch and speed against slots instead, and ``--gpu-7b`` the same
for LLaMA-2-7B's shape on an accelerator. ``--parity`` compares with kvpress and times nothing.
"""

import contextlib
import dataclasses
import functools
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import jax
import tyro
from decode_clients import Peer, agrees, peer_run, wrong
from decode_runs import (
    bytes_of,
    our_run,
    plain_run,
    read_bytes,
    read_model,
)
from decode_turns import Row, Side, show, take_turns

from glassesjax.cache import Unrolled, empty_state, policy, unroll
from glassesjax.files import to_json, write_by_rename
from glassesjax.model import Decoder
from glassesjax.runs.provenance import provenance

PAPER_RATIO = 4.8  # tokens per second of TOVA with 512 slots over the full cache's with 4096


@dataclasses.dataclass(frozen=True)
class Settings:
    """Who decodes how fast."""

    random: Literal["smollm2", "llama-7b", "tiny"] | None = None
    """Random weights of a shape; SmolLM2's own if absent."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of random weights."""
    policies: tuple[str, ...] = ("tova", "window+4", "h2o")
    """With ``slots`` each; the full cache, and TOVA with its size, come beside them."""
    slots: int = 256
    """Capacity of a bounded state."""
    batches: tuple[int, ...] = (1, 8)
    """Sequences at a time."""
    contexts: tuple[int, ...] = (512, 4096)
    """Tokens that were read before."""
    tokens: int = 16
    """Timed tokens in a turn."""
    rounds: int = 5
    """Turns of each side; the median and the best are kept."""
    torch_python: Path | None = None
    """A Python with torch and transformers."""
    kvpress_python: Path | None = None
    """A Python with torch and kvpress."""
    parity: bool = False
    """Only compare logits."""
    table_1: bool = False
    """Only bytes, largest batch and speed against slots, after the paper's Table 1."""
    table_slots: tuple[int, ...] = (256, 512, 1024, 2048, 4096)
    """Of that table; the full cache has the largest context."""
    gpu_7b: bool = False
    """That table with 512 slots against 4096, bfloat16, batch 1, 16 and 128."""
    memory_gb: float = 16.0
    """For weights and states, in 2^30 bytes: for the largest batch."""
    out: Path = Path("runs/bench-decode.json")
    """Where the figures go."""


def sides(
    decoder: Decoder, peers: dict[str, Peer], batch: int, context: int, settings: Settings
) -> list[Side]:
    """All of them at one batch and context; the first is what the others are compared with."""
    model, tokens = unroll(decoder), settings.tokens
    room = context + tokens * settings.rounds + 1
    ways = [(name, settings.slots) for name in settings.policies] + [("tova", room), ("full", room)]
    found = []
    for name, slots in ways:
        run, held = our_run(model, name, slots, context, batch, tokens)
        found.append(Side(f"ours, {name}", slots, held, run))
    run, held = plain_run(decoder, room, context, batch, tokens)
    found.append(Side("simplest JAX loop, full", room, held, run))
    for name, peer in peers.items():
        bound = settings.slots if name.startswith("kvpress") else None
        held = peer_bytes(decoder, bound or context + tokens)
        run = peer_run(peer, context, batch, tokens, bound)
        found.append(Side(name, bound or context + tokens, held, run))
    return found


def peer_bytes(decoder: Decoder, tokens: int) -> int:
    """Keys and values of so many tokens in float32."""
    config = decoder.config
    return 4 * tokens * config.num_layers * config.kv_heads * (config.key_dim + config.value_dim)


def table(model: Unrolled, settings: Settings) -> Iterator[Row]:
    """Bytes of a state, how many fit beside the weights, and speed, against slots.

    Source: arXiv 2401.06104v2, Table 1.
    """
    room = max(settings.table_slots) + settings.tokens * settings.rounds + 1
    ways = [("tova", slots) for slots in settings.table_slots] + [("full", room)]
    left = settings.memory_gb * 2**30 - bytes_of(model)
    for batch, (name, slots) in itertools.product(settings.batches, ways):
        outer = model.outer
        make = functools.partial(empty_state, outer.config, policy(name), slots, outer.dtype)
        one = bytes_of(jax.eval_shape(make))
        sizes = {"state_bytes": one, "memory_gb": settings.memory_gb}
        row = cell(model, name, slots, batch, settings)
        yield row | sizes | {"largest_batch": max(int(left // one), 0)}


def cell(model: Unrolled, name: str, slots: int, batch: int, settings: Settings) -> Row:
    """One row of the table, which says so where the memory did not do.

    A function of its own, so that its state is gone before the next one is made.
    """
    context = max(settings.contexts)
    try:
        run, held = our_run(model, name, slots, context, batch, settings.tokens)
        side = Side(f"ours, {name}", slots, held, run)
        turns = settings.tokens, settings.rounds
        return take_turns([side], read_bytes(model), batch, context, *turns)[0]
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
    row = {"side": f"ours, {name}", "slots": slots, "batch": batch, "context": context}
    row |= {"tokens_per_second": None, "error": "out of memory"}
    show(row)
    return row


def ratios(rows: Sequence[Row], slots: int) -> Iterator[Row]:
    """At each batch, the speed of so many slots over that of the full cache.

    Source: arXiv 2401.06104v2, Table 1, relative throughput.
    Differs: at equal batches; the paper's is with the largest batch that fits each.
    """
    for batch in sorted({row["batch"] for row in rows}):
        here = [row for row in rows if row["batch"] == batch]
        some = next(row["tokens_per_second"] for row in here if row["slots"] == slots)
        full = next(row["tokens_per_second"] for row in here if row["side"] == "ours, full")
        ratio = some / full if some and full else None
        print(f"batch {batch}: {slots} slots over full: {ratio}; the paper has {PAPER_RATIO}")
        row = {"check": "speed over the full cache", "slots": slots, "batch": batch}
        yield row | {"ratio": ratio, "paper_ratio": PAPER_RATIO}


def open_peers(
    decoder: Decoder, settings: Settings, stack: contextlib.ExitStack
) -> tuple[dict[str, Peer], Row]:
    """Those that were named, with our weights; and their versions. The stack closes them."""
    peers: dict[str, Peer] = {}
    versions: Row = {}
    for name, python in named_peers(settings).items():
        peers[name] = Peer(python)
        stack.callback(peers[name].close)
        found = peers[name].load(decoder)
        versions |= {f"{name.split(',')[0]}_{package}": v for package, v in found.items()}
    return peers, versions


def named_peers(settings: Settings) -> dict[str, Path]:
    """The Pythons that were given, by what their rows are called."""
    named = {
        "transformers, full": settings.torch_python,
        f"kvpress, tova {settings.slots}": settings.kvpress_python,
    }
    return {name: python for name, python in named.items() if python is not None}


def tabulated(settings: Settings) -> Iterator[Row]:
    """The table's rows, as they come."""
    # The stacked weights are dropped: on an accelerator there may not be room for both.
    model = unroll(read_model(settings.random, settings.dtype))
    more, rows = {"dtype": str(model.outer.dtype)}, []
    for row in table(model, settings):
        rows.append(row)
        yield row | more
    if settings.gpu_7b:
        yield from (row | more for row in ratios(rows, min(settings.table_slots)))


def compared(settings: Settings) -> Iterator[Row]:
    """Agreement and speed of all sides, as they come."""
    if named_peers(settings) and settings.random and settings.dtype != "float32":
        raise SystemExit(f"Expected float32 beside the peers, got --dtype {settings.dtype}.")
    decoder = read_model(settings.random, settings.dtype)
    with contextlib.ExitStack() as stack:
        peers, versions = open_peers(decoder, settings, stack)
        versions["dtype"] = str(decoder.dtype)
        yield from (row | versions for row in agrees(decoder, peers))
        cells = itertools.product(settings.batches, settings.contexts)
        for batch, context in () if settings.parity else cells:
            every, reads = (
                sides(decoder, peers, batch, context, settings),
                read_bytes(unroll(decoder)),
            )
            rows = take_turns(every, reads, batch, context, settings.tokens, settings.rounds)
            yield from (row | versions for row in rows)


def main(settings: Settings) -> None:
    """Measures, prints, saves after each row; complains if a peer finds other logits."""
    if settings.gpu_7b:
        wide = {"random": settings.random or "llama-7b", "dtype": "bfloat16", "table_1": True}
        wide |= {"batches": (1, 16, 128), "table_slots": (512, 4096), "contexts": (4096,)}
        settings = dataclasses.replace(settings, **wide)
    common = {"model": settings.random or "smollm2"} | provenance()
    settings.out.parent.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for row in tabulated(settings) if settings.table_1 else compared(settings):
        rows.append(row | common)
        write_by_rename(settings.out, to_json(rows, indent=2))
    if found := wrong(rows):
        raise SystemExit(found)


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
