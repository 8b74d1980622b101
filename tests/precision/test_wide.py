"""A backend without float64 is refused by name, or served by the CPU of the host."""

import contextlib

import jax
import jax.numpy as jnp
import pytest

from glassesjax.errors import BadInput
from glassesjax.precision import backend, float64_device, float64_enabled, on_float64_device, wide


@pytest.fixture
def lacking(monkeypatch):
    """The default backend as a TPU is: float64 there has fewer bits."""
    monkeypatch.setattr(wide, "_fault", lambda name: "whose float64 has fewer bits")


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="states facts about the CPU")
def test_a_cpu_lacks_nothing():
    assert wide.float64_fault() == ""
    assert float64_device() is None
    wide.check_float64("a test")


@pytest.mark.parametrize(
    ("probe", "said"),
    [("float64_exact", "fewer bits"), ("float64_bits_cast", "cannot cast float64 to its bits")],
)
def test_each_probe_is_a_fault_of_its_own(monkeypatch, probe, said):
    monkeypatch.setattr(backend, probe, lambda: False)
    wide._fault.cache_clear()
    try:
        assert said in wide.float64_fault()
    finally:
        wide._fault.cache_clear()


def test_a_cast_that_the_compiler_refuses_is_a_fault(monkeypatch):
    def refuse(x, dtype):
        raise NotImplementedError("bitcast-convert of 64-bit types")

    monkeypatch.setattr(jax.lax, "bitcast_convert_type", refuse)
    assert not backend.float64_bits_cast()


def test_without_float64_arrays_go_to_the_cpu(lacking):
    cpu = jax.devices("cpu")[0]
    assert float64_device() == cpu
    with float64_enabled():
        x = jnp.arange(3.0)
        assert (x.dtype, x.devices()) == (jnp.float64, {cpu})
    moved = on_float64_device({"x": jnp.ones(2, jnp.float32)})["x"]
    assert moved.committed
    assert moved.devices() == {cpu}
    with pytest.raises(BadInput, match=r"with float64 for a test, got .* fewer bits: set JAX_PLAT"):
        wide.check_float64("a test")


def test_with_float64_the_default_device_of_the_caller_stays(monkeypatch):
    monkeypatch.setattr(wide, "_fault", lambda name: "")
    chosen = jax.devices()[-1]
    with jax.default_device(chosen), float64_enabled():
        assert jax.config.read("jax_enable_x64")
        assert jax.config.jax_default_device == chosen


def test_without_a_cpu_the_setting_is_named(lacking, monkeypatch):
    def devices(platform):
        raise RuntimeError("Unknown backend cpu")

    monkeypatch.setattr(jax, "devices", devices)
    with pytest.raises(BadInput, match=r"Expected a CPU for float64, got .*: set JAX_PLATFORMS="):
        float64_device()


def test_the_setting_of_64_bit_types_comes_back(lacking):
    before = jax.config.read("jax_enable_x64")
    with contextlib.suppress(ZeroDivisionError), float64_enabled():
        raise ZeroDivisionError
    assert jax.config.read("jax_enable_x64") == before
