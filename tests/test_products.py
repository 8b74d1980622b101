"""No product of arrays takes a backend's default precision: TF32 on GPUs, bfloat16 on TPUs."""

import ast
import dataclasses
from pathlib import Path

import jax
import pytest
from proofs.made_claims import install

import glassesjax
from proofs_numeric.claim import Measurement
from proofs_numeric.verify.discovery import load
from proofs_numeric.verify.measure import verify
from proofs_numeric.verify.settings import VerifySettings

ROOT = Path(glassesjax.__file__).parent
PRODUCTS = {"dot", "matmul", "einsum", "tensordot", "vdot", "inner", "dot_general", "vecdot"}
# NumPy on the host has one precision; a probe of the backend measures its default one.
ON_THE_HOST = {
    "trace/decay.py", "statistics/intervals.py", "studies/train/pair_rows.py",
    "studies/retention/summary.py", "precision/backend.py",
    "model/native_presets.py",
}  # fmt: skip
FILES = sorted(ROOT.rglob("*.py"))


def bare_products(source):
    """Lines of products that name no precision."""
    tree = ast.parse(source)
    named = set()
    for node in ast.walk(tree):
        # A call of the product itself, or of ``partial`` on it.
        if isinstance(node, ast.Call) and any(k.arg in ("precision", None) for k in node.keywords):
            named |= {id(part) for part in (node.func, *node.args)}
    for node in ast.walk(tree):
        operator = isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.MatMult)
        product = isinstance(node, ast.Attribute) and node.attr in PRODUCTS
        if operator or (product and id(node) not in named):
            yield node.lineno


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_products_name_their_precision(path):
    name = path.relative_to(ROOT).as_posix()
    found = list(bare_products(path.read_text(encoding="utf-8")))
    if name in ON_THE_HOST:
        assert found  # else it need not be excepted
    else:
        assert not found, f"{name}, lines {found}: give precision='highest'"


def test_proofs_take_the_highest_precision_whatever_is_set(monkeypatch):
    """Theirs are NumPy, fractions and balls, or arrays where the ledger sets it for all of them."""
    found = []

    def measured(*_):
        found.append(jax.config.jax_default_matmul_precision)
        yield Measurement(setting="", size=1, measured=1.0, bound=1.0, roundoff=0.0)

    one = dataclasses.replace(
        load(["lem_b1"])[0], measure=measured, adversary=measured, counter_case=measured
    )
    install(monkeypatch, one)
    with jax.default_matmul_precision("bfloat16"):
        list(verify(VerifySettings()))
    assert found == ["highest"] * 3


def test_the_check_finds_what_it_looks_for():
    source = """
a = x @ y
b = jnp.einsum("ij,j->i", x, y)
c = jnp.matmul(x, y, precision="highest")
d = functools.partial(jnp.matmul, precision="highest")
e = functools.partial(jnp.matmul)
f = jnp.einsum("ij,j->i", x, y, **exact)
x @= y
g = x.dot(y)
h = jax.lax.dot_general(x, y, dimensions)
"""
    assert sorted(bare_products(source)) == [2, 3, 6, 8, 9, 10]
