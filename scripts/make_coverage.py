"""Runs every instrument on a small bf16 folder of each family, and writes docs/models.md's table.

Each in a process of its own, for one process has room for some thousands of compiled programs
only. A quarter of a minute a run on one core. What an instrument refuses stands below the table in
its own words. Run with the project's own environment:

    .venv/bin/python scripts/make_coverage.py
"""

import dataclasses
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import tyro

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from model.made_families import ROWS, family_folder
from model.made_folders import BF16
from model.made_tokenizers import folder_of

from glassesjax.files import write_by_rename
from glassesjax.model.families.table import FAMILIES

PAGE = Path("docs/models.md")
BEGIN, END = "<!-- coverage: scripts/make_coverage.py -->\n", "<!-- end of coverage -->\n"
LONG = 1024  # tokens of context, for recall
SIZES = {
    "vocab_size": 420,  # of the tokenizer
    "max_position_embeddings": LONG,
    "n_positions": LONG,
    "original_max_position_embeddings": LONG,
}
INSTRUMENTS: Mapping[str, str] = {
    "collapse": "--families ones_bos --lengths 1 4 --formats bf16",
    "influence": "--prompt the --probes 2",
    "perplexity": "--max-tokens 48 --slots 8 --policies full tova",
    "retention": "--max-tokens 24 --slots 8 --policies tova",
    "recall": "--tasks verse --items 1 --depths 0.5 --policies tova --slots 64",
    "generate": "--prompt the --max-tokens 8 --slots 6 --policy tova",
    "longform": "--prompt the --max-tokens 8 --slots 6 --samples 2 --policies tova",
    "bounded": "--lengths 8 --max-tokens 8 --slots 6 --probes 2",
}
COVERED = "yes"


@dataclasses.dataclass(frozen=True)
class Settings:
    """Which families and instruments; the table is written where all are."""

    only: tuple[str, ...] = tuple(ROWS)
    """Names of families."""
    instruments: tuple[str, ...] = tuple(INSTRUMENTS)
    """Names of commands."""


def outcomes(family: str, instruments: tuple[str, ...]) -> Iterator[str]:
    """``yes``, or the line in which each instrument refuses a family.

    Args:
      family: Its ``model_type``.
      instruments: Keys of ``INSTRUMENTS``.

    Yields:
      One text each, without the name of the folder.

    Raises:
      RuntimeError: An instrument ended in another way than by a result or a refusal.
    """
    with tempfile.TemporaryDirectory() as root:
        folder = family_folder(Path(root) / family, family, BF16, **SIZES)
        folder_of(folder, "llama3")
        for name in instruments:
            words = [name, str(folder), *INSTRUMENTS[name].split(), "--out", f"{root}/{name}"]
            ran = subprocess.run(
                [sys.executable, "-m", "glassesjax", *words], capture_output=True, text=True
            )
            if ran.returncode not in (0, 2):
                ended = f"{name} on {family}: status {ran.returncode}"
                raise RuntimeError(f"{ended}\n{ran.stdout}\n{ran.stderr}")
            if ran.returncode == 0:
                yield COVERED
            else:
                line = ran.stderr.strip().splitlines()[-1].removeprefix("glassesjax: ")
                yield re.sub(r"\S*" + re.escape(root) + r"\S*", "DIR", line)


def table(found: Mapping[str, list[str]]) -> str:
    """The table in Markdown, and each refusal once below it."""
    reasons = list(dict.fromkeys(each for row in found.values() for each in row if each != COVERED))
    cell = lambda each: "✓" if each == COVERED else f"refused ({reasons.index(each) + 1})"
    lines = [f"| family | {' | '.join(INSTRUMENTS)} |", f"| --- |{' --- |' * len(INSTRUMENTS)}"]
    for family, row in found.items():
        lines.append(f"| {FAMILIES[family].title} | {' | '.join(map(cell, row))} |")
    notes = [f"{number}. {reason}" for number, reason in enumerate(reasons, start=1)]
    return "\n".join([*lines, "", *notes, ""] if notes else [*lines, ""])


def main(settings: Settings) -> None:
    """Prints the table, and writes it where it is whole."""
    found = {}
    for family in settings.only:
        found[family] = list(outcomes(family, settings.instruments))
        print(family, *found[family], sep=", ", file=sys.stderr, flush=True)
    if settings != Settings():
        return
    before, _, rest = PAGE.read_text().partition(BEGIN)
    write_by_rename(
        PAGE, before + BEGIN + "\n" + table(found) + "\n" + END + rest.partition(END)[2]
    )


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
