"""Plans by name: what each name rounds, and what is no name."""

import pytest

from glassesjax.errors import BadInput
from glassesjax.precision import (
    BF16,
    E4M3FN,
    F16,
    F32,
    INT4,
    RoundingPlan,
    Site,
    float_format,
    named_plan,
)


@pytest.mark.parametrize(
    ("text", "plan"),
    [
        ("f32", RoundingPlan.wide()),
        ("f32@weights", RoundingPlan.wide()),
        ("bf16", RoundingPlan.everywhere(BF16)),
        ("native-f16", RoundingPlan.everywhere(F16, mode="native")),
        ("int4@weights", RoundingPlan(weights=INT4, mode="simulated")),
        ("bf16@attention", RoundingPlan(attn_logits=BF16, attn_weights=BF16, mode="simulated")),
        ("e4m3fn@weights", RoundingPlan(weights=E4M3FN, mode="simulated")),
        ("bf16@output+residual", RoundingPlan(output=BF16, residual=BF16, mode="simulated")),
        ("e8m2", RoundingPlan.everywhere(float_format("e8m2"))),
    ],
)  # fmt: skip
def test_a_name_is_a_plan(text, plan):
    assert named_plan(text) == plan


def test_the_arithmetic_between_is_float32_and_passes_are_all_but_weights():
    plan = named_plan("bf16@passes")
    assert plan.carrier == F32
    assert set(plan.formats) == set(Site) - {Site.WEIGHTS}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("f31", "f31"),
        ("bf16@", "sites out of weights"),
        ("bf16@head", "got 'head'"),
        ("bf16@weights+", "got ''"),
        ("native-bf16@weights", "native-bf16"),
        ("native-e4m3fn", "Native arithmetic"),
        ("native-", "Expected FORMAT"),
        ("native-f64", "f32 must contain each format, got f64"),
        ("f64", "must contain"),
        ("", "Expected FORMAT"),
    ],
)
def test_what_is_no_name_is_one_line(text, said):
    with pytest.raises(BadInput, match=said) as caught:
        named_plan(text)
    assert "\n" not in str(caught.value)
