"""Claims are the files of the groups: all of them, none twice, in the order of the papers."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import proofs_numeric
from proofs_numeric.verify import discovery
from proofs_numeric.verify.discovery import GROUPS, ORDER, TOPICS, in_order, load, modules, topic_of

FOLDER = Path(proofs_numeric.__file__).parent


def assigns_a_claim(path):
    """Whether a file declares a ``CLAIM``, seen without importing it."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    targets = [t for node in body if isinstance(node, ast.Assign) for t in node.targets]
    return any(isinstance(target, ast.Name) and target.id == "CLAIM" for target in targets)


def test_every_file_with_a_claim_is_a_claim_and_none_comes_twice():
    paths = [path for path in FOLDER.rglob("*.py") if assigns_a_claim(path)]
    dotted = [".".join(path.relative_to(FOLDER.parent).with_suffix("").parts) for path in paths]
    assert sorted(modules().values()) == sorted(dotted)
    assert list(modules()) == [module.rpartition(".")[2] for module in modules().values()]
    assert len(set(modules())) == len(dotted) > 50


def test_a_claim_has_the_name_of_its_file_and_the_kind_of_its_folder():
    for claim, module in zip(load(modules()), modules().values(), strict=True):
        group, name = module.split(".")[1:]
        assert (claim.name, claim.kind) == (name, GROUPS[group])


def test_groups_follow_each_other_and_names_within_them():
    groups = [module.split(".")[1] for module in modules().values()]
    assert list(dict.fromkeys(groups)) == list(GROUPS)
    assert groups == sorted(groups, key=list(GROUPS).index)
    names = list(modules())
    assert [name for name in names if name in ORDER] == list(ORDER)  # and none of them is gone
    errata = [int(name.removeprefix("err_e")) for name in names if name.startswith("err_e")]
    assert errata == sorted(errata)
    assert [name for name in names if name.startswith("fig_")] == ["fig_8", "fig_9", "fig_10"]


def test_every_claim_has_a_topic_and_a_new_one_that_of_its_folder(monkeypatch):
    topics = [topic_of(name) for name in modules()]
    assert {*topics} == {topic.name for topic in TOPICS} - {"paper"}
    assert (topic_of("dispersion"), topic_of("err_e01")) == ("follow_ups", "errata")
    named = [name for topic in TOPICS for name in topic.claims]
    assert len(named) == len({*named} & modules().keys())
    new = {"new": "proofs_numeric.paper.new", "made": "elsewhere.made"}
    monkeypatch.setattr(discovery, "modules", lambda: new)
    assert [topic_of(name) for name in new] == ["paper", "paper"]


def test_a_new_claim_comes_after_those_with_a_place():
    assert in_order(["aaa", ORDER[1], "fig_10", "fig_9", ORDER[0]]) == [
        *ORDER[:2],
        *("aaa", "fig_9", "fig_10"),
    ]


@pytest.mark.parametrize("given", [("lem_b7", "err_e15"), ("err_e15", "lem_b7")])
def test_claims_are_loaded_in_the_order_that_is_given(given):
    assert tuple(claim.name for claim in load(given)) == given


def test_only_what_is_loaded_is_imported():
    """Names of claims are known to settings, which need neither the claims nor what they need."""
    code = f"""
import sys
from proofs_numeric.verify.discovery import load, modules
assert len(modules()) == {len(modules())}
assert not [name for name in sys.modules if name in modules().values()]
load(["path_count"])
assert [n for n in sys.modules if n in modules().values()] == ["proofs_numeric.paper.path_count"]
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
