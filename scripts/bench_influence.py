"""Times exact sensitivities of all layers against torch.func.jacrev of the first, and the estimate.

Torch runs in a Python of its own (``pip install torch==2.13.0 numpy``; name it by --torch-python)
on the same weights. Without one the rows of torch are left out.

Memory is not measured alike: ours is what XLA reserves for each compiled method, arguments and
results included; torch's is the peak of a process of its own, with Python and torch's libraries.
"""

import dataclasses
import functools
import json
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from glassesjax import draws
from glassesjax.files import to_json, write_by_rename
from glassesjax.model import Decoder, DecoderConfig, DenseMlp
from glassesjax.runs.provenance import provenance
from glassesjax.trace.influence import estimated_influence, exact_influence

TORCH = """
import json, resource, sys, time
import numpy as np, torch
import torch.nn.functional as F
from torch.func import jacrev

path, heads, chunk, fused, repeats = sys.argv[1], *map(int, sys.argv[2:])
data = {k: torch.from_numpy(v) for k, v in np.load(path).items() if v.dtype == np.float32}
layers, eps = len(data["query"]), 1e-5
norm = lambda x, g: x / torch.sqrt((x * x).mean(-1, keepdim=True) + eps) * g

def last(v):
    n, mask = len(v), torch.ones(len(v), len(v)).tril().bool()
    for l in range(layers):
        w = {k: x[l] for k, x in data.items() if k not in ("resid", "final")}
        x = norm(v, w["norm1"])
        q, k, value = (
            (x @ w[m].T).reshape(n, heads, -1).transpose(0, 1) for m in ("query", "key", "value")
        )
        if fused:
            a = F.scaled_dot_product_attention(q[None], k[None], value[None], is_causal=True)[0]
        else:
            logits = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
            a = torch.softmax(logits.masked_fill(~mask, float("-inf")), -1) @ value
        v = v + a.transpose(0, 1).reshape(n, -1) @ w["output"].T
        hidden = F.gelu(norm(v, w["norm2"]) @ w["up"].T, approximate="tanh")
        v = v + hidden @ w["down"].T
    return norm(v, data["final"])[-1]

seconds = []
for _ in range(repeats):
    start = time.perf_counter()
    jacobian = jacrev(last, chunk_size=chunk or None)(data["resid"])
    seconds.append(time.perf_counter() - start)
norms = jacobian.square().sum((0, 2)).sqrt()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"seconds": min(seconds), "peak_mb": peak, "norms": norms.tolist()}))
"""


@dataclasses.dataclass(frozen=True)
class Settings:
    """A decoder with GELU MLPs, its last token's Jacobian, and who computes it how fast."""

    length: int = 512
    """Tokens."""
    width: int = 64
    """Of the residual stream; the MLP is four times as wide."""
    layers: int = 6
    """Number of layers."""
    heads: int = 4
    """Number of heads."""
    batches: tuple[int, ...] = (8, 16, 64)
    """Of our cotangents."""
    chunks: tuple[int, ...] = (1, 4, 16, 64, 0)
    """Chunk sizes of torch; 0 is all at once."""
    repeats: int = 5
    """Timed runs of each; the fastest counts."""
    torch_python: Path | None = None
    """A Python that has torch."""
    out: Path = Path("runs/bench-influence.json")
    """Where the figures go."""


def best_seconds(run: Callable[[], object], repeats: int) -> float:
    """Seconds of the fastest run of what is already compiled."""
    jax.block_until_ready(run())
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(run())
        times.append(time.perf_counter() - start)
    return min(times)


def ours(decoder: Decoder, resid: jax.Array, settings: Settings) -> list[dict[str, object]]:
    """Our ways, each compiled by itself, with the megabytes that XLA reserves for it."""
    width, key = settings.width, draws.root_key(2)
    ways = {"width x one VJP": lambda d, r: _one(d, r, jnp.ones(width))}
    for size in settings.batches:
        ways[f"exact, batch {size}"] = lambda d, r, size=size: exact_influence(d, r, batch=size)
    first = {"layers": (0,), "spectral": (0,)}
    ways["exact, spectral at layer 0"] = lambda d, r: exact_influence(d, r, **first)
    ways["estimate, 32 probes"] = lambda d, r: estimated_influence(d, r, key=key)
    rows: list[dict[str, Any]] = []
    for name, way in ways.items():
        compiled = jax.jit(way).lower(decoder, resid).compile()
        run = functools.partial(compiled, decoder, resid)
        seconds = best_seconds(run, settings.repeats)
        rows.append({"method": name, "seconds": seconds, "xla_mb": _reserved(compiled)})
    rows[0]["seconds"] *= width
    return rows


def _one(decoder: Decoder, resid: jax.Array, cotangent: jax.Array) -> tuple[jax.Array, ...]:
    return jax.vjp(lambda r: decoder.represent(r)[0][-1], resid)[1](cotangent)


def _reserved(compiled: jax.stages.Compiled) -> float:
    memory: Any = compiled.memory_analysis()
    parts = "temp_size_in_bytes", "argument_size_in_bytes", "output_size_in_bytes"
    return sum(getattr(memory, part) for part in parts) / 2**20


def theirs(decoder: Decoder, resid: jax.Array, settings: Settings) -> list[dict[str, object]]:
    """Torch, one process for each chunk size and kind of attention."""
    if settings.torch_python is None:
        return []
    wanted = np.asarray(exact_influence(decoder, resid).frobenius[0])
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.npz"
        np.savez(path, **_arrays(decoder), resid=np.asarray(resid))
        for fused in (0, 1):
            for chunk in settings.chunks:
                numbers = map(str, (settings.heads, chunk, fused, settings.repeats))
                command = [str(settings.torch_python), "-W", "ignore", "-c", TORCH, str(path)]
                done = subprocess.run([*command, *numbers], capture_output=True, check=True)
                row = json.loads(done.stdout)
                gap = np.max(np.abs(np.asarray(row.pop("norms")) / wanted - 1))
                name = f"torch jacrev, {'fused' if fused else 'plain'} attention, chunk {chunk}"
                rows.append({"method": name, **row, "relative_gap": float(gap)})
    return rows


def _arrays(decoder: Decoder) -> dict[str, np.ndarray]:
    """Stacked weights by the last part of their names; gains by the name of their norm."""
    blocks = {
        name: getattr(decoder.blocks.attention, name)[...]
        for name in ("query", "key", "value", "output")
    }
    blocks |= {name: getattr(decoder.blocks.mlp, name)[...] for name in ("up", "down")}
    blocks |= {name: getattr(decoder.blocks, name).gain[...] for name in ("norm1", "norm2")}
    return {
        name: np.asarray(x) for name, x in {**blocks, "final": decoder.final_norm.gain[...]}.items()
    }


def main(settings: Settings) -> None:
    """Measures, prints, saves; complains if torch finds other norms."""
    config = DecoderConfig(
        vocab_size=64,
        num_layers=settings.layers,
        num_heads=settings.heads,
        model_dim=settings.width,
        mlp=DenseMlp(dim=4 * settings.width),
    )
    decoder = Decoder(config, key=draws.root_key(0))
    tokens = draws.integers(draws.root_key(1), (settings.length,), 0, 64)
    resid = decoder.enter(tokens)
    rows = ours(decoder, resid, settings) + theirs(decoder, resid, settings)
    exact = [r["seconds"] for r in rows if str(r["method"]).startswith("exact, batch")]
    for row in rows:
        row["over_our_best"] = row["seconds"] / min(exact)
        print(json.dumps(row))
    settings.out.parent.mkdir(parents=True, exist_ok=True)
    write_by_rename(settings.out, to_json([r | provenance() for r in rows], indent=2) + "\n")
    gaps = [r["relative_gap"] for r in rows if "relative_gap" in r]
    if gaps and max(gaps) > 1e-4:
        raise SystemExit(f"Torch's norms differ by up to {max(gaps):.1e}.")


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
