"""The arithmetic of a model's passes by name: native for four dtypes alone, else a named plan."""

import pytest

from glassesjax.errors import BadInput
from glassesjax.precision import BF16, E4M3FN, F32, F64, INT4, RoundingPlan, named_plan
from glassesjax.precision.arithmetic import (
    coarsest_error,
    model_plan,
    plan_name,
    relative_error,
    rounds_passes,
)

DTYPES = {"f32": "float32", "f64": "float64", "bf16": "bfloat16", "f16": "float16"}


@pytest.mark.parametrize(("name", "dtype"), DTYPES.items())
def test_four_names_are_the_backends_own_arithmetic(name, dtype):
    assert model_plan(name) == RoundingPlan.of_dtype(dtype)


@pytest.mark.parametrize(
    "name", ["bf16@all", "bf16@weights", "e4m3fn", "e4m3fn@attn_weights", "native-bf16", "e8m7"]
)
def test_every_other_name_is_that_of_a_plan(name):
    assert model_plan(name) == named_plan(name)


def test_the_simulated_bf16_has_a_name_of_its_own():
    assert model_plan("bf16@all") == RoundingPlan.everywhere(BF16)
    assert model_plan("native-bf16") == model_plan("bf16") != model_plan("bf16@all")


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("e4m3", None),  # a format of its own
        ("bf15", "bf16"),
        ("e4m3fm@weights", "e4m3fn@weights"),
        ("bf16@weight", "bf16@weights"),
        ("native-bf17", "native-bf16"),
        ("bf16@residual+atn_weights", "bf16@residual+attn_weights"),
        ("zzzz", ""),
        ("", ""),
    ],
)
def test_a_wrong_name_is_one_line_with_the_nearest(text, near):
    if near is None:
        assert model_plan(text).mode == "simulated"
        return
    with pytest.raises(BadInput) as caught:
        model_plan(text)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(f"did you mean {near!r}?") == bool(near)


@pytest.mark.parametrize("name", [*DTYPES, "bf16@weights", "native-f16", "int4@weights", "e5m9"])
def test_rows_have_a_formats_own_name(name):
    assert plan_name(name) == name


def test_derivatives_are_exact_where_weights_alone_are_rounded():
    names = ("f32", "f64", "bf16@weights", "int4@weights", "native-f32")
    assert [name for name in names if rounds_passes(model_plan(name))] == []
    rounded = ("bf16", "native-bf16", "bf16@all", "e4m3fn@attn_weights", "bf16@weights+output")
    assert all(rounds_passes(model_plan(name)) for name in rounded)


def test_errors_of_formats():
    assert relative_error(E4M3FN) == 2.0**-4
    assert relative_error(INT4) == 1 / 14  # codes up to 7, half a step
    assert coarsest_error(model_plan("e4m3fn@attn_weights")) == 2.0**-4
    assert coarsest_error(RoundingPlan(weights=BF16, output=E4M3FN, mode="simulated")) == 2.0**-4
    assert [coarsest_error(RoundingPlan.wide(c)) for c in (F32, F64)] == [2.0**-24, 2.0**-53]
