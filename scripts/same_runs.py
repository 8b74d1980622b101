"""Runs small commands of every verb with two checkouts, and compares what they leave.

Compared are exit status, which must be 0 but for refusals, standard output, the last line of
progress, the names of all files, ``settings.json``, ``summary.json``, ``arrays.npz``, and
``rows.jsonl``: the same rows in the same order, with the same fields in the same order and the same
values, but for the fields of ``BY_NATURE``. Takes some eight minutes a side on one core with an
empty compilation cache. What the first checkout left is kept in ``out`` and used again, so that
another state of the second one needs its own side only; choose another ``out`` for another first
checkout.
"""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

import tyro

# What may differ between two runs of code that does the same, and why. Such a field must be there
# on both sides.
BY_NATURE = {
    "commit": "of the checkout",
    "source_sha256": "digest of the package's sources",
    "fingerprint": "digest of the sources that make rows of the ledger",
    "tokens_per_second": "a time",
}
# Commands that are done in seconds, and leave a folder.
STUDIES = {
    "collapse": "collapse toy --families ones_bos alternating --lengths 1 4 16"
    " --formats bf16 e4m3fn --positions none rotary",
    "influence": "influence toy --prompt 12,34 --probes 2",
    "influence-exact": "influence toy --max-tokens 6 --passages 1 --method exact",
    "generate": "generate toy --prompt 12 345 --max-tokens 8 --slots 6",
    "perplexity": "perplexity toy --max-tokens 48 --slots 8 --policies full short window h2o tova",
    "retention": "retention toy --max-tokens 24 --slots 8 --policies h2o tova",
    "recall": "recall smollm2 --tasks verse --items 1 --depths 0.5 --policies tova --slots 64",
    "longform": "longform toy --prompt 12 --max-tokens 8 --slots 8 --samples 2 --policies tova",
    "bounded": "bounded toy --lengths 8 --max-tokens 8 --slots 6 --probes 2 --positions none",
    "train": "train copy_at --steps 4 --batch 2 --width 8 --heads 1 --layers 1 --examples 2"
    " --lengths 2 4 --seeds 2 --influence-examples 1",
    "sweep": "sweep --grid task=count_ones,copy_last steps=2 batch=2 width=8 heads=1 layers=1"
    " examples=2 positions=none remedy=none lengths=2:4",
    "verify": "verify",
}
# Commands that print only.
PRINTS = {"models": "models", "backend": "backend"}
# Commands that are refused, which is exit status 2. All others must succeed: two that fail alike
# would compare nothing.
REFUSED = {
    "refused-model": "collapse gpt5 --out refused-model",
    "refused-value": "influence toy --probes 1 --out refused-value",
    "refused-claim": "verify --only lem_b0 --out refused-claim",
    "misspelt-verb": "colapse toy",
    "misspelt-flag": "collapse toy --lenghts 1",
    "no-verb": "",
}
CASES = {**{name: f"{words} --out {name}" for name, words in STUDIES.items()}, **PRINTS, **REFUSED}


@dataclasses.dataclass(frozen=True)
class Settings:
    """Two checkouts, and which commands."""

    before: Path | None = None
    """The first checkout; if absent all of its side must be kept already."""
    after: Path | None = None
    """The second checkout; if absent nothing is compared, and the first one's side is made."""
    only: tuple[str, ...] = tuple(CASES)
    """Which commands."""
    texts: bool = False
    """Compare figures and pages as well, with the values of ``BY_NATURE`` cut out."""
    out: Path = Path("runs/same")
    """Where the folders before/ and after/ go."""


def run(name: str, checkout: Path, side: Path) -> None:
    """Runs a command with the package of a checkout.

    Args:
      name: Of the command.
      checkout: Goes to the front of Python's path.
      side: Gets the run folder ``name``, and ``name.json`` with status and output once it ended.
    """
    side.mkdir(parents=True, exist_ok=True)
    record = side / f"{name}.json"
    record.unlink(missing_ok=True)
    shutil.rmtree(side / name, ignore_errors=True)
    done = subprocess.run(
        [sys.executable, "-m", "glassesjax", *CASES[name].split()],
        cwd=side,  # where --out is relative: both sides have the same words
        env=os.environ | {"PYTHONPATH": str(checkout.resolve())},
        capture_output=True,
        text=True,
        check=False,
    )
    streams = {"stdout": done.stdout.splitlines(), "stderr": done.stderr.splitlines()}
    record.write_text(json.dumps({"words": CASES[name], "status": done.returncode, **streams}))


def is_kept(name: str, side: Path) -> bool:
    """Whether a side has this very command already.

    Args:
      name: Of the command.
      side: What ``run`` has filled.

    Returns:
      False also where it was another command of that name.
    """
    record = side / f"{name}.json"
    return record.is_file() and json.loads(record.read_text())["words"] == CASES[name]


def recorded(name: str, side: Path) -> dict[str, Any]:
    """What ``run`` noted of a command.

    Args:
      name: Of the command.
      side: What ``run`` has filled.

    Returns:
      Its ``words``, ``status``, and the lines of ``stdout`` and ``stderr``; addresses within the
      side start with ``file:///SIDE/``, so that the place of a page is the same on both.
    """
    text = (side / f"{name}.json").read_text()
    return json.loads(text.replace(f"{side.resolve().as_uri()}/", "file:///SIDE/"))


def expected_status(name: str) -> int:
    """The exit status that a command must have on both sides.

    Args:
      name: Of the command.

    Returns:
      2 for what is to be refused, else 0.
    """
    return 2 if name in REFUSED else 0


def differences(name: str, before: Path, after: Path, *, texts: bool = False) -> Iterator[str]:
    """What a command left that is not the same on both sides.

    Args:
      name: Of the command.
      before: One side.
      after: The other one.
      texts: Whether pages and figures count.

    Yields:
      A line for each difference, of rows the first one only; and for an exit status that is not the
      expected one.
    """
    old, new = (recorded(name, side) for side in (before, after))
    if old["status"] != new["status"]:
        yield f"exit status {old['status']}, then {new['status']}"
    elif old["status"] != expected_status(name):
        yield f"exit status {old['status']} on both sides, not {expected_status(name)}"
    yield from _first(old["stdout"], new["stdout"], "line {} of standard output")
    if old["status"] == 0:  # the words of a refusal may get better
        yield from _first(old["stderr"][-1:], new["stderr"][-1:], "the last line of standard error")
    names = [_files(side / name) for side in (before, after)]
    for file in sorted(names[0] ^ names[1]):
        yield f"{file} only {'before' if file in names[0] else 'after'}"
    for file in sorted(names[0] & names[1]):
        paths = [side / name / file for side in (before, after)]
        if paths[0].name == "settings.json":
            settings = [json.loads(path.read_text()) for path in paths]
            yield from _fields(*settings, file)
        elif paths[0].name == "rows.jsonl":
            yield from _rows(*paths, file)
        elif paths[0].name == "summary.json":
            summaries = [_lasting(json.loads(path.read_text())) for path in paths]
            yield from _fields(*summaries, file)
        elif paths[0].suffix == ".npz" and paths[0].read_bytes() != paths[1].read_bytes():
            yield f"{file}: other bytes"
        elif texts and paths[0].suffix in (".svg", ".html"):
            lines = [_neutral(path, side / name) for path, side in zip(paths, (before, after))]  # noqa: B905
            yield from _first(*lines, f"{file}, line {{}}")


def _files(folder: Path) -> set[str]:
    """Names of all files; those within a checkpoint are named by orbax after their content."""
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {path.as_posix() for path in paths if "state" not in path.parts}


def _rows(before: Path, after: Path, file: str) -> Iterator[str]:
    """The first row that differs."""
    old, new = (
        [json.loads(line) for line in path.read_text().splitlines()] for path in (before, after)
    )
    for number, (was, now) in enumerate(zip(old, new), start=1):  # noqa: B905
        if found := next(_fields(was, now, f"{file}, row {number}"), None):
            yield found
            break
    else:
        if len(old) != len(new):
            yield f"{file}: {len(old)} rows, then {len(new)}"


def _fields(old: dict[str, Any], new: dict[str, Any], where: str) -> Iterator[str]:
    """Fields that are not the same, in the same order; 1 is neither 1.0 nor true."""
    yield from _first(list(old), list(new), f"{where}: field {{}}")
    for name in old:
        if name in new and name not in BY_NATURE:
            values = [json.dumps(fields[name]) for fields in (old, new)]
            if values[0] != values[1]:
                yield f"{where}: {name} {values[0]:.100}, then {values[1]:.100}"


def _lasting(value: Any) -> Any:  # noqa: ANN401  (of a summary)
    """A summary without what differs by nature, at any depth."""
    if isinstance(value, dict):
        kept = {name: each for name, each in value.items() if name not in BY_NATURE}
        return {name: _lasting(each) for name, each in kept.items()}
    return [_lasting(each) for each in value] if isinstance(value, list) else value


def _neutral(path: Path, folder: Path) -> list[str]:
    """A text without what differs by nature, as far as the run's own records and rows have it."""
    text, whole = path.read_text(), json.loads((folder / "provenance.json").read_text())
    for record in (whole, *whole.get("records", ())):
        for name in BY_NATURE:
            if record.get(name):
                text = text.replace(str(record[name]), f"<{name}>")
    rows = map(json.loads, (folder / "rows.jsonl").read_text().splitlines())
    for rate in {row.get("tokens_per_second") for row in rows} - {None}:  # as a cell of a table
        text = re.sub(rf"(?<=>){rate:.0f}(?=[ <])", "<tokens_per_second>", text)
    return text.splitlines()


def _first(old: Iterable[str], new: Iterable[str], where: str) -> Iterator[str]:
    """The first of several things that is not the same."""
    for number, (was, now) in enumerate(zip_longest(old, new), start=1):
        if was != now:
            yield f"{where.format(number)} {was!r:.100}, then {now!r:.100}"
            return


def main(settings: Settings) -> None:
    """Runs, compares, prints a line a command with its exit status.

    Ends with status 1 if anything differs, or a command's exit status is not the expected one.
    """
    if unknown := [name for name in settings.only if name not in CASES]:
        sys.exit(f"Expected --only of {', '.join(CASES)}, got {unknown[0]}: choose among them.")
    before, after = settings.out / "before", settings.out / "after"
    differs = False
    for name in settings.only:
        if not is_kept(name, before):
            if settings.before is None:
                sys.exit(f"Expected {name} in {before}, got none: give --before.")
            run(name, settings.before, before)
        if settings.after is None:
            status = recorded(name, before)["status"]
            differs |= status != expected_status(name)
            print(f"{name:16} {status}  expected {expected_status(name)}", flush=True)
            continue
        run(name, settings.after, after)
        found = list(differences(name, before, after, texts=settings.texts))
        differs |= bool(found)
        status = recorded(name, after)["status"]
        print(f"{name:16} {status}  {'; '.join(found) or 'equal'}", flush=True)
    sys.exit(differs)


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
