"""Importing the package: only its core dependencies, no global setting, little time."""

import importlib
import json
import pkgutil
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


PACKAGES = ("cache", "model", "precision", "statistics", "tasks", "theory", "trace", "train")
COMMAND = {"arguments", "cli", "commands", "exports", "registry", "report", "results", "runs"}
COMMAND |= {"studies", "surveys"}
# A function of that name hides its module, which is still imported from by its full name.
FUNCTIONS = {"cache": {"advance", "prefill", "replay"}, "trace": {"rollout"}, "train": {"evaluate"}}


@pytest.mark.parametrize("package", ["", *PACKAGES])
def test_a_module_of_the_library_is_there_when_it_is_named(package):
    whole = f"glassesjax.{package}".rstrip(".")
    home, functions = importlib.import_module(whole), FUNCTIONS.get(package, set())
    names = {each.name for each in pkgutil.iter_modules(home.__path__)} - {"__main__"}
    names -= set() if package else COMMAND
    assert functions <= names <= set(dir(home))  # what is in no stub stands only once imported
    for name in sorted(names):
        module = importlib.import_module(f"{whole}.{name}")
        assert getattr(home, name) is (getattr(module, name) if name in functions else module)


def test_modules_are_named_without_an_import():
    code = "import glassesjax; print(glassesjax.model.pretrained.open_model.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "open_model\n"
