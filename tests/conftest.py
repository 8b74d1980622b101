"""Switches and fixtures of all tests: strict promotion, float64 available, a key per test."""

import gc
import importlib
import os
import zlib
from pathlib import Path

import jax
import pytest
from jaxtyping import install_import_hook

pytest_plugins = ["ceiling"]

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

# Commands that tests start keep nothing in the user's own cache; JAX's may be set for all tests.
os.environ["GLASSESJAX_COMPILATION_CACHE"] = (
    "" if os.environ.get("JAX_COMPILATION_CACHE_DIR") else "off"
)

# Shapes and types of every call of the package, checked as it is imported.
STRICT = "beartype.beartype(conf=beartype.BeartypeConf(strategy=beartype.BeartypeStrategy.On))"
if os.environ.get("SHAPES"):
    install_import_hook("glassesjax", STRICT)

# Tracing makes many small objects and few cycles. A garbage collector that looks for these 300
# times as rarely, and still more rarely through all objects, saves 5 % of the time.
gc.set_threshold(200_000, 20, 100)

# Each compiled function maps memory of its own. A process may have some 65,000 maps on Linux, and
# LLVM aborts where there are no more.
MAPS = 40_000


@pytest.fixture(autouse=True, scope="module")
def room_for_compiled_code():
    """Forgets what earlier files compiled, before there is no room for more."""
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > MAPS:
        jax.clear_caches()
        gc.collect()


def pytest_collection_finish():
    """What was imported and collected stays: the garbage collector need not walk it again."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def key(request):
    """A key that depends on the test's own name only."""
    return jax.random.key(zlib.crc32(request.node.nodeid.encode()))


@pytest.fixture(scope="module")
def near():
    """Answers go twice as far as the training, not sixteen times: each length is a program."""
    from glassesjax.studies.train import settings

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings, "BEYOND", 2)
        yield


@pytest.fixture(scope="module")
def few_at_once():
    """Two examples a batch: a batch of sixteen, and a rest of four, are two programs in one."""
    module = importlib.import_module("glassesjax.train.evaluate")  # its name is a function, too
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "AT_ONCE", 2)
        yield


@pytest.fixture(scope="module")
def one_program():
    """Distances of two studies are one program each: step by step they are some two hundred."""
    from glassesjax.studies.bounded import rows
    from glassesjax.studies.collapse import measure

    with pytest.MonkeyPatch.context() as patch:
        for module, name in ((rows, "distance"), (measure, "distance"), (measure, "paired_noise")):
            compiled = jax.jit(getattr(module, name), static_argnames="storage")
            patch.setattr(module, name, compiled)
        yield


@pytest.fixture(scope="module")
def undrawn():
    """Figures are made and not rendered, which takes as long as many a study on the toy."""
    from matplotlib.figure import Figure

    empty = lambda figure, file, **options: file.write("<svg></svg>")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", empty)
        yield


@pytest.fixture(scope="session", autouse=True)
def float64_probed():
    """Probes the backend once a process, so that no test is charged with the compilations."""
    importlib.import_module("glassesjax.precision.wide").float64_fault()
