"""Writes docs/models.md's table of memory: from shapes, beside what XLA plans on a CPU.

The numbers of XLA are measured with ``--measure`` and kept in tests/data/large_memory.json.
Programs are compiled and never run. Some minutes for each size on one core:

    .venv/bin/python scripts/memory_table.py --measure 7B
    .venv/bin/python scripts/memory_table.py --measure 70B
    .venv/bin/python scripts/memory_table.py
"""

import dataclasses
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import tyro

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from memory_formulas import DEVICES, FEW, ROWS, Size, Xla, row_text

from glassesjax.files import write_by_rename

PAGE = Path("docs/models.md")
KEPT = Path("tests/data/large_memory.json")
BEGIN, END = "<!-- memory: scripts/memory_table.py -->\n", "<!-- end of memory -->\n"
# In the order that takes the least memory: the default one lets independent steps run at once.
ORDER = {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"}
HEADER = (
    "pass", "weights, GB", "state, GB", "temporaries, MB",
    *(f"XLA, {few} layers, MB" for few in FEW),
    "extended, MB", "XLA, all layers, MB", "sum, GB", "fits 80 GB",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Settings:
    """What to do."""

    measure: Literal["7B", "70B"] | None = None
    """Compiles the passes of a size; without it the table is written."""
    only: tuple[str, ...] = ()
    """Some of the passes; all if empty."""


def planned(name: str, size: Size, layers: int) -> int:
    """Bytes of temporaries on each device, as XLA for CPU plans a pass.

    Args:
      name: One of ``PASSES``.
      size: 7B or 70B; this process has as many devices.
      layers: Number of layers; all else is that of the size.

    Returns:
      Bytes.
    """
    # After the number of devices is set, which JAX reads once.
    import jax
    import numpy as np
    from jax.sharding import AxisType, Mesh
    from made_large import LLAMA_7B, LLAMA_70B, Sizes, program

    config = {"7B": LLAMA_7B, "70B": LLAMA_70B}[size]
    count = DEVICES[size]
    devices = np.asarray(jax.devices()[:count])
    mesh = Mesh(devices, ("model",), axis_types=(AxisType.Auto,)) if count > 1 else None
    with jax.enable_x64("float64" in name):
        run, args = program(name, Sizes(config, mesh).of(layers))
        compiled = run.lower(*args).compile(compiler_options=ORDER)
    return int(compiled.memory_analysis().temp_size_in_bytes)


def measure(size: Size, names: Iterable[str]) -> None:
    """Compiles passes, and keeps what XLA plans."""
    count = DEVICES[size]
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={count}"
    os.environ["XLA_FLAGS"] = flags
    for name in names:
        found = {str(layers): planned(name, size, layers) for layers in ROWS[name].layers(size)}
        kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
        kept.setdefault(size, {})[name] = found
        write_by_rename(KEPT, json.dumps(kept, indent=1) + "\n")
        print(size, name, found, file=sys.stderr, flush=True)


def table(size: Size, kept: Xla) -> str:
    """The table of a size in Markdown."""
    line = lambda cells: f"| {' | '.join(cells)} |"
    rows = [row_text(name, size, kept[size][name]) for name in ROWS]
    return "\n".join([line(HEADER), line(["---"] * len(HEADER)), *map(line, rows), ""])


def tables(kept: Xla) -> str:
    """What stands between the marks of the page."""
    one = f"LLaMA 2 7B on one device:\n\n{table('7B', kept)}"
    return f"\n{one}\nLLaMA 2 70B on 16 devices, bytes of each:\n\n{table('70B', kept)}\n"


def main(settings: Settings) -> None:
    """Measures, or writes the page."""
    if settings.measure is not None:
        measure(settings.measure, settings.only or ROWS)
        return
    before, _, rest = PAGE.read_text().partition(BEGIN)
    made = tables(json.loads(KEPT.read_text()))
    write_by_rename(PAGE, before + BEGIN + made + END + rest.partition(END)[2])


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
