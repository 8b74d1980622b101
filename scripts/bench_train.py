"""Times training steps of small decoders: ours, and an eager PyTorch loop of the same shape.

Torch runs in a Python of its own (``pip install torch==2.13.0 numpy``; name it by --torch-python)
on the same weights, the same kind of rows, AdamW, clipping and schedule. It is first checked that
both find the same losses and gradient norms over some steps on the same rows. Without such a Python
the rows of torch are left out.

The task is ``count_ones`` with lengths such that rows have the tokens of the shape. All sides take
turns, so that other work on the machine slows them alike; the fastest turn of each counts, and
compiling is timed apart. Then many seeds in one program against one at a time; on an accelerator
also the share of its matrix units' peak, which full float32 does not reach. Several devices share
seeds, or one model's batch, out: JAX_NUM_CPU_DEVICES=2 makes two of a CPU.
"""

import contextlib
import dataclasses
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from decode_clients import Peer

from glassesjax import draws
from glassesjax.files import to_json, write_by_rename
from glassesjax.model import Decoder, DecoderConfig, DenseMlp, RMSNorm, flat_parameters
from glassesjax.runs.provenance import provenance
from glassesjax.tasks import LengthMix, PromptFormat, batch, example, named_task
from glassesjax.tasks.prompt_format import width as row_width
from glassesjax.train import TrainConfig, TrainState, init_state, make_mesh, shard, train_steps

Row = dict[str, Any]
Run = Callable[[], float]  # seconds of one turn
TASK, RATE = named_task("count_ones"), 1e-3
# Losses and norms over three steps, relative to themselves: sums of at most 4096 terms in another
# order, 2000 roundoffs of float32. Without clipping, or with another decay, they are off by 1e-2.
SAME = 2000 * 2.0**-24
PARITY_STEPS = 3
# Dense peak of the matrix units, 10^12 operations per second: of NVIDIA in TF32, of a TPU in
# bfloat16. Our products ask for full float32, for which no unit is made (a TPU takes several passes
# in bfloat16): shares of these peaks are far under one. A device that is not here has none.
PEAKS = {
    "NVIDIA A100-SXM4-40GB": 156.0,
    "NVIDIA A100-SXM4-80GB": 156.0,
    "NVIDIA H100 80GB HBM3": 494.7,
    "NVIDIA H200": 494.7,
    "TPU v4": 275.0,
    "TPU v5 lite": 197.0,
    "TPU v5": 459.0,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shape:
    """What is trained."""

    width: int
    layers: int
    seq: int
    batch: int
    heads: int = 4
    steps: int = 5
    """In a call, and in a turn."""

    @property
    def config(self) -> DecoderConfig:
        """The decoder that ``glassesjax train`` has by default, in this size."""
        return DecoderConfig(
            vocab_size=len(TASK.symbols),
            num_layers=self.layers,
            num_heads=self.heads,
            model_dim=self.width,
            norm=RMSNorm(),
            mlp=DenseMlp(),
            embed_scale=self.width**0.5,
        )

    @property
    def training(self) -> TrainConfig:
        """Lengths from 1 to the largest that the row has room for."""
        mix = LengthMix(low=1, high=longest(self.seq))
        # Long enough that no turn is beyond the schedule.
        return TrainConfig(task=TASK, mix=mix, batch=self.batch, steps=100_000, warmup=1)

    @property
    def flops(self) -> float:
        """Of the products of one step: backward twice as many as forward, masked pairs included."""
        matrices = 12 * self.layers * self.width**2 + len(TASK.symbols) * self.width
        pairs = 2 * self.layers * self.seq * self.width
        return 3 * 2 * self.batch * self.seq * (matrices + pairs)


SHAPES = {
    "width 64": Shape(width=64, layers=4, seq=64, batch=64),
    "width 32": Shape(width=32, layers=2, seq=32, batch=16, steps=50),
    "tiny": Shape(width=8, layers=2, seq=16, batch=4, heads=2, steps=2),
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """Who trains how fast."""

    shapes: tuple[str, ...] = ("width 64", "width 32")
    """Against torch; ``tiny`` is for trying the script."""
    seeds_shape: str = "width 32"
    """Of many seeds at once."""
    seeds: tuple[int, ...] = ()
    """How many at once; 1 and 8 if absent, on an accelerator 1, 8, 64 and 512. Rows have the
    model-steps per second over those of the first of these as ``over_first``."""
    rounds: int = 15
    """Turns of each side."""
    torch_python: Path | None = None
    """A Python with torch; on a CPU or a GPU."""
    threads: int = 0
    """Of torch; its own choice if 0."""
    out: Path = Path("runs/bench-train.json")
    """Where the figures go."""


def longest(seq: int) -> int:
    """The length whose row ``<bos> ITEM = DIGITS <eos>`` has so many tokens."""
    for length in range(seq, 0, -1):
        if row_width(TASK, PromptFormat(), length) == seq:
            return length
    raise SystemExit(f"Expected a row length that a task of counting can have, got {seq}.")


def our_run(shape: Shape, seeds: int) -> tuple[Run, float]:
    """Turns of ``train_steps`` and the seconds that its first call took, compiling included."""
    training = shape.training  # finding its lengths takes time
    one = [init_state(shape.config, training, seed, RATE) for seed in range(seeds)]
    seed, data = divided(seeds, shape.batch)
    mesh = make_mesh(seed=seed, data=data)
    held = [shard(jax.tree.map(lambda *leaves: jnp.stack(leaves), *one), mesh, training)]

    def run() -> float:
        start = time.perf_counter()
        held[0], told = train_steps(held[0], training, shape.steps, mesh=mesh)
        losses = np.asarray(told.loss)
        seconds = time.perf_counter() - start
        if not np.isfinite(losses).all():
            raise SystemExit("The losses are not finite: nothing was learned, and nothing timed.")
        return seconds

    return run, run()


def divided(seeds: int, examples: int) -> tuple[int, int]:
    """How many devices share the seeds out, and how many of the others each batch."""
    seed = math.gcd(seeds, len(jax.devices()))
    return seed, math.gcd(examples, len(jax.devices()) // seed)


def take_turns(runs: Mapping[str, Run], rounds: int) -> dict[str, list[float]]:
    """Seconds of each side in each round."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            seconds[name].append(run())
    return seconds


def row_of(name: str, shape: Shape, seconds: Sequence[float], models: int = 1) -> Row:
    """Speed of one side: best and median turn."""
    best, middle = (shape.steps / f(seconds) for f in (min, np.median))
    row = {"side": name, **dataclasses.asdict(shape), "models": models, "rounds": len(seconds)}
    row |= {"steps_per_second": best, "median_steps_per_second": float(middle)}
    row |= {"model_steps_per_second": models * best, "devices": len(jax.devices())}
    row |= {"tokens_per_second": models * best * shape.batch * shape.seq}
    return row | {"gflops_per_second": models * best * shape.flops / 1e9}


def against_torch(name: str, peer: Peer | None, settings: Settings) -> Iterator[Row]:
    """Our steps and torch's, in turns."""
    shape = SHAPES[name]
    run, first = our_run(shape, 1)
    runs = {"ours": run}
    if peer is not None:
        yield from agrees(shape, peer, settings)
        for kind in ("fused", "plain"):
            runs[f"torch, {kind} attention"] = torch_run(peer, kind, shape.steps)
    seconds = take_turns(runs, settings.rounds)
    rows = [row_of(side, shape, times) for side, times in seconds.items()]
    best = max((row["steps_per_second"] for row in rows[1:]), default=None)
    rows[0] |= {"first_call_seconds": first}
    rows[0] |= {"over_torch": best and rows[0]["steps_per_second"] / best}
    yield from rows


def torch_run(peer: Peer, kind: str, steps: int) -> Run:
    """A turn of torch; the first one is not timed."""
    job = {"kind": kind, "steps": steps}
    peer.ask("steps", **job)
    return lambda: peer.ask("steps", **job)["seconds"]


def many_seeds(settings: Settings) -> Iterator[Row]:
    """Model-steps per second against how many models one program trains."""
    shape, accelerated = SHAPES[settings.seeds_shape], jax.default_backend() != "cpu"
    counts = settings.seeds or ((1, 8, 64, 512) if accelerated else (1, 8))
    runs, first = {}, {}
    for count in counts:
        runs[f"ours, {count} at once"], first[count] = our_run(shape, count)
    seconds = take_turns(runs, settings.rounds)
    rows = [row_of(n, shape, seconds[n], c) for n, c in zip(runs, counts, strict=True)]
    for row in rows:
        speed, alone = row["model_steps_per_second"], rows[0]["model_steps_per_second"]
        more = {"first_call_seconds": first[row["models"]], "over_first": speed / alone}
        yield row | more | share_of_peak(row, jax.devices()[0].device_kind)


def share_of_peak(row: Mapping[str, Any], kind: str) -> Row:
    """Of the peak of an accelerator's matrix units; of a CPU nothing is said."""
    if jax.default_backend() == "cpu":
        return {}
    peak = PEAKS.get(kind)
    share = "unknown" if peak is None else row["gflops_per_second"] / (1000 * peak)
    return {"peak_tflops": peak or "unknown", "share_of_peak": share}


def agrees(shape: Shape, peer: Peer, settings: Settings) -> Iterator[Row]:
    """Torch's rows against ours; losses and norms of some steps on the same rows and weights."""
    state = init_state(shape.config, shape.training, 0, RATE)
    with tempfile.TemporaryDirectory() as folder:
        weights, data = Path(folder) / "weights.npz", Path(folder) / "rows.npz"
        np.savez(weights, **their_arrays(state.decoder))
        versions = peer.ask("load", path=str(weights), **their_job(shape, settings))
        np.savez(data, **our_rows(state, shape.training))
        found = {}
        for kind in ("fused", "plain"):
            found[kind] = peer.ask("losses", kind=kind, path=str(data), weights=str(weights))
    yield rows_agree(shape, peer) | versions
    _, told = train_steps(jax.tree.map(lambda x: x[None], state), shape.training, PARITY_STEPS)
    ours = np.stack([told.loss[0], told.gradient[0]], axis=1)
    for kind, answer in found.items():
        gap = float(np.max(np.abs(np.asarray(answer["told"]) / ours - 1)))
        check = f"{PARITY_STEPS} steps, torch, {kind} attention"
        yield {"check": check, "width": shape.width, "gap": gap, "bound": SAME} | versions


def rows_agree(shape: Shape, peer: Peer) -> Row:
    """How many tokens of torch's rows, one of each length, are not ours."""
    lengths = np.arange(1, longest(shape.seq) + 1, dtype=np.int32)
    make = lambda length: example(TASK, PromptFormat(), draws.root_key(0), length, int(lengths[-1]))
    ours, theirs = jax.vmap(make)(lengths), peer.ask("rows", lengths=lengths.tolist())
    wrong = sum(
        int(np.sum(np.asarray(getattr(ours, name)) != np.asarray(theirs[name])))
        for name in ("tokens", "scored")
    )
    return {"check": "rows of torch", "width": shape.width, "gap": wrong, "bound": 0}


def our_rows(state: TrainState, training: TrainConfig) -> dict[str, np.ndarray]:
    """What our first steps read."""
    made = []
    for step in range(PARITY_STEPS):
        at = jnp.asarray(step, jnp.int32)
        made.append(
            batch(
                training.task, training.prompt_format, training.mix, state.key, at, training.batch
            )
        )
    stack = lambda name: np.stack([np.asarray(getattr(rows, name)) for rows, _ in made])
    return {name: stack(name) for name in ("tokens", "scored")}


def their_job(shape: Shape, settings: Settings) -> dict[str, Any]:
    """Sizes, recipe and device for torch."""
    config, training = shape.config, shape.training
    sizes = {"vocab": config.vocab_size, "layers": shape.layers, "heads": shape.heads}
    sizes |= {"width": shape.width, "seq": shape.seq, "embed_scale": config.embed_scale}
    sizes |= {"eps": RMSNorm().eps, "symbols": {s: i for i, s in enumerate(TASK.symbols)}}
    theirs = {name: getattr(training, name) for name in ("batch", "steps", "warmup")}
    ours = init_state(config, training, 0, RATE)
    theirs |= {name: float(getattr(ours, name)) for name in ("rate", "weight_decay", "clip")}
    theirs |= {"lengths": [training.mix.low, training.mix.high]}
    device = "cpu" if jax.default_backend() == "cpu" else "cuda"
    return {"sizes": sizes, "recipe": theirs, "device": device, "threads": settings.threads}


def their_arrays(decoder: Decoder) -> dict[str, np.ndarray]:
    """Our weights under the names of ``train_peers.py``."""
    found = {name: np.asarray(x) for name, x in flat_parameters(decoder).items()}
    arrays = {"table.weight": found["embed.table"], "norm.weight": found["final_norm.gain"]}
    at = lambda name: found[f"blocks.{name}"]
    qkv = np.concatenate([at(f"attention.{name}") for name in ("query", "key", "value")], axis=1)
    layers = {"qkv": qkv, "output": at("attention.output")}
    layers |= {"up": at("mlp.up"), "down": at("mlp.down")}
    layers |= {"norm1": at("norm1.gain"), "norm2": at("norm2.gain")}
    for name, stacked in layers.items():
        for index, weight in enumerate(stacked):
            arrays[f"blocks.{index}.{name}.weight"] = weight
    return arrays


def refusal(settings: Settings) -> str:
    """What is wrong with the settings, in a line; empty if nothing is."""
    python, backend = settings.torch_python, jax.default_backend()
    for name in (*settings.shapes, settings.seeds_shape):
        if name not in SHAPES:
            return f"Expected shapes out of {', '.join(SHAPES)}, got {name!r}."
    for name, least in (("rounds", 1), ("threads", 0)):
        if (found := getattr(settings, name)) < least:
            return f"Expected --{name} of {least} or more, got {found}."
    if any(count < 1 for count in settings.seeds):
        return f"Expected --seeds of 1 or more, got {min(settings.seeds)}."
    if python is not None and not os.access(python, os.X_OK):
        return f"Expected a Python with torch as --torch-python; {python} cannot be run."
    if python is not None and backend not in ("cpu", "gpu"):
        return f"Expected no --torch-python on {backend}: torch is timed on a CPU or a GPU only."
    return ""


def wrong(rows: Sequence[Mapping[str, Any]]) -> str:
    """A line on each check that fails, NaN included; empty if there is none."""
    bad = [row for row in rows if "gap" in row and not row["gap"] <= row["bound"]]
    line = "{check}, width {width}: off by {gap:.1e}, over {bound:.1e}."
    return "\n".join(line.format(**row) for row in bad)


def measured(settings: Settings) -> Iterator[Row]:
    """All rows, as they come."""
    with contextlib.ExitStack() as stack:
        peer = None
        if settings.torch_python is not None:
            peer = Peer(settings.torch_python, "train_peers.py")
            stack.callback(peer.close)
        for name in settings.shapes:
            yield from against_torch(name, peer, settings)
    yield from many_seeds(settings)


def main(settings: Settings) -> None:
    """Measures, prints, saves after each row; complains if torch finds other losses."""
    if line := refusal(settings):
        print(line, file=sys.stderr)
        raise SystemExit(2)
    settings.out.parent.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for row in measured(settings):
        print(json.dumps(row), flush=True)
        rows.append(row | {"dtype": "float32", "task": TASK.name} | provenance())
        write_by_rename(settings.out, to_json(rows, indent=2) + "\n")
    if found := wrong(rows):
        raise SystemExit(found)


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
