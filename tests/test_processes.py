"""No library function changes a setting of its process, or ends it."""

import ast
import sys
from pathlib import Path

import jax
import pytest

import glassesjax
import proofs_numeric
from glassesjax import cli
from proofs_numeric.verify.settings import OPTIMIZATIONS_OFF

ROOTS = [Path(package.__file__).parent for package in (glassesjax, proofs_numeric)]
FILES = {f"{root.name}/{p.relative_to(root)}": p for root in ROOTS for p in root.rglob("*.py")}
# What may, and where: the command, and what it calls last.
ALLOWED = {
    "glassesjax/cli.py": {"sys.exit"},
    "proofs_numeric/verify/study.py": {"jax.config.update"},
    "glassesjax/arguments.py": {"os.environ['COLUMNS']"},
    "glassesjax/runs/compilation_cache.py": {"jax.config.update", "os.environ[VARIABLE]"},
    "glassesjax/process.py": {"sys.exit", "os._exit", "signal.signal"},
    "glassesjax/train/hosts.py": {"os._exit", "signal"},
}
CHANGES = ("config.update", "sys.exit", "os._exit", "os.abort", "os.chdir", "os.putenv")
CHANGES += ("signal.signal", "np.seterr", "random.seed", "faulthandler.enable", "atexit.register")


def called(path):
    """Calls that change or end a process, and writes to its environment."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            yield from (name for change in CHANGES if name.endswith(change))
            if name.endswith(").signal"):
                yield "signal"
            if name.startswith("os.environ.") and not name.endswith((".get", ".items")):
                yield name
        targets = node.targets if isinstance(node, ast.Assign) else []
        yield from (text for text in map(ast.unparse, targets) if text.startswith("os.environ["))


@pytest.mark.parametrize("name", FILES)
def test_only_a_command_changes_or_ends_its_process(name):
    assert set(called(FILES[name])) <= ALLOWED.get(name, set())


def test_the_command_compiles_the_quick_suite_quickly(monkeypatch, tmp_path):
    """It owns its process; ``run`` called by other code does not."""
    seen, option = [], OPTIMIZATIONS_OFF
    before = jax.config.values[option]

    def look(settings, options, call):
        seen.append((settings.suite, jax.config.values[option]))

    monkeypatch.setattr("proofs_numeric.verify.run.run", look, raising=False)
    monkeypatch.setattr(cli, "run_to_end", lambda start: sys.exit(start()()))
    # It would listen to JAX for good, and this process runs other tests after this one.
    cache = "glassesjax.runs.compilation_cache.use_compilation_cache"
    monkeypatch.setattr(cache, lambda choice: None)
    monkeypatch.chdir(tmp_path)
    try:
        jax.config.update(option, False)
        cli.run(["verify"])
        for suite in ("full", "quick"):
            monkeypatch.setattr(sys, "argv", ["glassesjax", "verify", "--suite", suite])
            with pytest.raises(SystemExit, match="0"):
                cli.main()
    finally:
        jax.config.update(option, before)
    assert seen == [("quick", False), ("full", False), ("quick", True)]
