"""Times one dense pass under rounding plans, against the pass that rounds nothing.

Takes some two minutes for SmolLM2 at 256 tokens on two cores. Runs of the plans alternate, so that
other work on the machine slows all of them alike.
"""

import dataclasses
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import tyro

from glassesjax.files import to_json, write_by_rename
from glassesjax.model import Decoder, open_model
from glassesjax.precision import named_plan
from glassesjax.runs.provenance import provenance
from glassesjax.tasks.text import read_text


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a simulated pass costs."""

    model: str = "smollm2"
    """Any model that opens by name or path."""
    plans: tuple[str, ...] = ("f32", "bf16@all", "e4m3fn@all", "bf16-flash", "w4a16", "nvfp4")
    """Plans by name; the first is the one that others are compared with."""
    tokens: int = 256
    """Length of the prompt."""
    repeats: int = 5
    """Timed runs of each; the best counts."""
    out: Path = Path("runs/bench-plans.json")
    """Where the figures go."""


@jax.jit
def last_representation(decoder: Decoder, tokens: jax.Array) -> jax.Array:
    """What the last token ends as."""
    y, _ = decoder(tokens)
    return y[-1]


def main(settings: Settings) -> None:
    """Prints a line for each plan."""
    model = open_model(settings.model)
    tokens = model.tokenizer.encode(read_text("ferry"))[: settings.tokens]
    tokens = jnp.asarray(tokens, jnp.int32)
    rounded = {name: model.decoder.at(named_plan(name)) for name in settings.plans}
    best = dict.fromkeys(rounded, float("inf"))
    for repeat in range(settings.repeats + 1):
        for name, decoder in rounded.items():
            start = time.perf_counter()
            last_representation(decoder, tokens).block_until_ready()
            if repeat:  # the first run compiles
                best[name] = min(best[name], time.perf_counter() - start)
    first = best[settings.plans[0]]
    rows = [
        {"plan": name, "seconds": seconds, "ratio": seconds / first} | provenance()
        for name, seconds in best.items()
    ]
    for row in rows:
        print(f"{row['plan']:24} {row['seconds']:8.3f} s  {row['ratio']:6.2f}")
    settings.out.parent.mkdir(parents=True, exist_ok=True)
    write_by_rename(settings.out, to_json(rows, indent=2) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
