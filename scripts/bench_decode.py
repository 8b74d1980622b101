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

import dataclasses
import functools
import itertools
import json
import math
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
import tyro
from decode_clients import Peer, parity, peer_run
from decode_runs import (
    Run,
    bytes_of,
    matvec_run,
    our_run,
    plain_run,
    read_bytes,
    read_model,
)

from glassesjax.cache import Unrolled, empty_state, policy, replay, unroll
from glassesjax.model import Decoder
from glassesjax.records import provenance, to_json, write_by_rename

PARITY = 1e-4  # of kvpress's logits in float32: sums in another order, over tens of steps
Row = dict[str, Any]


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


class Side(NamedTuple):
    """Somebody who decodes."""

    name: str
    slots: int
    state_bytes: int
    run: Run


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


def take_turns(
    found: Sequence[Side], reads: int, batch: int, context: int, settings: Settings
) -> list[Row]:
    """Tokens per second, and the share of the memory's pace in the same turns."""
    matvec, pace = matvec_run(reads), []
    rates: list[list[float]] = [[] for _ in found]
    for _ in range(settings.rounds):
        pace.append(reads / matvec())
        for side, rate in zip(found, rates, strict=True):
            rate.append(settings.tokens / side.run())
    rows = []
    for side, rate in zip(found, rates, strict=True):
        moved = reads + batch * side.state_bytes
        row = {"side": side.name, "slots": side.slots, "batch": batch, "context": context}
        for name, middle in (("", statistics.median), ("best_", max)):
            row[f"{name}tokens_per_second"] = batch * middle(rate)
            row[f"{name}matvec_share"] = middle(rate) * moved / middle(pace)
            row[f"{name}first_over_this"] = middle(rates[0]) / middle(rate)
        row |= {"state_bytes": side.state_bytes, "weights_bytes": reads}
        rows.append(row | {"matvec_gb_per_second": statistics.median(pace) / 1e9})
        show(rows[-1])
    return rows


def table(model: Unrolled, settings: Settings) -> Iterator[Row]:
    """Bytes of a state, how many fit beside the weights, and speed, against slots.

    Source: arXiv 2401.06104v2, Table 1.
    """
    reads, weights, outer = read_bytes(model), bytes_of(model), model.outer
    context, tokens = max(settings.contexts), settings.tokens
    room = max(settings.table_slots) + tokens * settings.rounds + 1
    ways = [("tova", slots) for slots in settings.table_slots] + [("full", room)]
    for batch in settings.batches:
        for name, slots in ways:
            make = functools.partial(empty_state, outer.config, policy(name), slots, outer.dtype)
            one = bytes_of(jax.eval_shape(make))
            fits = int((settings.memory_gb * 2**30 - weights) // one)
            try:
                run, held = our_run(model, name, slots, context, batch, tokens)
            except jax.errors.JaxRuntimeError as error:
                if "RESOURCE_EXHAUSTED" not in str(error):
                    raise
                side = {"side": f"ours, {name}", "slots": slots, "batch": batch, "context": context}
                row = side | {"state_bytes": one, "tokens_per_second": None}  # no room for it
                show(row)
            else:
                side = Side(f"ours, {name}", slots, held, run)
                (row,) = take_turns([side], reads, batch, context, settings)
            yield row | {"largest_batch": fits, "memory_gb": settings.memory_gb}


def show(row: Row) -> None:
    """One line of the printed table."""
    speed = row["tokens_per_second"]
    if speed is None:
        print(f"{row['side']:26} {row['slots']:5} slots  batch {row['batch']:3}  does not fit")
        return
    print(
        f"{row['side']:26} {row['slots']:5} slots  batch {row['batch']:3}  context {row['context']}"
        f"  {speed:8.1f} tok/s  state {row['state_bytes'] / 2**20:7.1f} MB"
        f"  first/this {row['first_over_this']:5.2f}  of matvec {row['matvec_share']:4.0%}",
        flush=True,
    )


def agrees(decoder: Decoder, peers: dict[str, Peer]) -> list[Row]:
    """Logits of the peers against ours: the same weights, and kvpress's TOVA token by token."""
    rows, text = [], np.arange(24, dtype=np.int32) * 7 % decoder.config.vocab_size
    wanted = np.asarray(replay(decoder, text, policy("full")).logits)
    for name, peer in peers.items():
        gap = float(np.max(np.abs(peer.logits("own", text.tolist()) - wanted)))
        scale = float(np.max(np.abs(wanted)))
        rows.append({"side": name, "check": "same weights", "gap": gap, "scale": scale})
        if name.startswith("kvpress"):
            rows.append({"side": name, "check": "tova@1", "gap": parity(peer), "bound": PARITY})
    for row in rows:
        print(json.dumps(row), flush=True)
    return rows


def open_peers(decoder: Decoder, settings: Settings) -> tuple[dict[str, Peer], Row]:
    """Those that were named, with our weights; and their versions."""
    named = {
        "transformers, full": settings.torch_python,
        f"kvpress, tova {settings.slots}": settings.kvpress_python,
    }
    peers = {name: Peer(python) for name, python in named.items() if python is not None}
    versions = {}
    for name, peer in peers.items():
        found = peer.load(decoder)
        versions |= {f"{name.split(',')[0]}_{package}": v for package, v in found.items()}
    return peers, versions


def main(settings: Settings) -> None:
    """Measures, prints, saves; complains if kvpress finds other logits."""
    if settings.gpu_7b:
        wide = {"random": settings.random or "llama-7b", "dtype": "bfloat16", "table_1": True}
        wide |= {"batches": (1, 16, 128), "table_slots": (512, 4096), "contexts": (4096,)}
        settings = dataclasses.replace(settings, **wide)
    versions: Row = {"model": settings.random or "smollm2"}
    if settings.table_1:
        # The stacked weights are dropped: on an accelerator there may not be room for both.
        model = unroll(read_model(settings.random, settings.dtype))
        versions |= {"dtype": str(model.outer.dtype)}
        rows = list(table(model, settings))
    else:
        decoder = read_model(settings.random, settings.dtype)
        versions |= {"dtype": str(decoder.dtype)}
        peers, found = open_peers(decoder, settings)
        versions |= found
        rows = agrees(decoder, peers)
        for batch, context in itertools.product(settings.batches, settings.contexts):
            if not settings.parity:
                every = sides(decoder, peers, batch, context, settings)
                rows += take_turns(every, read_bytes(unroll(decoder)), batch, context, settings)
        for peer in peers.values():
            peer.close()
    settings.out.parent.mkdir(parents=True, exist_ok=True)
    write_by_rename(settings.out, to_json([r | versions | provenance() for r in rows], indent=2))
    if wrong := [row for row in rows if row.get("gap", 0) > row.get("bound", math.inf)]:
        raise SystemExit(f"kvpress's logits differ by {wrong[0]['gap']:.1e}.")


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
