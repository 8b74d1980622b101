"""What a claim's fingerprint covers: the modules that it imports, and none beside them."""

import importlib
import re
import shutil
from pathlib import Path

import pytest

import proofs_numeric
from proofs_numeric.verify.discovery import modules
from proofs_numeric.verify.fingerprint import MEASURING, PACKAGES, SOURCES, SourceTree, fingerprint

FILES = {
    "house/__init__.py": "from house.law import RULE as RULE\nimport numpy\n",
    "house/law.py": "from house.sums import total\nRULE = total([1, 2])\n",
    "house/sums.py": (
        "def total(numbers):\n    from house.inner import late\n    return late(numbers)\n"
    ),
    "house/inner.py": "import house.law\n\nlate = sum\n",  # a cycle: law, sums, inner, law
    "house/apart.py": "NOTHING = None\n",
    "house/lazy/__init__.py": (
        "import lazy_loader\n__getattr__ = lazy_loader.attach_stub(__name__)\n"
    ),
    "house/lazy/__init__.pyi": "from . import two as two\nfrom .one import first as first\n",
    "house/lazy/one.py": "first = 1\n",
    "house/lazy/two.py": "from ..apart import NOTHING\n",
    "house/typed/__init__.py": (
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from house.typed.deep import rank as rank\n"
        "def own(): ...\n"
    ),
    "house/typed/deep.py": "def rank(): ...\n",
    "house/typed/rank.py": "def rank(): ...\n",  # hidden behind the function of that name
}


@pytest.fixture
def behind(tmp_path):
    """Writes the files of a package, some of them changed; gives what is behind a claim in it."""

    def write(claim, **changed):
        for name, text in (FILES | {"house/claim.py": claim} | changed).items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        tree = SourceTree({"house": tmp_path / "house"})
        names = {name.removeprefix("house.") for name in tree.behind(["house.claim"])}
        return names, tree.digest(["house.claim"])

    return write


LAW = {"claim", "law", "sums", "inner"}
LAZY = {"claim", "lazy", "lazy.one", "lazy.two", "apart"}


@pytest.mark.parametrize(
    ("claim", "names"),
    [
        ("import math", {"claim"}),
        ("import house.apart", {"claim", "apart"}),
        ("from house.law import RULE", LAW),
        ("from house import law", LAW),
        ("from house import RULE", LAW),  # passed on by the package, which itself says nothing
        ("from . import law", LAW),
        ("from .law import RULE", LAW),
        ("def measure():\n    from house.sums import total", LAW),
        ("if False:\n    import house.sums as sums", LAW),
        ("from house.lazy import first", {"claim", "lazy.one"}),
        ("from house.lazy import two", {"claim", "lazy.two", "apart"}),
        ("from house.lazy.one import first", {"claim", "lazy.one"}),
        ("from house import lazy", LAZY),  # a package as such: whatever its stub names
        ("import house.lazy", LAZY),
        ("from house.lazy import *", LAZY),
        ("from house.typed import rank", {"claim", "typed.deep"}),
        ("from house.typed.rank import rank", {"claim", "typed.rank"}),
        ("from house.typed import own", {"claim", "typed", "typed.deep"}),
        ("import house", {"house", *LAW}),
    ],
)
def test_what_is_imported_is_behind_a_claim(behind, claim, names):
    assert behind(claim)[0] == names


@pytest.mark.parametrize("module", sorted(LAW))
def test_an_edit_of_what_is_behind_a_claim_changes_its_digest(behind, module):
    claim = "from house.law import RULE\n"
    before = behind(claim)[1]
    name = f"house/{module}.py"
    text = (FILES | {"house/claim.py": claim})[name]
    assert behind(claim, **{name: f"{text}# edited\n"})[1] != before
    assert behind(claim, **{name: text})[1] == before


def test_an_edit_of_what_is_not_behind_a_claim_leaves_its_digest(behind):
    claim = "from house.law import RULE\n"
    before = behind(claim)[1]
    for name in ("house/apart.py", "house/lazy/one.py", "house/__init__.py"):
        assert behind(claim, **{name: f"{FILES[name]}# edited\n"})[1] == before
    assert behind(claim, **{"house/other.py": "NEW = 1\n"})[1] == before


def test_an_edit_of_a_stub_changes_what_its_package_stands_for(behind):
    before = behind("from house import lazy\n")
    more = {
        "house/lazy/__init__.pyi": FILES["house/lazy/__init__.pyi"] + "from ..law import RULE\n"
    }
    after = behind("from house import lazy\n", **more)
    assert after[0] - before[0] == LAW - {"claim"}
    assert after[1] != before[1]


def test_a_module_that_is_moved_is_other_code(behind):
    claim = "from house.{} import NOTHING\n"
    moved = {"house/away.py": FILES["house/apart.py"]}
    assert behind(claim.format("away"), **moved)[1] != behind(claim.format("apart"))[1]


def test_claims_rest_on_the_library_and_not_on_studies_or_pages():
    apart = re.compile(
        r"glassesjax\.(studies|surveys|report|cli|registry|commands|arguments)|proofs_numeric\.verify"
    )
    for name, module in modules().items():
        names = SOURCES.behind([module])
        assert {module, "proofs_numeric.claim"} <= names.keys()
        assert [each for each in names if apart.match(each)] == []
        others = set(modules().values()) - {module}
        assert len(others & names.keys()) < 4, name


@pytest.fixture
def digests(tmp_path):
    """Digests of all claims as ``fingerprint`` takes them, with one file of the code edited."""
    folders = {name: Path(importlib.import_module(name).__file__).parent for name in PACKAGES}
    for name, folder in folders.items():
        shutil.copytree(folder, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))

    def edited(file=None):
        if file:
            path = tmp_path / file
            text = path.read_text("utf-8")
            path.write_text(f"{text}# edited\n", "utf-8")
        tree = SourceTree({name: tmp_path / name for name in PACKAGES})
        made = {name: tree.digest([module, MEASURING]) for name, module in modules().items()}
        if file:
            path.write_text(text, "utf-8")
        return made

    return edited


def test_an_edit_of_what_measures_and_of_nothing_beside_it_measures_claims_again(digests):
    before, folder = digests(), Path("proofs_numeric/verify")
    beside = {path.name for path in (Path(proofs_numeric.__file__).parent / "verify").glob("*.py")}
    assert {
        "discovery.py",
        "settings.py",
        "records.py",
        "rows.py",
        "page.py",
        "measure.py",
    } < beside
    for name in sorted(beside - {"measurements.py"}):
        assert digests(folder / name) == before, name
    for file in (folder / "measurements.py", Path("proofs_numeric/claim.py")):
        after = digests(file)
        assert not [name for name in before if after[name] == before[name]]
    after = digests(Path("glassesjax/theory/rank.py"))
    assert "rank_collapse" in {name for name in before if after[name] != before[name]} < {*before}


def test_claims_on_one_theory_are_told_from_claims_on_another():
    theory = lambda name: {n for n in SOURCES.behind([modules()[name]]) if ".theory." in n}
    assert "glassesjax.theory.rank" in theory("rank_collapse")
    assert "glassesjax.theory.rank" not in theory("path_count")
    assert "glassesjax.theory.squashing" in theory("path_count")


def test_every_claim_has_a_fingerprint_of_its_own():
    found = {fingerprint(name) for name in modules()}
    assert len(found) == len(modules())
    assert all(re.fullmatch("[0-9a-f]{16}", digest) for digest in found)
    assert fingerprint(*modules()) not in found
