"""Every instrument on four devices gives what it gives on one, in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from made_sharded import INSTRUMENTS

TESTS = Path(__file__).parent
U = 2.0**-24
# A sum that is divided has up to 64 terms (attention's output); in another order it moves by as
# many roundings. Two layers have five products each, and derivatives pass each of them twice.
LIMIT = 64 * 2 * 5 * 2 * U
# XLA's pool on a CPU has as many threads as devices or cores. The LAPACK calls of jaxlib 0.10 wait
# in that pool for work that they put there: with no thread more than devices they wait for ever.
THREADS = {"NPROC": "8", "OPENBLAS_NUM_THREADS": "1", "JAX_PLATFORMS": "cpu"}


@pytest.fixture(scope="module")
def arrays(tmp_path_factory):
    """What the process leaves."""
    out = tmp_path_factory.mktemp("sharded") / "arrays.npz"
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=4"
    paths = os.pathsep.join((str(TESTS), str(TESTS.parent)))
    environment = {**os.environ, **THREADS, "XLA_FLAGS": flags, "PYTHONPATH": paths}
    ended = subprocess.run(
        [sys.executable, TESTS / "made_sharded.py", out],
        env=environment, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    with np.load(out, allow_pickle=False) as file:
        return dict(file)


def excess(arrays, name, devices):
    """The largest difference from one device, over the limit; whole numbers must be equal."""
    most, pairs = 0.0, 0
    for key, wanted in arrays.items():
        if key.startswith(f"{name}/one/"):
            found, pairs = arrays[key.replace("/one/", f"/{devices}/")], pairs + 1
            if not np.issubdtype(wanted.dtype, np.floating):
                np.testing.assert_array_equal(found, wanted, err_msg=key)
                continue
            np.testing.assert_array_equal(np.isnan(found), np.isnan(wanted))
            size = np.nanmax(np.abs(wanted), initial=0.0)
            apart = np.nanmax(np.abs(found - wanted), initial=0.0)
            most = max(most, float(apart / size) / LIMIT if size else float(apart))
    assert pairs
    return most


@pytest.mark.parametrize("name", [*INSTRUMENTS, "grouped"])
def test_four_devices_give_the_numbers_of_one(arrays, name):
    # Tokens, kept sets and evictions are whole numbers.
    assert excess(arrays, name, "four") <= 1


def test_devices_exchange_two_sums_a_layer_and_no_weights(arrays):
    # Layers are one loop, whose two sums count once; the third is over the parts of the embedding.
    assert arrays["exchanges"].tolist() == [3, 0]


@pytest.mark.parametrize("spoil", ["shard", "gain"])
def test_a_shard_that_is_another_is_noticed(arrays, spoil):
    assert excess(arrays, "dense", spoil) > 1
