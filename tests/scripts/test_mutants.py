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


def written(module, source):
    """The mutants of a module of this source, which is written below the current folder."""
    path = Path("glassesjax", module)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)
    return formula_mutants.mutants_of(str(path), source)


def stored_rows(found):
    """As the stored file has them."""
    keys = [dict(zip(mutants.KEY, mutants.key_of(row), strict=True)) for row in found]
    return [key | {"code": mutants.difference(row)} for key, row in zip(keys, found, strict=True)]


def test_a_mutant_is_found_again_after_a_move_and_not_after_a_change(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = written("a.py", SOURCE.format("2 * x"))
    rows = stored_rows(before)
    moved = SOURCE.format("2 * x  # twice").replace("rounded", "or so").replace(" -> float", "")
    after = written("b.py", moved.replace("def", "import jax\n\n\n@border()\ndef", 1))
    other = written("a.py", SOURCE.format("3 * x"))
    for row, stored in zip(before, rows, strict=True):
        found = mutants.matched(after, stored)
        assert found is not None
        assert found.module == "glassesjax/b.py"
        assert found.code.splitlines()[-1].removesuffix("  # twice") == row.code.splitlines()[-1]
        assert mutants.matched(other, stored) is None


@pytest.mark.parametrize(
    ("module", "function", "first", "formula", "again"),
    [
        ("m.py", "product", "a - 1", "a * b", True),
        ("m.py", "times", "a", "a * b  # of both", True),
        ("n.py", "product", "a - 1", "a * b", True),
        ("n.py", "times", "a", "a * b", False),
        ("m.py", "product", "a", "b * a", False),
    ],
)
def test_a_mutant_is_found_again_by_the_lines_that_it_changes(
    tmp_path, monkeypatch, module, function, first, formula, again
):
    """Where the name of the function or another line of it differs; not where they stand twice."""
    monkeypatch.chdir(tmp_path)
    source = "def {}(a, b):\n    a = {}\n    return {}\n".format
    rows = stored_rows(written("m.py", source("product", "a", "a * b")))
    [stored] = [row for row in rows if row["code"] == "-    return a * b\n+    return (a / b)"]
    today = written(module, source(function, first, formula))
    found = mutants.matched(today, stored)
    assert (found is not None) == again
    assert found is None or "return (a / b)" in found.code
    assert mutants.matched([*today, *today], stored) is None


def test_nearest_tests_follow_modules_and_tests_that_move(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = "from glassesjax.trace.shares import share\n"
    for name, text in {
        "glassesjax/trace/shares.py": "def share(x):\n    return 2 * x\n",
        "glassesjax/cache/policies.py": "",
        "glassesjax/precision/norms.py": "",
        "glassesjax/precision/rounding.py": "",
        "glassesjax/trace/rows.py": "from glassesjax.trace.shares import share\n",
        "tests/studies/test_far.py": f"{line}\n\ndef test_share():\n    pass\n",
        "tests/studies/test_other.py": "def test_moved():\n    pass\n",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    module = Path("glassesjax/trace/shares.py")
    [mutant, *_] = formula_mutants.mutants_of(str(module), module.read_text())
    # No test of its own package: those elsewhere that import it.
    assert mutants.watchers(mutant) == ["tests/studies/test_far.py"]
    # First the test that noticed it, by its name where its file has gone.
    far, other = "tests/studies/test_far.py", "tests/studies/test_other.py"
    assert mutants.watchers(mutant, "tests/trace/test_gone.py::test_moved") == [other, far]
    assert mutants.watchers(mutant, "timeout") == [far]
    for name, text in (("test_rows", ""), ("test_any", line)):
        near = tmp_path / f"tests/trace/{name}.py"
        near.parent.mkdir(exist_ok=True)
        near.write_text(text)
    near = ["tests/trace/test_any.py", "tests/trace/test_rows.py"]
    assert mutants.watchers(mutant) == near
    assert mutants.watchers(mutant, f"{far}::test_share") == [far, *near]


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
    assert mutants.fate(dropped, [], tmp_path, 60) == "survived"  # and not all tests there are
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
