"""The retention study on the toy: its rows against a replay, and resuming."""

import copy
import dataclasses
import math
import re

import jax.numpy as jnp
import numpy as np
import pytest
from studies.made_diverged import check_diverged, faults, words_of
from studies.made_plans import OVERFLOW, OVERFLOWS, PLANS, check_constants, check_overflow

from glassesjax.cache.policies import policy
from glassesjax.cache.replay import replay, retained
from glassesjax.errors import BadInput
from glassesjax.precision import F64, RoundingPlan, model_plan
from glassesjax.runs.record import names, to_row
from glassesjax.studies.retention.measure import (
    RetentionSettings,
    measure,
    open_subject,
)
from glassesjax.studies.retention.records import ROWS
from glassesjax.studies.retention.run import open_run
from glassesjax.studies.retention.study import STUDY

pytestmark = pytest.mark.usefixtures("undrawn")

SETTINGS = RetentionSettings(
    model="toy",
    max_tokens=14,
    policies=("tova", "h2o-head"),  # an alias: rows have the policy's one name
    slots=("4",),
    format="f64",
    positions="rotary",
)


@pytest.fixture(scope="module")
def subject():
    return open_subject(SETTINGS)


@pytest.fixture(scope="module")
def rows(subject):
    return measured(SETTINGS, subject)


def measured(settings, subject):
    return [to_row(row) for _, rows in measure(settings, subject) for row in rows]


@pytest.fixture(scope="module")
def held(subject):
    """For TOVA with 4 slots: layer, step, token."""
    decoder = subject.model.decoder.at(RoundingPlan.wide(F64))
    found = replay(decoder, jnp.asarray(subject.tokens), policy("tova"), slots=4)
    return np.stack([retained(layer)[0] for layer in found.evicted_at])


def test_sizes_that_are_the_same_are_read_once():
    settings = dataclasses.replace(SETTINGS, slots=("4", "30%"))
    assert list(open_subject(settings).cells) == [("tova", 4), ("h2o", 4)]


def pick(rows, policy="tova", slots=4, **wanted):
    wanted |= {"policy": policy, "slots": slots}
    return [row for row in rows if all(row.get(name) == value for name, value in wanted.items())]


def test_every_row_is_there_once(rows):
    keys = {tuple(row.get(name) for name in ROWS.key) for row in rows}
    assert len(rows) == len(keys)
    for name in SETTINGS.policies:
        kinds = [row["kind"] for row in pick(rows, name)]
        assert kinds.count("token") == 14
        assert kinds.count("layer") == 3  # the toy has one key-value head
        assert kinds[-1] == "summary"


def test_steps_and_fates_are_those_of_the_replay(rows, held):
    # A token is seen in its own step and in one step more than it is held after, if it was dropped.
    born = np.arange(14)
    last = held[:, -1]
    steps = np.where(last, 14 - born, held.sum(axis=1) + 1)
    tokens = pick(rows, kind="token")
    np.testing.assert_allclose([r["steps"] for r in tokens], steps.mean(axis=0), rtol=2.0**-50)
    np.testing.assert_allclose([r["cached"] for r in tokens], last.mean(axis=0), rtol=2.0**-50)
    layers = pick(rows, kind="layer")
    assert [r["first_steps"] for r in layers] == steps[:, 0].tolist()
    assert [r["first_cached"] for r in layers] == last[:, 0].tolist()
    (whole,) = pick(rows, kind="summary")
    assert whole["steps"] == pytest.approx(steps.mean(), rel=2.0**-50, abs=0)
    assert whole["steps_of_any_policy"] == pytest.approx(steps.mean(), rel=2.0**-50, abs=0)
    assert whole["cached_somewhere"] == last.any(axis=0).mean()
    assert whole["cached_everywhere"] == last.all(axis=0).mean()
    assert whole["censored"] == pytest.approx(4 / 14)


def test_recent_shares_and_overlaps_are_those_of_the_replay(rows, held):
    steps = range(4, 14)  # from the first that dropped a token
    recent = [[layer[t, t - 3 : t + 1].sum() / 4 for t in steps] for layer in held]
    layers = pick(rows, kind="layer")
    assert [r["recent_share"] for r in layers] == pytest.approx(np.mean(recent, axis=1).tolist())

    def alike(a, b):
        each = [(held[a, t] & held[b, t]).sum() / (held[a, t] | held[b, t]).sum() for t in steps]
        return np.mean(each)

    pairs = {(a, b): alike(a, b) for a in range(3) for b in range(3) if a != b}
    assert [r["overlap_next"] for r in layers[:2]] == pytest.approx([pairs[0, 1], pairs[1, 2]])
    assert "overlap_next" not in layers[2]
    assert layers[0]["overlap"] == pytest.approx((pairs[0, 1] + pairs[0, 2]) / 2)
    (whole,) = pick(rows, kind="summary")
    assert whole["overlap"] == pytest.approx(np.mean(list(pairs.values())))
    assert whole["recent_share"] == pytest.approx(np.mean(recent))


def test_the_map_of_a_layer_can_be_read_back(rows, held):
    for layer, row in enumerate(pick(rows, kind="layer")):
        steps = np.array(row["evicted"])[None]
        np.testing.assert_array_equal(retained(steps)[0], held[layer])


def test_classes_share_out_all_tokens(rows):
    classes = pick(rows, kind="class")
    assert sum(row["tokens"] for row in classes) == 14
    total = sum(row["tokens"] * row["steps"] for row in classes)
    (whole,) = pick(rows, kind="summary")
    assert total / 14 == pytest.approx(whole["steps"])
    first = pick(rows, kind="class", word_class="first_token")[0]
    assert first["tokens"] == 1
    assert "standard_error" not in first
    assert all(row["survival_steps"] >= row["steps"] * (1 - 1e-12) for row in classes)


def test_a_text_that_fits_is_never_forgotten(subject):
    settings = dataclasses.replace(SETTINGS, policies=("tova",), slots=("14",))
    rows = measured(settings, open_subject(settings))
    (whole,) = pick(rows, slots=14, kind="summary")
    assert math.isnan(whole["recent_share"])
    assert whole["censored"] == whole["cached_everywhere"] == 1.0
    assert whole["steps"] == 7.5  # 14 down to 1


def test_a_run_that_was_cut_off_continues(tmp_path, rows):
    STUDY.run(SETTINGS, tmp_path)
    file = tmp_path / "rows.jsonl"
    whole, page = file.read_bytes(), (tmp_path / "index.html").read_bytes()
    lines = whole.splitlines(keepends=True)
    assert len(lines) == len(rows)
    count = len(pick(rows))
    file.write_bytes(b"".join(lines[: count + 5]) + lines[count + 5][:40])
    named = []
    STUDY.run(SETTINGS, tmp_path, advance=named.append)
    assert named == ["h2o with 4 slots"]
    assert (file.read_bytes(), (tmp_path / "index.html").read_bytes()) == (whole, page)
    with pytest.raises(BadInput, match="got another run"):
        STUDY.run(dataclasses.replace(SETTINGS, seed=1), tmp_path)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"max_tokens": 0}, "--max-tokens of 1 or more, got 0"),
        ({"policies": ()}, "different --policies"),
        ({"policies": ("tova", "tova-layer")}, "different --policies"),
        ({"policies": ("tovva",)}, "did you mean 'tova'"),
        ({"policies": ("full",)}, "policies that evict"),
        ({"slots": ("4", "4")}, "different --slots"),
        ({"slots": ("0",)}, "at least 1 slots"),
        ({"slots": ("many",)}, "slots as tokens"),
        ({"policies": ("tova+4",)}, "at least 5 slots"),
        ({"max_tokens": 8193}, "at most 8192 tokens, the model's context"),
        ({"seed": -1}, "a seed from 0"),
        ({"positions": "round"}, "--positions out of none"),
        ({"text": "kjv"}, "leave --text out"),
        ({"model": "smollm2"}, "--positions with the toy only"),
        ({"model": "no.gguf", "positions": "none"}, "'no.gguf', which cannot be read"),
    ],
)
def test_bad_input_is_said_before_anything_is_measured(fields, said):
    given = {field.name: getattr(SETTINGS, field.name) for field in dataclasses.fields(SETTINGS)}
    with pytest.raises(BadInput, match=re.escape(said)):
        open_subject(RetentionSettings(**{**copy.copy(given), **fields}))


def test_every_field_is_there_somewhere(rows):
    every = {name for kind in ROWS.kinds for name in names(kind)}
    assert set().union(*rows) == every - {"text_perplexity", *OVERFLOW}  # of random digits: none


@pytest.mark.parametrize("name", PLANS)
def test_what_is_kept_is_decided_under_the_plan(subject, name, tmp_path):
    settings = dataclasses.replace(SETTINGS, policies=("tova",), format=name)
    run = STUDY.run(settings, tmp_path / "run").run
    check_constants(run.constants, name)
    decoder = subject.model.decoder.at(model_plan(name))
    found = replay(decoder, jnp.asarray(subject.tokens), policy("tova"), slots=4)
    kept = [row.evicted for row in run.rows if row.kind == "layer"]
    assert kept == [tuple(layer[0].tolist()) for layer in found.evicted_at]


def test_an_overflow_is_named_by_its_site(tmp_path):
    settings = dataclasses.replace(SETTINGS, policies=("tova",), format=OVERFLOWS)
    result = STUDY.run(settings, tmp_path / "run")
    check_overflow(result.summary, list(map(to_row, result.run.rows)))
    assert "first at residual in layer" in result.headline


def test_what_all_rows_have_in_common():
    shared = open_run(SETTINGS).constants
    assert (shared.text, shared.ranking_obstacle) == ("random_digits", "random_weights")
    assert (shared.positions, shared.dtype) == ("rotary", "float64")
    assert (shared.num_layers, shared.prompt_tokens) == (3, 14)


@faults
def test_a_diverged_model_is_said_to_be_one(rows, fault, tmp_path, capsys):
    settings = dataclasses.replace(SETTINGS, policies=("tova",))
    check_diverged("retention", words_of(settings), tmp_path, capsys, fault, "rotary")
