"""What a seed draws does not depend on how JAX is set in a process."""

import ast
import doctest
import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from made_draws import CONFIG, TRAINING, digest, drawn

import glassesjax
from glassesjax import draws
from glassesjax.errors import BadInput
from glassesjax.model import Decoder
from glassesjax.tasks import LengthMix
from glassesjax.tasks.layout import batch
from glassesjax.tasks.prompt_format import PromptFormat
from glassesjax.train import evaluate, init_state, train_steps
from glassesjax.train.checkpoint import latest, load, save
from glassesjax.train.hosts import fetch, share
from glassesjax.train.mesh import make_mesh, shard

SCRIPT = Path(__file__).with_name("made_draws.py")
ROOT = Path(__file__).parents[1]
ROOTS = (Path(glassesjax.__file__).parent, ROOT / "proofs_numeric")


def in_a_process(**variables):
    """What the script prints under these variables."""
    process = subprocess.run(
        [sys.executable, str(SCRIPT)], env={**os.environ, **variables},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


@pytest.mark.slow
def test_four_processes_draw_the_same():
    rbg, apart = {"JAX_DEFAULT_PRNG_IMPL": "rbg"}, {"JAX_THREEFRY_PARTITIONABLE": "0"}
    offset = {"JAX_RANDOM_SEED_OFFSET": "5"}
    plain, *others = [in_a_process(**v) for v in ({}, rbg, apart, rbg | apart | offset)]
    assert others == [plain] * 3


@pytest.fixture(scope="module")
def plain():
    with jax.enable_x64(False):
        return drawn(quick=True)


@pytest.fixture(scope="module")
def under_other_settings():
    """What is drawn, and a draw of JAX's own."""
    with jax.enable_x64(False), jax.default_prng_impl("rbg"), jax.threefry_partitionable(False):
        jax.config.update("jax_random_seed_offset", 5)
        try:
            other = jax.random.normal(jax.random.split(jax.random.key(0))[0], (3,))
            return drawn(quick=True), other
        finally:
            jax.config.update("jax_random_seed_offset", 0)


def test_no_setting_of_jax_changes_what_is_drawn(plain, under_other_settings):
    """The functions are compiled once for each setting: their caches know it."""
    again, other = under_other_settings
    assert again == plain
    # The settings bite where nothing is held.
    assert digest(other) != digest(jax.random.normal(jax.random.split(jax.random.key(0))[0], (3,)))


def test_seeds_mean_what_they_mean_to_jax_by_default():
    """So that what was published before keeps its bits."""
    with jax.enable_x64(False):
        for seed in (0, 1, 2**31 - 1, 2**31, 2**32 - 1):
            ours, theirs = draws.root_key(seed), jax.random.key(seed)
            assert draws.numbers(ours).tolist() == draws.numbers(theirs).tolist()
        key = jax.random.key(11)
        np.testing.assert_array_equal(
            draws.signs(key, (5, 7), jnp.float32), jax.random.rademacher(key, (5, 7), jnp.float32)
        )
    assert draws.numbers(draws.root_key(2**32 + 5)).tolist() == [1, 5]
    for seed in (-1, 2**64):
        with pytest.raises(BadInput, match=f"got {seed}"):
            draws.root_key(seed)


def test_signs_are_those_of_32_bits_where_64_are_on():
    key = draws.root_key(1)
    wide = draws.signs(key, (64,), jnp.float64)
    with jax.enable_x64(False):
        assert wide.tolist() == draws.signs(key, (64,), jnp.float32).tolist()
    assert set(wide.tolist()) == {-1.0, 1.0}


def test_what_is_drawn_inside_a_compiled_function_of_the_user_is_the_same():
    make = jax.jit(lambda key: Decoder(CONFIG, key=key))
    plain = digest(make(draws.root_key(0)))
    with jax.threefry_partitionable(False):
        assert digest(make(draws.root_key(0))) == plain


def own_draws(source):
    """Lines of a module that take draws from JAX itself."""
    for node in ast.walk(ast.parse(source)):
        bare = isinstance(node, ast.Attribute) and node.attr == "random"
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [str(node.module), *(f"{node.module}.{a.name}" for a in node.names)]
        if (bare and getattr(node.value, "id", "") == "jax") or "jax.random" in names:
            yield node.lineno


def examples(text):
    """The code of examples, and of the blocks of a page that are code."""
    blocks = re.findall(r"^```(?:python|\{code-cell\})\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    # Options of a cell stand before its code.
    written = [re.sub(r"(?m)^:.*$", "", block) for block in blocks if ">>>" not in block]
    return [*written, *(one.source for one in doctest.DocTestParser().get_examples(text))]


def test_all_draws_go_through_one_module():
    """A draw of JAX's own would depend on its settings again."""
    for root in ROOTS:
        for path in set(root.rglob("*.py")) - {Path(draws.__file__)}:
            assert not list(own_draws(path.read_text(encoding="utf-8"))), path


def test_all_examples_draw_through_it_too():
    """Else what they print would not be what the reader sees."""
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    code = {page: examples(page.read_text(encoding="utf-8")) for page in pages}
    for root in ROOTS:
        for path in root.rglob("*.py"):
            tree = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            kinds = ast.Module | ast.ClassDef | ast.FunctionDef
            texts = [ast.get_docstring(node) or "" for node in tree if isinstance(node, kinds)]
            code[path] = [source for text in texts for source in examples(text)]
    assert {page.name for page in pages if code[page]} > {"README.md", "tutorial.md", "tasks.md"}
    for path, sources in code.items():
        assert not [source for source in sources if list(own_draws(source))], path


def test_the_check_finds_draws_of_jax():
    found = examples("""
```{code-cell}
key = jax.random.key(0)
```
Text.
```python
>>> from jax import random
>>> with x:
...     jax.random.normal(key)
>>> random.key(0)
```
""")
    assert [len(list(own_draws(source))) for source in found] == [1, 1, 1, 0]
    assert list(own_draws("import jax.random\nimport random\nfrom jax.random import key")) == [1, 3]


@pytest.fixture
def rbg():
    """A training state whose key the user made of another implementation."""
    state = init_state(CONFIG, TRAINING, 0, 1e-2)
    keys = jax.random.split(jax.random.key(0, impl="rbg"), 2)
    stacked = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), state)
    return stacked._replace(key=keys)


def test_a_key_of_another_kind_stays_what_it_is(rbg, tmp_path):
    wanted = draws.numbers(rbg.key).tolist()
    save(tmp_path, rbg, tmp_path / "rows.jsonl")
    mesh = make_mesh()
    for again in (fetch(rbg), share(rbg), shard(rbg, mesh, TRAINING), load(latest(tmp_path), rbg)):
        assert draws.implementation(again.key) == "rbg"
        assert draws.numbers(again.key).tolist() == wanted
    unsafe = rbg._replace(key=draws.wrap(draws.numbers(rbg.key), "unsafe_rbg"))
    with pytest.raises(BadInput, match=r"unsafe_rbg, got rbg"):  # of the same shape
        load(latest(tmp_path), unsafe)


def test_a_checkpoint_of_before_has_threefry_keys(tmp_path):
    state = jax.tree.map(lambda leaf: leaf[None], init_state(CONFIG, TRAINING, 0, 1e-2))
    path = save(tmp_path, state, tmp_path / "rows.jsonl")
    listed = json.loads((path / "files.json").read_text())
    del listed["about.json"]
    (path / "files.json").write_text(json.dumps(listed))
    (path / "about.json").unlink()
    again = load(path, state)
    assert draws.implementation(again.key) == "threefry2x32"
    assert digest(again) == digest(state)


def test_rows_under_rbg_draw_as_they_do_alone(rbg):
    """JAX's own vmap of rbg draws a whole batch from its first key."""
    draw = lambda key: draws.integers(key, (4,), 0, 1000)
    together = draws.over(draw, rbg.key)(rbg.key)
    assert together.tolist() == [draw(key).tolist() for key in rbg.key]
    assert jax.vmap(draw)(rbg.key).tolist() != together.tolist()
    assert jax.jit(lambda keys: draws.over(draw, keys)(keys))(rbg.key).tolist() == together.tolist()


@pytest.mark.slow
def test_functions_that_take_a_key_take_one_of_rbg(rbg):
    key, mix, decoder = (
        rbg.key[1],
        LengthMix(low=3, high=3),
        init_state(CONFIG, TRAINING, 0, 1e-2).decoder,
    )
    rows, _ = batch(TRAINING.task, PromptFormat(), mix, key, jnp.int32(0), 4)
    with jax.threefry_partitionable(False):
        again, _ = batch(TRAINING.task, PromptFormat(), mix, key, jnp.int32(0), 4)
    assert digest(rows) == digest(again)
    score = evaluate(decoder, TRAINING.task, PromptFormat(), key, mix, size=3, count=2)
    assert np.isfinite(score.loss)
    alone = jax.tree.map(lambda leaf: jnp.copy(leaf[1:]), rbg)
    _, told = train_steps(rbg, TRAINING, 1)
    _, said = train_steps(alone, TRAINING, 1)
    np.testing.assert_allclose(told.loss[1], said.loss[0], rtol=64 * 2.0**-24)


@pytest.mark.parametrize("seed", [1.5, float("nan"), "3", None, -1, 2**64])
def test_a_seed_that_is_none_is_one_line(seed):
    with pytest.raises(BadInput, match="Expected a seed"):
        inspect.unwrap(draws.root_key)(seed)  # without the check of types that tests put around it
