import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from exact_numbers import nearest

from glassesjax.precision import BF16, F32, RoundingPlan, Site, backend, backend_report

on_cpu = pytest.mark.skipif(jax.default_backend() != "cpu", reason="states facts about the CPU")


@pytest.fixture(scope="module")
def report():
    return backend_report()


def test_the_report_is_flat_and_fit_for_json(report):
    assert json.loads(json.dumps(report)) == report
    assert {type(value) for value in report.values()} == {str, bool, int}


@on_cpu
def test_products_and_sums_on_a_cpu(report):
    # Its vector units multiply float32 as such, and have no bfloat16 sums.
    assert {report[key] for key in report if key.endswith("_bits")} == {23}
    assert {report[key] for key in report if key.endswith("_in_f32")} == {True}
    assert report["float64_exact"]


def test_subnormals_as_in_many_random_operations(report):
    small = np.random.default_rng(0).integers(1, 1 << 23, 256, dtype=np.uint32).view(np.float32)
    assert np.all(small + small > 0)  # on the host, gradual underflow
    bits = jax.jit(lambda x: jax.lax.bitcast_convert_type(x + x, jnp.uint32))(jnp.asarray(small))
    assert report["add_flushes_subnormal_operands"] == bool(np.all(bits == 0))
    assert report["add_flushes_subnormal_operands"] == bool(np.any(bits == 0))


def test_fused_products_as_in_exact_arithmetic(report):
    x, c, y = np.random.default_rng(1).normal(size=(3, 256)).astype(np.float32)
    found = np.asarray(jax.jit(lambda x, c, y: x * c - y)(x, c, y))
    exact = x.astype(np.float64) * c.astype(np.float64)  # 48 bits fit
    apart = exact.astype(np.float32) - y
    # float64 rounds the difference a second time, which matters for none of these 256.
    fused = [nearest(d, F32) for d in (exact - y.astype(np.float64)).tolist()]
    assert not np.array_equal(apart, fused)
    assert np.array_equal(found, fused if report["multiply_add_fused"] else apart)


def test_casts_as_in_many_values(report, key):
    x = jax.random.normal(key, (256,), jnp.float32)
    kept = jax.jit(lambda x: x.astype(jnp.bfloat16).astype(jnp.float32))(x)
    assert report["casts_elided"] == bool(np.array_equal(kept, x))
    assert report["casts_elided"] != bool(np.array_equal(kept, BF16.round(x)))
    assert report["reduce_precision_kept"]  # what XLA promises


@on_cpu
def test_native_and_simulated_chains_agree(report, key):
    assert report["native_bf16_equals_simulated"]
    native, simulated = (RoundingPlan.everywhere(BF16, mode=m) for m in ("native", "simulated"))

    @jax.jit
    def both(x):
        stores = [lambda x, p=plan: p.store(Site.ACTIVATIONS, x) for plan in (native, simulated)]
        return [store(store(store(x) * store(x)) - store(x)) for store in stores]

    a, b = both(jax.random.normal(key, (256,), jnp.float32))
    assert np.array_equal(a.astype(jnp.float32), b)


@on_cpu
def test_native_product_is_rounded_once_from_float32():
    # Sums of small integers are exact in float32 whatever their order, and need rounding to bf16.
    x, y = np.random.default_rng(2).integers(-127, 128, (2, 32, 32)).astype(np.float32)
    exact = x.astype(np.int64) @ y.astype(np.int64)
    native = jax.jit(jnp.matmul)(x.astype(jnp.bfloat16), y.astype(jnp.bfloat16))
    expected = [[nearest(float(n), BF16) for n in row] for row in exact]
    assert np.array_equal(native.astype(jnp.float32), expected)
    assert np.array_equal(BF16.round(jnp.asarray(x) @ jnp.asarray(y)), expected)
    assert not np.array_equal(expected, exact)


def test_probes_tell_formats_apart():
    """Each probe on a stand-in with the fault that it looks for."""
    narrow = lambda x, ones: jax.lax.scan(lambda s, v: (s + v, None), jnp.zeros_like(x[:, 0]), x.T)
    assert not backend.sums_in_f32(lambda x, ones: narrow(x, ones)[0])
    assert backend.subnormals_flushed(lambda x, y: jnp.zeros_like(x), 0, 0)
    assert not backend.subnormals_flushed(jnp.add, 0, 0)


@pytest.mark.parametrize(("bits", "name"), [(10, "tf32"), (7, "bf16")])
def test_bits_of_a_coarser_product(monkeypatch, bits, name):
    def coarse(x, y, *, precision):
        assert precision is None
        return jax.lax.reduce_precision(x, 8, bits) @ y

    monkeypatch.setattr(backend.jnp, "matmul", coarse)
    assert backend.product_bits(rows=1, precision=None) == bits, name


def test_float64_is_seen_to_be_exact_without_being_enabled(report):
    assert report["x64_enabled"]
    with jax.enable_x64(False):
        assert backend.float64_exact() == report["float64_exact"]
