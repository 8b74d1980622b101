import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glassesjax.precision import (
    BF16,
    E4M3FN,
    F16,
    F32,
    F64,
    INT8,
    INT8_CHANNEL,
    STORED,
    Accumulator,
    RoundingPlan,
    Site,
    float_format,
)
from glassesjax.precision.plan import SUMS


def test_sites_are_the_fields():
    fields = [field.name for field in dataclasses.fields(RoundingPlan)]
    assert fields == [*Site, "tile", "tile_order", "layers", "mode", "carrier"]


FORMAT_SITES = tuple(site for site in Site if site not in SUMS)


@pytest.mark.parametrize("site", FORMAT_SITES)
def test_a_site_with_a_format_is_rounded_and_no_other(site, key):
    x = jax.random.normal(key, (3, 4), jnp.float32)
    plan = RoundingPlan(mode="simulated", **{site.value: BF16})
    for other in FORMAT_SITES:
        expected = BF16.round(x) if other == site else x
        stored = plan.store(other, x)
        assert stored.dtype == plan.dtype == jnp.float32
        assert np.array_equal(stored, expected)
    assert not np.array_equal(BF16.round(x), x)


def test_a_wide_plan_changes_nothing(key):
    x = jax.random.normal(key, (3,), jnp.float64)
    assert np.array_equal(RoundingPlan.wide(F64).store(Site.WEIGHTS, x), x)
    assert RoundingPlan.wide().store(Site.WEIGHTS, x).dtype == jnp.float32


def test_a_native_plan_changes_the_dtype(key):
    x = jax.random.normal(key, (3,), jnp.float32)
    for fmt in (F32, BF16, F16, F64):
        plan = RoundingPlan.everywhere(fmt, mode="native")
        stored = plan.store(Site.RESIDUAL, x)
        assert stored.dtype == plan.dtype == fmt.dtype
        assert np.array_equal(stored.astype(jnp.float32), fmt.round(x) if fmt != F64 else x)


def test_integers_use_the_axis_of_the_value(key):
    x = jax.random.normal(key, (3, 4), jnp.float32)
    plan = RoundingPlan(mode="simulated", weights=INT8_CHANNEL, residual=INT8)
    assert np.array_equal(plan.store(Site.WEIGHTS, x), INT8_CHANNEL.round(x))
    assert np.array_equal(plan.store(Site.RESIDUAL, x), INT8.round(x))


def test_a_native_plan_of_weights_stores_them_narrow_and_the_rest_in_the_carrier(key):
    x = jax.random.normal(key, (3,), jnp.float64)
    for carrier in (F32, F64):
        plan = RoundingPlan(weights=BF16, mode="native", carrier=carrier)
        assert plan.store(Site.WEIGHTS, x).dtype == plan.weights_dtype == jnp.bfloat16
        assert plan.store(Site.RESIDUAL, x).dtype == plan.dtype == carrier.dtype
        assert plan.name == f"native bf16 weights in {carrier.name}"


def test_a_state_is_rounded_once_where_it_has_the_format_of_activations(key):
    x = jax.random.normal(key, (3, 4), jnp.float32)
    both = RoundingPlan.everywhere(INT8)
    stored = both.store(Site.ACTIVATIONS, x)
    assert both.store_state(stored) is stored
    alone = RoundingPlan(state=BF16, mode="simulated")
    assert np.array_equal(alone.store_state(x), BF16.round(x))
    coarse = RoundingPlan(state=E4M3FN, activations=BF16, mode="simulated")
    twice = coarse.store_state(coarse.store(Site.ACTIVATIONS, x))
    assert np.array_equal(twice, E4M3FN.round(BF16.round(x)))


def test_a_plan_is_static(key):
    @functools.partial(jax.jit, static_argnames="plan")
    def stored(x, plan):
        return plan.store(Site.OUTPUT, plan.store(Site.ACTIVATIONS, x) + 1)

    x = jax.random.normal(key, (8,), jnp.float32)
    for plan in (RoundingPlan.wide(), RoundingPlan.everywhere(E4M3FN)):
        round_ = E4M3FN.round if plan.mode == "simulated" else lambda x: x
        assert np.array_equal(stored(x, plan=plan), round_(round_(x) + 1))


def some_plans():
    yield from (RoundingPlan.wide(F32), RoundingPlan.wide(F64))
    for fmt, carrier in itertools.product((BF16, INT8), (F32, F64)):
        yield RoundingPlan.everywhere(fmt, carrier=carrier)
        for size in (1, 2):
            for sites in itertools.combinations(FORMAT_SITES, size):
                if sites == (Site.ATTN_WEIGHTS, Site.ATTN_EXP):
                    continue  # one or the other
                if fmt == INT8 and Site.OPERANDS in sites:
                    continue  # one scale for both operands has no meaning
                formats = {site.value: fmt for site in sites}
                yield RoundingPlan(**formats, mode="simulated", carrier=carrier)
    for how in (Accumulator(BF16), Accumulator(BF16, "chunked", 4), Accumulator(F16, "pairwise")):
        for site in SUMS:
            yield RoundingPlan(**{site.value: how}, mode="simulated")
    for tile, order in ((0, "forward"), (64, "forward"), (64, "reverse"), (128, "reverse")):
        yield RoundingPlan(attn_exp=BF16, tile=tile, tile_order=order, mode="simulated")
    narrow = RoundingPlan.everywhere(BF16)
    for last in (0, 1, 2):
        yield RoundingPlan.by_layer(lambda i, n=last: narrow if i <= n else RoundingPlan.wide(), 4)
    yield RoundingPlan.by_layer(lambda i: narrow, 4, narrow)
    yield from (RoundingPlan.everywhere(fmt, mode="native") for fmt in (F64, F32, BF16, F16))
    for fmt, carrier in ((BF16, F32), (BF16, F64), (F16, F32), (F32, F64)):
        yield RoundingPlan(weights=fmt, mode="native", carrier=carrier)


def test_names_and_records():
    assert RoundingPlan.wide().name == "wide f32"
    assert RoundingPlan.everywhere(BF16).name == "simulated bf16 everywhere"
    assert RoundingPlan.everywhere(BF16, carrier=F64).name == "simulated bf16 everywhere in f64"
    assert RoundingPlan.everywhere(F16, mode="native").name == "native f16 everywhere"
    plan = RoundingPlan(mode="simulated", residual=BF16, weights=INT8)
    assert plan.name == "simulated int8 weights, bf16 residual"
    record = {"mode": "simulated", "carrier": "f32", "weights": "int8", "residual": "bf16"}
    assert plan.as_record() == record
    assert RoundingPlan.wide().as_record() == {"mode": "wide", "carrier": "f32"}
    plans = list(some_plans())
    assert len({plan.name for plan in plans}) == len(set(plans)) == len(plans)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weights": BF16}, "wide plan rounds nowhere .* got formats for weights"),
        ({"mode": "simulated"}, "needs a format for some site .* got none"),
        ({"mode": "simulated", "output": F64}, "carrier f32 must contain each format, got f64"),
        ({"carrier": BF16}, "carrier must be F32 or F64, got bf16"),
        ({"mode": "native", "output": BF16}, "same at all sites or for weights alone, got bf16"),
        ({"mode": "simulated", "attn_exp": BF16, "attn_weights": BF16}, "or after their division"),
        ({"mode": "simulated", "residual": BF16, "tile": 64}, "Tiles are of plans with a format"),
        ({"mode": "native"}, "same at all sites or for weights alone, got none"),
        (
            {"mode": "native", "carrier": F64, **{site.value: BF16 for site in STORED}},
            "Native bf16 accumulates in f32 on hardware, got carrier=f64",
        ),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(ValueError, match=message):
        RoundingPlan(**settings)


@pytest.mark.parametrize("fmt", [E4M3FN, INT8, float_format("tf32")], ids=lambda fmt: fmt.name)
def test_storage_formats_have_no_native_arithmetic(fmt):
    with pytest.raises(ValueError, match=f"for f64, f32, bf16, f16 .* got {fmt.name}"):
        RoundingPlan.everywhere(fmt, mode="native")


def test_the_site_must_exist():
    # Where shapes and types of every call are checked, it is no Site.
    with pytest.raises(
        (ValueError, TypeError), match=r"one of weights, .* got 'resid'|Actual value: 'resid'"
    ):
        RoundingPlan.wide().store("resid", jnp.ones(1, jnp.float32))


def test_float64_must_be_enabled():
    with jax.enable_x64(False):
        with pytest.raises(ValueError, match="wide f64 needs jax_enable_x64"):
            RoundingPlan.wide(F64).store(Site.WEIGHTS, jnp.ones(1, jnp.float32))
        plan = RoundingPlan.everywhere(BF16)
        stored = plan.store(Site.WEIGHTS, jnp.full(1, 1.003, jnp.float32))
        assert stored.tolist() == [1]


def test_the_plan_of_a_dtype_is_what_such_weights_do_by_themselves():
    assert RoundingPlan.of_dtype("float64") == RoundingPlan.wide(F64)
    assert RoundingPlan.of_dtype(jnp.float32) == RoundingPlan.wide(F32)
    assert RoundingPlan.of_dtype(jnp.bfloat16) == RoundingPlan.everywhere(BF16, mode="native")
    assert RoundingPlan.of_dtype(jnp.float16).dtype == jnp.float16
    with pytest.raises(ValueError, match="got int32"):
        RoundingPlan.of_dtype(jnp.int32)


def test_a_plan_by_layer_is_a_table():
    narrow = RoundingPlan.everywhere(BF16)
    attention = RoundingPlan(attn_exp=E4M3FN, product_sum=Accumulator(BF16), mode="simulated")
    plan = RoundingPlan.by_layer(lambda i: narrow if i < 2 else attention, 3, narrow)
    assert [line.split() for line in plan.table().splitlines()][:2] == [
        ["site", "outside", "layers", "0", "to", "1", "layer", "2"],
        ["weights", "bf16", "bf16", "-"],
    ]
    assert plan.table().splitlines()[-1].split() == ["product_sum", "-", "-", "bf16:sequential"]
    assert plan.in_layer(1) == narrow
    assert plan.in_layer(2) == attention
    assert plan.sites == {*STORED, Site.ATTN_EXP, Site.PRODUCT_SUM}
    with pytest.raises(ValueError, match="one layer or more"):
        RoundingPlan.by_layer(lambda i: narrow, 0)
    with pytest.raises(ValueError, match="simulated or wide"):
        RoundingPlan.by_layer(lambda i: RoundingPlan.everywhere(BF16, mode="native"), 2)
