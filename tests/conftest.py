"""Switches and fixtures of all tests: strict promotion, float64 available, a key per test."""

import zlib

import jax
import pytest

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def key(request):
    """A key that depends on the test's own name only."""
    return jax.random.key(zlib.crc32(request.node.nodeid.encode()))
