"""Mutants of a tiny source by hand, names that survive moves, draws that do, and the interval."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
import formula_mutants
import mutants

SOURCE = '''"""A module with a 2 * x in its text."""
def bound(x: Float[Array, "n"], norm: int = 2) -> float:
    """At most 2 * x, rounded."""
    if norm < 0:
        raise ValueError(f"{{norm + 1}}")
    return {}
'''


def changes(formula, kind):
    """What stands in place of a formula."""
    found = formula_mutants.mutants_of("m.py", SOURCE.format(formula))
    assert [row.occurrence for row in found if row.kind == kind] == list(
        range(sum(row.kind == kind for row in found))
    )
    last = [row.code.splitlines()[-1].removeprefix("    return ") for row in found]
    return [text for text, row in zip(last, found, strict=True) if row.kind == kind]


@pytest.mark.parametrize(
    ("kind", "formula", "expected"),
    [
        ("factor", "2 * x", ["x", "3 * x"]),
        ("factor", "a / 2.0", ["a", "a / 4.0"]),
        ("factor", "k * (a + b)", ["(a + b)", "k", "(k * a + b)", "k * (a)", "k * (b)"]),
        ("factor", "n - 1", ["n", "n - 2"]),
        ("factor", "x ** 2", ["x ** 1"]),
        ("reduction", "jnp.sum(x)", ["jnp.max(x)"]),
        ("reduction", "x.mean()", ["x.sum()", "x.max()"]),
        ("reduction", "max(a, b)", ["min(a, b)"]),
        ("reduction", "jnp.maximum(a, b)", ["jnp.minimum(a, b)", "jnp.add(a, b)"]),
        ("index", "x[1:]", ["x[:-1]"]),
        ("index", "x[..., :-1]", ["x[..., 1:]"]),
        ("index", "x[0] * x[2]", ["x[-1] * x[2]", "x[0] * x[1]"]),
        ("index", "x[-1]", ["x[0]"]),
        ("index", "x[a:b]", ["x[a + 1:b]", "x[a:b - 1]"]),
        ("index", "f(x, axis=0)", ["f(x, axis=1)"]),
        ("index", "range(n)", ["range((n - 1))"]),
        ("index", "jnp.tril(x)", ["jnp.triu(x)"]),
        ("norm", "abs(x.T)", ["x.T", "abs(x)"]),
        ("norm", "vector_norm(x, norm)", [f"vector_norm(x, {formula_mutants.DUAL})"]),
        ("norm", "euclidean_norm(x)", ["jnp.linalg.norm(x, 1, -1)"]),
        ("norm", "jnp.linalg.norm(x, 2, (-2, -1))", ["jnp.linalg.norm(x, 'fro', (-2, -1))"]),
        ("norm", "jnp.linalg.norm(x, ord=order)", ["jnp.linalg.norm(x.T, ord=order)"]),
        ("norm", "jnp.einsum('rs,s->r', a, b)", ["jnp.einsum('sr,s->r', a, b)"]),
        ("norm", "a @ b", ["(b @ a)", "a.T @ b"]),
        ("operator", "-a + b", ["(-a - b)", "a + b"]),
        ("operator", "a and True", ["(a or True)", "a and False"]),
        ("operator", "a < b", ["(a <= b)", "(a > b)"]),
        ("operator", "jnp.where(c, a, b)", ["jnp.where(c, b, a)"]),
    ],
)  # fmt: skip
def test_each_kind_by_hand(kind, formula, expected):
    assert changes(formula, kind) == expected


def test_words_types_and_refusals_are_no_formulas():
    source = SOURCE.format("f'{norm + 1}' if x is None else 'a' + name")
    assert formula_mutants.mutants_of("m.py", source) == []
    check = "def _check(x):\n    return 2 * x\n\nKind = Literal[0, 1]\n"
    assert formula_mutants.mutants_of("m.py", check) == []
    values = "class Fit:\n    limit: float = 1\n    BEST = 3\n\nLEAST = 0.5\n"
    found = formula_mutants.mutants_of("m.py", values)
    assert [(row.function, row.code.splitlines()[-1]) for row in found] == [
        ("Fit.BEST", "LEAST = 0.5"),
        ("LEAST", "LEAST = 1.0"),
    ]


def test_a_mutant_is_found_again_after_a_move_and_not_after_a_change():
    before = formula_mutants.mutants_of("glassesjax/a.py", SOURCE.format("2 * x"))
    moved = SOURCE.format("2 * x  # twice").replace("rounded", "or so").replace(" -> float", "")
    source = moved.replace("def", "import jax\n\n\n@border()\ndef", 1)
    after = formula_mutants.mutants_of("glassesjax/b.py", source)
    for row in before:
        stored = dict(zip(mutants.KEY, mutants.key_of(row), strict=True))
        found = mutants.matched(after, stored)
        assert found is not None
        assert found.module == "glassesjax/b.py"
        assert found.code.splitlines()[-1].removesuffix("  # twice") == row.code.splitlines()[-1]
        other = formula_mutants.mutants_of("glassesjax/a.py", SOURCE.format("3 * x"))
        assert mutants.matched(other, stored) is None


def test_the_draw_changes_only_where_the_code_does():
    name = lambda number: f"def f{number}(x):\n    return 2 * x[{number}] + x\n"
    every = lambda numbers: formula_mutants.mutants_of("m.py", "\n".join(map(name, numbers)))
    settings = mutants.Settings(each=5)
    first = {mutants.key_of(row) for row in mutants.drawn(every(range(9)), settings)}
    more = {mutants.key_of(row) for row in mutants.drawn(every(range(10)), settings)}
    assert all(row[1] == "f9" for row in more - first)
    assert len(more) == len(first) == 3 * 5  # factor, index, operator
    other = dataclasses.replace(settings, seed=1)
    assert {mutants.key_of(row) for row in mutants.drawn(every(range(9)), other)} != first


def test_the_interval_of_a_rate_by_hand():
    low, high = mutants.wilson(25, 25)
    assert low == pytest.approx(25 / (25 + mutants.Z**2))
    assert high == pytest.approx(1)
    # The ends are where the rate is Z deviations away.
    low, high = mutants.wilson(30, 40)
    for end in (low, high):
        assert abs(0.75 - end) == pytest.approx(mutants.Z * (end * (1 - end) / 40) ** 0.5)


def test_rates_are_printed_by_kind_with_survivors():
    row = {"module": "m.py", "function": "f", "occurrence": 0, "code": "-a\n+b"}
    dead, alive = {"kind": "index", "fate": "t.py"}, {"kind": "norm", "fate": "survived"}
    rows = [row | dead, row | alive | {"reason": "a guard"}]
    lines = list(mutants.report(rows))
    assert lines[0].startswith("index      1 of 1 killed, 100% (95 %: 21% to 100%)")
    assert lines[1].startswith("norm       0 of 1 killed, 0% (95 %: 0% to 79%)")
    assert lines[-1] == "\nm.py f, norm 0: a guard\n-a\n+b"


def test_a_mutant_meets_tests_and_the_file_is_restored(tmp_path, monkeypatch):
    """A tree of one module and two test files, of which the second one notices."""
    for name, text in {
        "pkg.py": "def double(x):\n    return 2 * x\n",
        "test_a.py": "import pkg\n\ndef test_zero():\n    assert pkg.double(0) == 0\n",
        "test_b.py": "import pkg\n\ndef test_one():\n    assert pkg.double(1) == 2\n",
    }.items():
        (tmp_path / name).write_text(text)
    text = (tmp_path / "pkg.py").read_text()
    found = formula_mutants.mutants_of("pkg.py", text)
    [dropped, *_] = [row for row in found if row.kind == "factor"]
    tests = ["test_a.py", "test_b.py"]
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # of which importing takes seconds
    assert mutants.fate(dropped, tests, tmp_path, 60) == "test_b.py::test_one"
    assert mutants.fate(dropped, tests[:1], tmp_path, 60) == "survived"
    assert (tmp_path / "pkg.py").read_text() == text

    def run(*_, timeout, **__):
        raise subprocess.TimeoutExpired("pytest", timeout)

    monkeypatch.setattr(mutants.subprocess, "run", run)
    assert mutants.fate(dropped, tests, tmp_path, 60) == "timeout"
    assert (tmp_path / "pkg.py").read_text() == text


def test_what_died_must_die_again_wherever_it_now_stands(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    new, stored = Path("glassesjax/theory/new.py"), tmp_path / "stored.jsonl"
    new.parent.mkdir(parents=True)
    new.write_text(SOURCE.format("2 * x"))
    old = formula_mutants.mutants_of("glassesjax/theory/old.py", new.read_text())
    fates = ["tests/t.py::test_double", "survived", "timeout"]
    rows = [
        dict(zip(mutants.KEY, mutants.key_of(row), strict=True)) | {"fate": fate, "code": ""}
        for row, fate in zip(old, fates, strict=True)
    ]
    rows.append(rows[0] | {"digest": "of another code"})
    stored.write_text("".join(f"{mutants.to_json(row)}\n" for row in rows))
    monkeypatch.setattr(mutants, "STORED", stored)
    monkeypatch.setattr(mutants, "modules", lambda: [new])
    monkeypatch.setattr(mutants.subprocess, "check_output", lambda *_, **__: str(new))
    alive, tried = [], []

    def fate(mutant, *_):
        tried.append(mutant.occurrence)
        return "survived" if mutant.occurrence in alive else "tests/t.py::test_double"

    monkeypatch.setattr(mutants, "fate", fate)
    for alive, status in (([], 0), ([old[0].occurrence], 1)):
        with pytest.raises(SystemExit) as ended:
            mutants.main(mutants.Settings(stored=True, out=tmp_path / "mutants.jsonl"))
        assert ended.value.code == status
        printed = capsys.readouterr().out
        assert f"no longer applies: glassesjax/theory/old.py bound {old[0].kind} 0" in printed
        assert ("nothing noticed" in printed) == bool(alive)
        assert len(tried) == 2
        tried.clear()


def test_stored_survivors_have_their_reasons():
    rows = mutants.read_rows(Path(__file__).parents[2] / mutants.STORED)
    assert len({mutants.key_of(row) for row in rows}) == len(rows) > 100
    assert {row["kind"] for row in rows} == set(formula_mutants.KINDS)
    for row in rows:
        assert ("reason" in row) == (row["fate"] == mutants.SURVIVED), row
