"""Changes formulas at random places and counts how many of the changes a test notices.

``formula_mutants`` says what is changed. Each mutant is written into a copy of the tree, where the
tests nearest to its module run until the first one fails. A mutant takes ten seconds to two minutes
on one core; a run that was stopped continues. Expect survivors among roundings, tolerances and
guards that only protect from overflow: ``tests/data/mutants.jsonl`` keeps those that were drawn,
with what noticed them or why nothing can; ``--stored`` tries them again after a change of code.
"""

import dataclasses
import difflib
import hashlib
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue

import tyro

sys.path.insert(0, str(Path(__file__).parent))
from formula_mutants import KINDS, Mutant, mutants_of

from glassesjax.files import Row, Value, to_json, write_by_rename
from glassesjax.runs.rows import RowFile, read_rows

KEY = ("module", "function", "kind", "occurrence", "digest")
STORED = Path("tests/data/mutants.jsonl")
PACKAGES = ("theory", "trace")
FILES = ("cache/policies", "precision/norms", "precision/rounding")
SURVIVED, TIMEOUT = "survived", "timeout"
Z = 1.959963984540054  # 95 % of a normal distribution lie within


@dataclasses.dataclass(frozen=True)
class Settings:
    """Mutants of the formulas, and whether a test notices."""

    each: int = 25
    """How many of each kind, drawn without repetition."""
    kinds: tuple[str, ...] = KINDS
    """Which kinds of change."""
    seed: int = 0
    """Of the draw. A change of code draws anew only in the functions that it changes."""
    workers: int = 1
    """Mutants tried at once."""
    timeout: int = 120
    """Seconds for each file of tests, after which a mutant counts as killed: it does not end."""
    stored: bool = False
    """Take ``tests/data/mutants.jsonl`` in place of a draw: what died there must die."""
    again: bool = False
    """Try those of the draw again that survived."""
    show: bool = False
    """Try nothing: print the rates by kind and the survivors of ``out``, or of the stored ones."""
    out: Path = Path("runs/mutants.jsonl")
    """One row a mutant."""


def key_of(row: Mutant | Row) -> tuple[Value, ...]:
    """What tells a mutant from others, and from one of an earlier state of its function."""
    return row[: len(KEY)] if isinstance(row, Mutant) else tuple(row[name] for name in KEY)


def modules() -> list[Path]:
    """All that is mutated, relative to the root."""
    root = Path("glassesjax")
    packages = [path for name in PACKAGES for path in sorted((root / name).glob("*.py"))]
    files = [root / f"{name}.py" for name in FILES]
    return [path for path in (*packages, *files) if path.name != "__init__.py"]


def all_mutants() -> list[Mutant]:
    """Every mutant of every module."""
    return [mutant for path in modules() for mutant in mutants_of(str(path), path.read_text())]


def drawn(every: Iterable[Mutant], settings: Settings) -> list[Mutant]:
    """The first of each kind in an order that depends on each mutant's own name only."""
    place = lambda mutant: hashlib.sha256(f"{settings.seed} {key_of(mutant)}".encode()).digest()
    ordered = sorted(every, key=place)
    of_kind = lambda kind: [mutant for mutant in ordered if mutant.kind == kind]
    return [mutant for kind in settings.kinds for mutant in of_kind(kind)[: settings.each]]


def matched(every: Iterable[Mutant], row: Row) -> Mutant | None:
    """A stored mutant in today's code, wherever its function now stands; None if it has changed.

    Where another part of the function has changed, or the function's name: by the lines that the
    mutant changes, if they still stand in its module or in a function of this name, and there once.
    """
    every = list(every)
    fits = [mutant for mutant in every if key_of(mutant)[1:] == key_of(row)[1:]]
    fits.sort(key=lambda mutant: mutant.module != row["module"])
    if fits:
        return fits[0]
    lines = _bare_lines(str(row["code"]))
    for place, name in ((0, "module"), (1, "function")):
        near = [other for other in every if other.kind == row["kind"] and other[place] == row[name]]
        fits = [mutant for mutant in near if _bare_lines(difference(mutant)) == lines]
        if fits:
            return fits[0] if len(fits) == 1 else None
    return None


def _bare_lines(text: str) -> list[str]:
    """Lines without spaces and comments."""
    return [re.sub(r"\s+(#.*)?", "", line) for line in text.splitlines()]


def watchers(mutant: Mutant, killer: str = "") -> list[str]:
    """Test files that may notice: of the function, the module, its names, and what imports it.

    Tests of other packages count where these have none that imports the module. The test that
    noticed it before comes first, wherever it now stands.
    """
    path = Path(mutant.module)
    package, stem = path.parts[1], path.stem
    exports = re.findall(r"^(?:def|class) ([A-Za-z]\w*)|^([A-Z]\w*) =", path.read_text(), re.M)
    names = {name for pair in exports for name in pair if name}
    dotted = f"glassesjax.{package}.{stem}"
    near = [other for other in modules() if f"{dotted} import" in other.read_text()]
    nearby = {str(other.with_suffix("")).replace("/", ".") for other in near}
    texts = {test: test.read_text() for test in sorted(Path("tests").rglob("test_*.py"))}

    def rank(test: Path) -> int:
        text, imported = texts[test], set(re.findall(r"\w+", _imports(texts[test])))
        if mutant.function in imported:
            return 0
        if stem in test.stem or dotted in text:
            return 1
        if names & imported and f"glassesjax.{package}" in text:
            return 2
        stems = any(other.stem in test.stem for other in near)
        return 3 if stems or any(f"{other} import" in text for other in nearby) else 4

    inside = [test for test in texts if test.parts[1] in (package, *PACKAGES) and rank(test) < 4]
    inside = inside or [test for test in texts if f"{dotted} import" in texts[test]]
    first = _files_of(killer, texts)
    return [str(test) for test in dict.fromkeys((*first, *sorted(inside, key=rank)))]


def _files_of(test: str, texts: dict[Path, str]) -> list[Path]:
    """The file of a test as pytest names it, or those to which the test may have moved."""
    file, _, name = test.partition("::")
    files = [path for path, text in texts.items() if name and f"def {name}(" in text]
    return [Path(file)] if Path(file) in files else files


def _imports(text: str) -> str:
    return "\n".join(re.findall(r"^from glassesjax[^(\n]*(?:\([^)]*\))?", text, re.M))


def fate(mutant: Mutant, tests: Sequence[str], root: Path, timeout: int) -> str:
    """The test that noticed the mutant in this copy of the tree, ``timeout`` or ``survived``."""
    original = (root / mutant.module).read_text()
    (root / mutant.module).write_text(mutant.code)
    try:
        return failing(tests, root, timeout) or SURVIVED
    except subprocess.TimeoutExpired:
        return TIMEOUT
    finally:
        (root / mutant.module).write_text(original)


def failing(tests: Sequence[str], root: Path, timeout: int) -> str:
    """The first test that fails, file by file; the first file if none ran; nothing if all pass."""
    if not tests:
        return ""  # pytest would take all there are
    pytest = ["-m", "pytest", "-x", "-q", "-rfE", "--tb=no", "-p", "no:cacheprovider"]
    pytest += ["-p", "no:ceiling"]  # a mutant that only costs more is not noticed
    environment = os.environ | {"PYTHONPATH": str(root), "SHAPES": "1"}
    environment |= {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    environment.setdefault("JAX_COMPILATION_CACHE_DIR", str(root.parent / "cache"))
    environment.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    done = subprocess.run(
        [sys.executable, *pytest, "-m", "not slow", *tests],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout * len(tests),
        check=False,
    )
    if done.returncode in (0, 5):  # 5: all of them are slow
        return ""
    failed = re.search(r"^(?:FAILED|ERROR) ([^\s\[]+)", done.stdout, re.M)
    return failed[1] if failed else tests[0]


def copies(number: int, folder: Path) -> Queue:
    """As many copies of the tracked tree."""
    files = subprocess.check_output(["git", "ls-files"], text=True).split()
    queue: Queue = Queue()
    for index in range(number):
        root = folder / str(index)
        for file in files:
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, root / file)
        queue.put(root)
    return queue


def difference(mutant: Mutant) -> str:
    """The lines that it changes, before and after."""
    before, after = Path(mutant.module).read_text().splitlines(), mutant.code.splitlines()
    lines = difflib.unified_diff(before, after, n=0, lineterm="")
    return "\n".join(line for line in lines if line[0] in "+-" and line[:3] not in ("+++", "---"))


def wilson(killed: int, tried: int) -> tuple[float, float]:
    """The 95 % interval of a rate (E. B. Wilson, 1927)."""
    center = killed + Z * Z / 2
    spread = Z * math.sqrt(killed * (tried - killed) / tried + Z * Z / 4)
    return (center - spread) / (tried + Z * Z), (center + spread) / (tried + Z * Z)


def report(rows: Sequence[Row]) -> Iterator[str]:
    """Rates by kind with their intervals, then the survivors."""
    survivors = [row for row in rows if row["fate"] == SURVIVED]
    for kind in (*KINDS, "all"):
        tried = [row for row in rows if kind in (row["kind"], "all")]
        if tried:
            killed = sum(row["fate"] != SURVIVED for row in tried)
            low, high = wilson(killed, len(tried))
            rate = f"{killed / len(tried):.0%} (95 %: {low:.0%} to {high:.0%})"
            yield f"{kind:10} {killed} of {len(tried)} killed, {rate}"
    for row in survivors:
        where = f"{row['module']} {row['function']}, {row['kind']} {row['occurrence']}"
        yield f"\n{where}: {row.get('reason', 'nothing noticed')}\n{row['code']}"


def main(settings: Settings) -> None:
    """Draws, tries, reports."""
    if settings.show:
        print(*report(read_rows(STORED if settings.stored else settings.out)), sep="\n")
        return
    if settings.stored:
        sys.exit(retry(settings))
    if settings.again and settings.out.exists():
        kept = [row for row in read_rows(settings.out) if row["fate"] != SURVIVED]
        write_by_rename(settings.out, "".join(f"{to_json(row)}\n" for row in kept))
    wanted = drawn(all_mutants(), settings)
    tries = [(mutant, watchers(mutant)) for mutant in wanted]
    print(*report(attempts(tries, settings.out, settings)), sep="\n")


def retry(settings: Settings) -> int:
    """Tries what died before. One run, which may be stopped and continued, is one file."""
    out, every, tries = settings.out.with_stem(f"{settings.out.stem}-again"), all_mutants(), []
    for row in read_rows(STORED):
        if row["fate"] == SURVIVED:
            continue
        if mutant := matched(every, row):
            tries.append((mutant, watchers(mutant, str(row["fate"]))))
        else:
            print("no longer applies:", *key_of(row)[:-1])
    rows = attempts(tries, out, settings)
    out.unlink()  # the next run is another one
    print(*report(rows), sep="\n")
    return int(any(row["fate"] == SURVIVED for row in rows))


def attempts(tries: Sequence[tuple[Mutant, list[str]]], out: Path, settings: Settings) -> list[Row]:
    """Tries mutants that have no row yet; then all rows of those that were asked for."""
    named = lambda mutant: dict(zip(KEY, key_of(mutant), strict=True))
    out.parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        RowFile(out, KEY) as file,
        ThreadPoolExecutor(settings.workers) as pool,
    ):
        roots = copies(settings.workers, Path(folder))

        def attempt(mutant: Mutant, tests: Sequence[str]) -> dict[str, Value]:
            root = roots.get()
            try:
                found = fate(mutant, tests, root, settings.timeout)
            finally:
                roots.put(root)
            return {**named(mutant), "fate": found, "code": difference(mutant)}

        left = [pair for pair in tries if named(pair[0]) not in file]
        # If one fails without a mutant, each mutant would count as killed.
        if every := sorted({test for _, tests in left for test in tests}):
            root = roots.get()
            if killer := failing(every, root, settings.timeout):
                sys.exit(f"Expected a tree without failures, got {killer}: mend it first.")
            roots.put(root)
        for row in pool.map(lambda pair: attempt(*pair), left):
            file.append([row])
            print(row["fate"], *key_of(row)[:-1], row["code"], sep="  ", flush=True)
    wanted = {key_of(mutant) for mutant, _ in tries}
    return [row for row in read_rows(out) if key_of(row) in wanted]


if __name__ == "__main__":
    main(tyro.cli(Settings))
