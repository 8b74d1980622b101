"""What older files mean in today's words, by hand."""

import pytest

from glassesjax.cache import policy
from glassesjax.errors import BadInput
from glassesjax.schema import check_schema, renamed_policy, upgraded_row, upgraded_settings


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ("h2o", "h2o-layer"),
        ("h2o-head", "h2o"),
        ("h2o_mean", "h2o_mean-layer"),
        ("h2o_mean-head+1", "h2o_mean+1"),
        ("h2o+4@2~0.5", "h2o-layer+4@2~0.5"),
        ("h2o@0~0.5", "h2o-layer@0~0.5"),
        ("tova", "tova"),
        ("tova-head", "tova-head"),
        ("window+4", "window+4"),
        ("short", "short"),
        ("h2o_other", "h2o_other"),
    ],
)
def test_a_policys_name_of_then_is_what_it_did(before, now):
    assert renamed_policy(before) == now
    if before.startswith("h2o") and before != "h2o_other":
        assert policy(now).head_wise == ("-head" in before)
        assert str(policy(now)) == now


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ({"study": "influence", "model": "smollm2", "text": None, "prompt": ""}, "kjv"),
        ({"study": "retention", "model": "a/b.gguf", "text": None}, "kjv"),
        ({"study": "retention", "model": "smollm2", "text": "emma"}, "emma"),
        ({"study": "influence", "model": "smollm2", "text": None, "prompt": "In"}, None),
        ({"study": "perplexity", "model": "toy", "text": None}, None),  # digits then and now
        ({"study": "other", "model": "smollm2", "text": None}, None),
    ],
)
def test_no_text_was_the_bible_for_models_that_read_text(before, now):
    assert upgraded_settings(before) == {**before, "schema": 1, "text": now}


def test_what_has_a_schema_is_left_alone():
    settings = {"schema": 1, "policies": ["h2o"], "policy": "h2o"}
    assert upgraded_settings(settings) == settings
    del settings["schema"]
    assert upgraded_settings(settings) == {
        "schema": 1, "policies": ["h2o-layer"], "policy": "h2o-layer",
    }  # fmt: skip
    assert upgraded_row({"policy": "h2o", "slots": 3}) == {"policy": "h2o-layer", "slots": 3}
    assert upgraded_row({"claim": "a"}) == {"claim": "a"}


@pytest.mark.parametrize("schema", [0, 2, "1", None, True, [1]])
def test_an_unknown_schema_is_refused(schema):
    check_schema({"schema": 1}, "x")
    check_schema({}, "x")
    with pytest.raises(BadInput, match="Expected schema 1 or none in x, got "):
        check_schema({"schema": schema}, "x")
