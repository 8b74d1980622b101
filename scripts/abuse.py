"""Abuses the package at random, and counts what is refused, what opens, and what goes wrong.

Damaged GGUF files, folders of models, checkpoints, their tokenizers and run folders, command lines
and calls, each in a process of its own. Wrong are: another error than one plain line, a traceback,
a process that ends by a signal or not at all, a refusal that takes over 2 s of CPU (5 s for a
damaged run folder, whose rows are read after the model is opened, and for a call, which may open
the toy) or 150 MB above the imported package, and one that leaves a file behind. A GGUF file or
folder that opens must have the logits and tokens of the whole one, but for logits where only
numbers of a tensor were damaged, and tokens where only a token's text or score, or a merge was
(``abuse_oracle.py``). A case is a function of seed, kind and number, so that a wrong one comes back
with ``--kinds KIND --first NUMBER --count 1``. Takes some seven minutes on two cores.
"""

import dataclasses
import importlib
import os
import pkgutil
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import NamedTuple

import tyro
from abuse_cases import KINDS, Case, finished_runs, made_models
from abuse_oracle import DIFFERS

from glassesjax import studies, surveys
from glassesjax.runs.provenance import code_fields
from glassesjax.runs.rows import RowFile, read_rows

CPU_SECONDS, MEGABYTES = 2.0, 150.0
OPENED = 3.0  # seconds more where a model is opened first: for the rows of a run, or by a call
KEY = ("source_sha256", "seed", "kind", "number")


@dataclasses.dataclass(frozen=True)
class Settings:
    """How much abuse."""

    kinds: tuple[str, ...] = tuple(KINDS)
    """gguf, folder, safetensors, tokenizer, run, command, call."""
    count: int = 60
    """Cases of each kind."""
    first: int = 0
    """Number of the first."""
    seed: int = 0
    """Of all draws."""
    workers: int = 1
    """Processes at once; on a busy machine refusals take more CPU, too."""
    seconds: float = 45.0
    """After these a process that has no run folder yet counts as hung."""
    grace: float = 8.0
    """How long one that took its settings and has a run folder may work before it is stopped."""
    out: Path = Path("runs/abuse.jsonl")
    """One row a case; those of the same sources are not tried again."""


class Running(NamedTuple):
    """A case under way."""

    kind: str
    number: int
    case: Case
    folder: Path
    before: frozenset[str]
    since: float

    def at_work(self) -> bool:
        """Whether settings were taken: there is a run folder that was not there before."""
        return any(str(path) not in self.before for path in self.folder.rglob("settings.json"))


def start(
    kind: str, number: int, settings: Settings, room: Path, finished: Path
) -> tuple[int, Running]:
    """Begins a case in a child; its words go to two files, results and errors."""
    folder = Path(tempfile.mkdtemp(dir=room))
    case = KINDS[kind](Random(f"{settings.seed} {kind} {number}"), folder, finished)
    before = frozenset(map(str, folder.rglob("*")))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # with JAX's threads in this process a child would hang
        child = os.fork()
    if child:
        return child, Running(kind, number, case, folder, before, time.monotonic())
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, name in ((1, "results"), (2, "errors")):
        os.dup2(os.open(f"{folder}.{name}", os.O_CREAT | os.O_WRONLY), number)
    os.chdir(folder)
    os._exit(_status(case))


def _status(case: Case) -> int:
    """How it ended: 0 done, 2 refused in a plain line, 70 by another error."""
    try:
        case.action()
        status = 0
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except ValueError as error:
        plain = str(error) and "\n" not in str(error)
        print(error, file=sys.stderr) if plain else traceback.print_exc()
        status = 2 if plain else 70
    except BaseException:
        traceback.print_exc()
        status = 70
    sys.stdout.flush()
    sys.stderr.flush()
    return status


def outcome(running: Running, status: int, used: resource.struct_rusage, megabytes: float) -> dict:
    """What became of a case, as a row."""
    results, errors = (
        Path(f"{running.folder}.{name}").read_text(errors="backslashreplace")
        for name in ("results", "errors")
    )
    words = results + errors
    # What is described before its tokenizer is refused is no part of the refusal.
    lines = [line for line in errors.splitlines() if line.strip()]
    cpu = used.ru_utime + used.ru_stime
    code = os.waitstatus_to_exitcode(status)
    left = frozenset(map(str, running.folder.rglob("*"))) - running.before
    at_work = running.at_work() or running.kind == "run"
    if "Traceback (most recent call last)" in words:
        found = "wrong: traceback"
    elif code == -signal.SIGKILL:
        found = "working" if at_work else "wrong: hangs"
    elif code == 2 and len(lines) != 1 and not at_work:
        found = f"wrong: refused in {len(lines)} lines"
    elif code == 2 and cpu > CPU_SECONDS + OPENED * (running.kind in ("run", "call")):
        found = "wrong: slow to refuse"
    elif code == 2 and megabytes > MEGABYTES:
        found = "wrong: refusal takes memory"
    elif code == 2 and running.kind == "command" and left:
        found = "wrong: refused and left files"
    elif code == 2:
        found = "refused"
    elif code in (0, 1):
        found = "opened"
    elif code == DIFFERS:
        found = "wrong: opens as another model"
    else:
        found = f"wrong: ends with {code}"
    return {
        "outcome": found,
        "case": running.case.text,
        "cpu_seconds": round(cpu, 2),
        "megabytes": round(megabytes, 1),
        "words": words.strip()[-800:],
    }


def tries(settings: Settings, wanted: list[tuple[str, int]], room: Path) -> Iterator[dict]:
    """Runs the cases, so many at once, and yields a row for each as it ends."""
    finished = room / "finished"
    finished.mkdir()
    if any(kind == "run" for kind, _ in wanted):
        finished_runs(finished)
    if any(kind in ("gguf", "folder") for kind, _ in wanted):
        made_models(finished)
    for package in (studies, surveys):  # imported once, not in each process
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    base = own_megabytes(os.getpid())
    running: dict[int, Running] = {}
    peaks: dict[int, float] = {}
    waiting = iter(wanted)
    while True:
        while len(running) < settings.workers and (following := next(waiting, None)):
            child, begun = start(*following, settings, room, finished)
            running[child] = begun
        if not running:
            return
        child, status, used = os.wait4(-1, os.WNOHANG)
        if not child:
            for pid, each in running.items():
                peaks[pid] = max(peaks.get(pid, 0.0), own_megabytes(pid) - base)
                age = time.monotonic() - each.since
                if age > settings.seconds or (age > settings.grace and each.at_work()):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
            continue
        ended = running.pop(child)
        row = outcome(ended, status, used, peaks.pop(child, 0.0))
        shutil.rmtree(ended.folder)
        yield {"kind": ended.kind, "number": ended.number, **row}


def own_megabytes(pid: int) -> float:
    """Memory of a process that is in no file: a peak between two looks at it is missed."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"RssAnon:\s+(\d+) kB", status)  # absent once the process has ended
    return int(found[1]) / 1024 if found else 0.0


def main(settings: Settings) -> None:
    """Tries, counts, and lists what went wrong; status 1 if anything did."""
    if unknown := set(settings.kinds) - set(KINDS):
        sys.exit(f"Expected --kinds of {', '.join(KINDS)}, got {unknown.pop()}: choose among them.")
    settings.out.parent.mkdir(parents=True, exist_ok=True)
    source = {"source_sha256": code_fields()["source_sha256"], "seed": settings.seed}
    numbers = range(settings.first, settings.first + settings.count)
    every = [(kind, number) for number in numbers for kind in settings.kinds]
    rows: list[dict] = []
    with tempfile.TemporaryDirectory() as room, RowFile(settings.out, KEY) as file:
        key = lambda kind, number: {**source, "kind": kind, "number": number}
        for row in tries(settings, [each for each in every if key(*each) not in file], Path(room)):
            file.append([{**source, **row}])
            if row["outcome"].startswith("wrong"):
                print(*(row[name] for name in ("kind", "number", "outcome", "case")), flush=True)
                print(row["words"])
    wanted = {tuple(key(*each).values()) for each in every}
    rows = [row for row in read_rows(settings.out) if tuple(row[name] for name in KEY) in wanted]
    print(f"{'':12} tried refused opened working wrong")
    for kind in settings.kinds:
        counts = Counter(str(row["outcome"]).split(":")[0] for row in rows if row["kind"] == kind)
        figures = (counts[name] for name in ("refused", "opened", "working", "wrong"))
        print(f"{kind:12} {counts.total():5} " + " ".join(f"{figure:7}" for figure in figures))
    sys.exit(any(str(row["outcome"]).startswith("wrong") for row in rows))


if __name__ == "__main__":
    main(tyro.cli(Settings))
