import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glassesjax.model import native_presets, native_products
from glassesjax.model.fused import fused_average
from glassesjax.model.native_presets import WIDTH, attention_order, preset_report
from glassesjax.model.native_products import NativeProduct, operand_types
from glassesjax.precision import (
    BF16,
    F32,
    PRESETS,
    TF32,
    Accumulator,
    accumulated_product,
    named_plan,
    ulp_distance,
)

on_cpu = pytest.mark.skipif(jax.default_backend() != "cpu", reason="states facts about the CPU")


@pytest.fixture(scope="module")
def report():
    return {probe.preset: probe for probe in preset_report()}


def linear_distance(name, native, monkeypatch):
    monkeypatch.setattr(native_presets, "_native_product", lambda *_: native)
    unit = TF32 if name == "tf32-products" else BF16
    return native_presets._linear(named_plan(name), unit.unit_roundoff)[1]


def test_rows_are_flat_and_one_for_each_preset(report):
    assert list(report) == list(PRESETS)
    for probe in report.values():
        row = probe._asdict()
        assert json.loads(json.dumps(row)) == row
        assert {type(value) for value in row.values()} <= {str, float, type(None)}
        assert probe.native in ("yes", "part", "no")
        parts = [probe.linear == "native", probe.attention in ("fused", "native")]
        assert probe.native == ("yes" if all(parts) else "part" if any(parts) else "no")


@on_cpu
def test_what_a_cpu_does(report):
    # No unit for TF32, no block formats, and an attention that divides before it stores.
    assert report["tf32-products"].linear == "as 23 mantissa bits"
    assert report["mxfp8"].linear == report["nvfp4"].linear == "none"
    assert {p.attention for p in report.values() if p.unit == "bf16"} == {
        "normalized",
        report["e4m3fn-flash"].attention,
    }
    assert "yes" not in {probe.native for probe in report.values()}


@on_cpu
def test_products_are_the_simulated_ones_up_to_float32_sums(report):
    for name, probe in report.items():
        if probe.linear_distance is not None and name != "tf32-products":
            assert probe.linear_distance <= probe.tolerance < 0.01
    # float32 operands in place of rounded ones: one unit roundoff of each.
    apart, tolerance = report["tf32-products"].linear_distance, report["tf32-products"].tolerance
    assert tolerance < apart <= 2 + TF32.unit_roundoff + tolerance


def test_stored_products_are_a_few_ulps_apart_and_a_bf16_sum_is_not():
    x, weight = (BF16.round(native_presets._numbers((WIDTH, WIDTH), s)) for s in (0, 1))
    native = native_products.bf16_product(x, weight).result
    simulated = jnp.einsum("td,fd->tf", x, weight, precision="highest")
    # Each float32 sum of n terms is off by at most n u times the sum of their magnitudes; two
    # numbers round to ones as many steps apart as lie between them, and one more.
    terms = np.abs(np.asarray(x, np.float64)) @ np.abs(np.asarray(weight, np.float64)).T
    apart = 2 * WIDTH * F32.unit_roundoff * terms
    nearest_zero = np.maximum(np.abs(np.asarray(simulated, np.float64)) - apart, BF16.min_normal)
    spacing = 2.0 ** np.floor(np.log2(nearest_zero)) * BF16.epsilon
    steps = 1 + np.ceil(apart / spacing)
    assert np.median(steps) == 2

    def ulps(result):
        return np.asarray(ulp_distance(BF16.round(result), BF16.round(simulated), BF16))

    assert (ulps(native) <= steps).all()
    narrow = accumulated_product("td,fd->tf", x, weight, Accumulator(BF16))
    assert (ulps(narrow) > steps).any()


def test_a_bf16_sum_is_beyond_the_tolerance(monkeypatch, report):
    x, weight = (BF16.round(native_presets._numbers((WIDTH, WIDTH), s)) for s in (0, 1))
    narrow = accumulated_product("td,fd->tf", x, weight, Accumulator(BF16))
    native = NativeProduct("native", narrow)
    apart = linear_distance("bf16-flash", native, monkeypatch)
    assert apart > 10 * report["bf16-flash"].tolerance


@pytest.mark.parametrize("name", ["mxfp8", "nvfp4"])
def test_blocks_where_they_can_be_lowered(monkeypatch, report, name):
    """The definition of the operation in place of the backend's own."""

    def scaled_matmul(x, y, of_x, of_y):
        wide = lambda v, s: (
            v.astype(jnp.float32)
            * jnp.repeat(s.astype(jnp.float32), v.shape[-1] // s.shape[-1], axis=-1)
        )
        return jnp.einsum("bmk,bnk->bmn", wide(x, of_x), wide(y, of_y), precision="highest")

    monkeypatch.setattr(native_products.jax.nn, "scaled_matmul", scaled_matmul)
    plan = named_plan(name)
    native, apart = native_presets._linear(plan, BF16.unit_roundoff)
    assert native.kind == "as f32"
    assert apart <= report[name].tolerance


def test_operands_of_a_program():
    computation = """%fused (a: bf16[2,3], b: bf16[2,3]) -> f32[2,2] {{
  %a = {0}[2,3]{{1,0}} parameter(0)
  %b = {0}[2,3]{{1,0}} parameter(1)
  ROOT %dot.1 = f32[2,2]{{1,0}} dot(%a, %b), lhs_contracting_dims={{1}}
}}
"""
    narrow, wide = computation.format("bf16"), computation.format("f32")
    other = "%cast (a: bf16[2,3]) -> f32[2,3] {\n  %a = bf16[2,3]{1,0} parameter(0)\n}\n"
    assert operand_types(narrow) == {"bf16"}
    assert operand_types(wide + other) == operand_types(other + wide) == {"f32"}
    library = narrow.replace(" dot(", " custom-call(")
    assert operand_types(library) == {"bf16"}
    assert operand_types(other) == set()


def test_orders_are_told_apart(monkeypatch):
    plan = named_plan("bf16-flash")

    def fused(query, key, value, *, key_value_seq_lengths, implementation):
        seen = (jnp.arange(key.shape[1]) < key_value_seq_lengths[0])[None, None]
        logits = jnp.where(seen, jnp.zeros((1, query.shape[1], 1)), -jnp.inf)
        averaged, _ = fused_average(logits, value[0].swapaxes(0, 1), plan)
        return averaged.astype(query.dtype)

    def refused(*_, **__):
        raise NotImplementedError

    monkeypatch.setattr(jax.nn, "dot_product_attention", fused)
    assert attention_order("xla") == "fused"
    monkeypatch.setattr(jax.nn, "dot_product_attention", refused)
    assert attention_order("xla") is None
