"""Times a whole collapse curve in one pass against one pass for each prompt, and checks the two.

Takes about a minute for the toy and three for SmolLM2 on two cores. Expect the ratio to come near
the number of prompts for short curves, and less for long ones: the one pass is as long as the
longest prompt, and of n passes padded to that length each costs as much.
"""

import dataclasses
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from glassesjax.files import to_json, write_by_rename
from glassesjax.model import Decoder, open_model
from glassesjax.runs.provenance import provenance
from glassesjax.trace import last_representations, pack


@dataclasses.dataclass(frozen=True)
class Settings:
    """One pass for all lengths, against one pass for each prompt."""

    models: tuple[str, ...] = ("toy", "smollm2")
    """toy, smollm2, or the path of a .gguf file."""
    length: int = 512
    """Longest run; all lengths are powers of two up to it, each with its successor."""
    repeats: int = 3
    """Timed runs of each; the median counts."""
    out: Path = Path("runs/bench-collapse.json")
    """Where the figures go."""


@jax.jit
def single_pass(decoder: Decoder, tokens: jax.Array, last: jax.Array) -> jax.Array:
    """The representation of one prompt, padded behind: what a user without trees would write."""
    y, _ = decoder(tokens)
    return y[last]


def one_by_one(decoder: Decoder, prompts: list[tuple[int, ...]]) -> jax.Array:
    """One compiled pass for each prompt."""
    longest = max(map(len, prompts))
    padded = [np.pad(np.asarray(p, np.int32), (0, longest - len(p))) for p in prompts]
    states = [single_pass(decoder, jnp.asarray(p), len(q) - 1) for p, q in zip(padded, prompts)]  # noqa: B905
    return jnp.stack(states)


def median_seconds(run: Callable[[], jax.Array], repeats: int) -> float:
    """Seconds of a run that is already compiled."""
    run().block_until_ready()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run().block_until_ready()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def measure(name: str, settings: Settings) -> dict[str, object]:
    """Times both ways on one model, in float32, and how far apart their results are."""
    model = open_model(name)
    (one, zero) = model.tokenizer.encode_symbols(("1", "0"))
    lengths = [2**k for k in range(settings.length.bit_length()) if 2**k <= settings.length]
    prompts = [(one,) * (n + extra) + (zero,) for n in lengths for extra in (0, 1)]
    fast = lambda: last_representations(model.decoder, prompts)
    slow = lambda: one_by_one(model.decoder, prompts)
    gap = jnp.max(jnp.abs(fast() - slow())) / jnp.max(jnp.abs(slow()))
    seconds = {"one_pass_s": median_seconds(fast, settings.repeats)}
    seconds["pass_per_prompt_s"] = median_seconds(slow, settings.repeats)
    return {
        "model": name,
        "prompts": len(prompts),
        "longest": max(map(len, prompts)),
        "tokens_in_trees": sum(len(tree.tokens) for tree in pack(prompts)),
        **seconds,
        "ratio": seconds["pass_per_prompt_s"] / seconds["one_pass_s"],
        "relative_gap": float(gap),
    }


def main(settings: Settings) -> None:
    """Measures, prints, saves."""
    rows = [measure(name, settings) | provenance() for name in settings.models]
    for row in rows:
        print(json.dumps({key: row[key] for key in list(row)[:7]}))
    settings.out.parent.mkdir(parents=True, exist_ok=True)
    write_by_rename(settings.out, to_json(rows, indent=2) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
