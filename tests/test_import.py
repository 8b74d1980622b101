"""Importing the package: only its core dependencies, no global setting, little time."""

import json
import subprocess
import sys

import pytest

CORE = {"jax", "jaxlib", "flax", "optax", "numpy", "jaxtyping", "ml_dtypes", "glassesjax"}
CORE |= {"lazy_loader"}
LATER = ("matplotlib", "tyro", "gguf", "tokenizers", "safetensors", "orbax", "pytest", "chex")

PROBE = """
import json, sys, time
import jax, flax.nnx, optax, numpy, jaxtyping
before, settings = set(sys.modules), dict(jax.config.values)
start = time.perf_counter()
import glassesjax
seconds = time.perf_counter() - start
new = sorted({name.split(".")[0] for name in set(sys.modules) - before})
same = settings == dict(jax.config.values)
print(json.dumps({"seconds": seconds, "new": new, "same": same}))
"""


@pytest.fixture(scope="module")
def probe():
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_import_brings_the_core_only(probe):
    foreign = {name for name in probe["new"] if not name.startswith("_")} - CORE
    assert foreign <= set(sys.stdlib_module_names)
    assert not foreign & set(LATER)


def test_import_changes_no_setting_of_jax(probe):
    assert probe["same"]
