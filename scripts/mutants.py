"""Mutates the theory at random places and counts how many mutants the tests or the ledger kill.

Needs ``pip install --group mutation`` (cosmic-ray makes the mutants). Each mutant is written into a
copy of the tree, where the test files that import its module run first, then the claims that do.
A hundred mutants take about half an hour on two cores; a run that was stopped continues. Expect
survivors among roundings, tolerances and guards that only protect from overflow.
"""

import ast
import dataclasses
import difflib
import hashlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from typing import NamedTuple

import cosmic_ray.plugins
import tyro
from cosmic_ray.ast import ast_nodes, get_ast_from_path
from cosmic_ray.mutating import mutate_code

from glassesjax.records import RowFile, Value, read_rows

ARITHMETIC = ("Add", "Sub", "Mul", "Div", "Pow")
# Swaps that change a value and not a type: a sum that becomes a shift would die at once.
OPERATORS = (
    *(f"ReplaceBinaryOperator_{a}_{b}" for a in ARITHMETIC for b in ARITHMETIC if a != b),
    *(
        f"ReplaceComparisonOperator_{a}"
        for a in (
            "Eq_NotEq",
            "NotEq_Eq",
            "Lt_LtE",
            "Lt_GtE",
            "LtE_Lt",
            "LtE_Gt",
            "Gt_GtE",
            "Gt_LtE",
        )
    ),
    *("ReplaceComparisonOperator_GtE_Gt", "ReplaceComparisonOperator_GtE_Lt"),
    *("ReplaceUnaryOperator_Delete_USub", "ReplaceUnaryOperator_Delete_Invert"),
    *("NumberReplacer", "ReplaceTrueWithFalse", "ReplaceFalseWithTrue"),
    *("ReplaceAndWithOr", "ReplaceOrWithAnd", "AddNot"),
)


@dataclasses.dataclass(frozen=True)
class Settings:
    """Mutants of the theory, and whether anything notices."""

    count: int = 160
    """How many, drawn without repetition."""
    seed: int = 0
    """Of the draw."""
    workers: int = 2
    """Mutants tried at once."""
    timeout: int = 600
    """Seconds after which a mutant counts as killed: it does not end."""
    out: Path = Path("runs/mutants.jsonl")
    """One row a mutant."""


KEY = ("module", "operator", "occurrence", "digest")


class Mutant(NamedTuple):
    """One change at one place."""

    module: str
    operator: str
    occurrence: int
    code: str


def key_of(mutant: Mutant) -> dict[str, Value]:
    """What tells it from others, and from a mutant of an earlier state of its module."""
    digest = hashlib.sha256(mutant.code.encode()).hexdigest()[:16]
    return dict(zip(KEY, (*mutant[:3], digest), strict=True))


def modules() -> list[Path]:
    """All that is mutated, relative to the root."""
    theory = sorted(Path("glassesjax/theory").glob("*.py"))
    return [
        *(path for path in theory if path.name != "__init__.py"),
        Path("glassesjax/trace/rollout.py"),
    ]


def _bare(code: str) -> str | None:
    """What of the code runs, without annotations; None where it is no code at all."""
    try:
        tree = ast.parse(code)
    except SyntaxError:  # an asterisk that parts keyword arguments is no product
        return None
    for node in ast.walk(tree):
        if isinstance(node, ast.arg | ast.AnnAssign):
            node.annotation = ast.Constant(None)
        if isinstance(node, ast.FunctionDef):
            node.returns = None
    return ast.dump(tree)


def all_mutants() -> Iterator[Mutant]:
    """Every mutant that changes what runs."""
    for path in modules():
        code = path.read_text()
        tree, bare = get_ast_from_path(path), _bare(code)
        for name in OPERATORS:
            operator = cosmic_ray.plugins.get_operator(f"core/{name}")()
            places = sum(len(list(operator.mutation_positions(node))) for node in ast_nodes(tree))
            for occurrence in range(places):
                changed = mutate_code(code, operator, occurrence)
                if changed is not None and _bare(changed) not in (bare, None):
                    yield Mutant(str(path), name, occurrence, changed)


def watchers(module: str) -> tuple[list[str], list[str]]:
    """Test files and claims that import a module, its own test file first."""
    name = module.removesuffix(".py").replace("/", ".")
    imports = lambda path: name in path.read_text() or name.rpartition(".")[2] in path.stem
    tests = sorted(
        filter(
            imports,
            [*Path("tests/theory").glob("test_*.py"), *Path("tests/trace").glob("test_*.py")],
        )
    )
    tests.sort(key=lambda path: path.stem != f"test_{Path(module).stem}")
    claims = [path.stem for path in sorted(Path("proofs_numeric").glob("*.py")) if imports(path)]
    return [str(path) for path in tests], claims


def commands(module: str, out: str) -> list[list[str]]:
    """What may notice a mutant of a module: its tests one file at a time, then its claims."""
    tests, claims = watchers(module)
    pytest = [
        sys.executable,
        "-m",
        "pytest",
        "-x",
        "-q",
        "-m",
        "not slow",
        "-p",
        "no:cacheprovider",
    ]
    verify = [
        sys.executable,
        "-c",
        "import sys; from glassesjax.cli import main; main(sys.argv[1:])",
    ]
    registered = _registered(claims)
    ledger = [[*verify, "verify", "--only", *registered, "--out", out]] if registered else []
    return [*([*pytest, test] for test in tests), *ledger]


def fate(mutant: Mutant, root: Path, timeout: int) -> str:
    """What noticed the mutant in this copy of the tree, or ``survived``."""
    original = (root / mutant.module).read_text()
    (root / mutant.module).write_text(mutant.code)
    try:
        with tempfile.TemporaryDirectory() as out:
            for command in commands(mutant.module, f"{out}/run"):
                if _run(command, root, timeout):
                    return command[-1] if "pytest" in command else "verify"
    except subprocess.TimeoutExpired:
        return "timeout"
    finally:
        (root / mutant.module).write_text(original)
    return "survived"


def check_baseline(names: Iterable[str], root: Path, timeout: int) -> None:
    """Nothing may fail without a mutant, or each mutant of that module would count as killed."""
    with tempfile.TemporaryDirectory() as out:
        wanted = {tuple(c): None for name in names for c in commands(name, f"{out}/run")}
        for command in wanted:
            shutil.rmtree(f"{out}/run", ignore_errors=True)
            if _run(list(command), root, timeout):
                sys.exit(f"Wanted a tree without failures; this fails: {' '.join(command[1:])}")


def _registered(names: list[str]) -> list[str]:
    from proofs_numeric.claims import CLAIMS

    return [claim.name for claim in CLAIMS if claim.name in names]


def _run(command: list[str], root: Path, timeout: int) -> bool:
    """Whether the command notices: it does not exit with 0."""
    environment = os.environ | {
        "PYTHONPATH": str(root),
        "XLA_FLAGS": "--xla_backend_optimization_level=0",
    }
    done = subprocess.run(
        command, cwd=root, env=environment, capture_output=True, timeout=timeout, check=False
    )
    return done.returncode != 0


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


def main(settings: Settings) -> None:
    """Draws, tries, reports."""
    every = list(all_mutants())
    if not 1 <= settings.count <= len(every):
        sys.exit(f"Wanted --count from 1 to {len(every)}; found {settings.count}.")
    drawn = random.Random(settings.seed).sample(every, settings.count)
    settings.out.parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        RowFile(settings.out, KEY) as file,
        ThreadPoolExecutor(settings.workers) as pool,
    ):
        roots = copies(settings.workers, Path(folder))
        first = roots.get()
        check_baseline(sorted({mutant.module for mutant in drawn}), first, settings.timeout)
        roots.put(first)

        def attempt(mutant: Mutant) -> dict:
            root = roots.get()
            try:
                found = fate(mutant, root, settings.timeout)
            finally:
                roots.put(root)
            before = Path(mutant.module).read_text().splitlines()
            lines = difflib.unified_diff(before, mutant.code.splitlines(), n=0, lineterm="")
            diff = [line for line in lines if line[0] in "+-" and line[:3] not in ("+++", "---")]
            return {**key_of(mutant), "fate": found, "code": "\n".join(diff)}

        wanted = [mutant for mutant in drawn if key_of(mutant) not in file]
        for row in pool.map(attempt, wanted):
            file.append([row])
            print(
                row["fate"],
                row["module"],
                row["operator"],
                row["code"].replace("\n", "  "),
                flush=True,
            )
    counted = [tuple(key_of(mutant).values()) for mutant in drawn]
    rows = [row for row in read_rows(settings.out) if tuple(row[name] for name in KEY) in counted]
    survivors = [row for row in rows if row["fate"] == "survived"]
    print(
        f"{len(rows) - len(survivors)} of {len(rows)} killed, {1 - len(survivors) / len(rows):.1%}"
    )
    for row in survivors:
        print(row["module"], row["code"], sep="\n")


if __name__ == "__main__":
    main(tyro.cli(Settings))
