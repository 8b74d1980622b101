"""Plans by name: what each name rounds, and what is no name."""

import dataclasses
import re
from pathlib import Path

import pytest

from glassesjax.errors import BadInput
from glassesjax.precision import (
    BF16,
    E4M3FN,
    F16,
    F32,
    INT4,
    PRESETS,
    STORED,
    Accumulator,
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
        ("bf16@all", RoundingPlan.everywhere(BF16)),
        ("bf16@attn_exp:64", RoundingPlan(attn_exp=BF16, tile=64, mode="simulated")),
        (
            "bf16@attn_exp:reverse",
            RoundingPlan(attn_exp=BF16, tile_order="reverse", mode="simulated"),
        ),
        (
            "bf16@product_sum:chunked64+softmax_sum",
            RoundingPlan(
                product_sum=Accumulator(BF16, "chunked", 64),
                softmax_sum=Accumulator(BF16),
                mode="simulated",
            ),
        ),
        (
            "bf16@weights,f16@state",
            RoundingPlan(weights=BF16, state=F16, mode="simulated"),
        ),
    ],
)  # fmt: skip
def test_a_name_is_a_plan(text, plan):
    assert named_plan(text) == plan


def test_the_arithmetic_between_is_float32_and_passes_are_all_but_weights():
    plan = named_plan("bf16@passes")
    assert plan.carrier == F32
    assert set(plan.formats) == set(STORED) - {Site.WEIGHTS}


def test_presets_are_plans_that_parts_change():
    for name, preset in PRESETS.items():
        assert named_plan(name) == preset.make()
        assert preset.what
        assert preset.source
        assert named_plan(name).row_wise
    flash = named_plan("bf16-flash")
    assert named_plan("bf16-flash,f16@state") == dataclasses.replace(flash, state=F16)
    assert named_plan("bf16-flash,f32@attn_exp").attn_exp is None


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
        ("bf16-flsh", "mean 'bf16-flash'"),
        ("bf16@weihgts", "mean 'bf16@weights'"),
        ("bf16@weights,f16@weights", "weights twice"),
        ("bf16@product_sum:chunked", "got 'chunked'"),
        ("bf16@weights:64", "tiles of attn_exp only"),
        ("bf16@attn_exp:back", "got 'back'"),
        ("bf16@attn_exp+attn_weights", "or after their division"),
        ("int8@product_sum", "float format without a scale"),
    ],
)
def test_what_is_no_name_is_one_line(text, said):
    with pytest.raises(BadInput, match=said) as caught:
        named_plan(text)
    assert "\n" not in str(caught.value)


def test_all_are_the_stored_sites():
    assert named_plan("bf16@all") == named_plan("bf16")


PAGE = (Path(__file__).parents[2] / "docs" / "precision.md").read_text(encoding="utf-8")


def first_cells(heading):
    """The code spans in the first column of the tables under a heading."""
    text = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    firsts = re.findall(r"^\| (`.*?`) \|", text, re.MULTILINE)
    return [name for first in firsts for name in re.findall(r"`([^`]+)`", first)]


def test_the_page_has_every_site_in_order():
    assert [name for name in first_cells("Plans") if name in tuple(Site)] == list(Site)


def test_names_on_the_page_are_plans():
    names = first_cells("Plans by name")
    assert len(names) == 12
    for name in names:
        assert named_plan(name).name
    fused = re.search(r"`([^`]*)` is the fused twin", PAGE)[1]
    swapped = dataclasses.replace(named_plan("e4m3fn"), attn_weights=None, attn_exp=E4M3FN)
    assert named_plan(fused) == swapped
    assert "for name, preset in PRESETS.items()" in PAGE  # their table is made from them
