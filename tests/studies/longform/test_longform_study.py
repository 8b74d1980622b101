"""The longform study on the toy: measures by hand, rows against a replay, the judge, resuming."""

import dataclasses
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from made_decoders import passed
from studies.longform.made_longform import made, run_of
from studies.made_diverged import check_diverged, faults, words_of
from studies.made_plans import OVERFLOW, OVERFLOWS, PLANS, check_constants, check_overflow

from glassesjax.cache import policy, replay, unroll
from glassesjax.errors import BadInput
from glassesjax.precision import F64, RoundingPlan
from glassesjax.runs.record import names, to_row
from glassesjax.studies.longform.judge import judged, verdicts
from glassesjax.studies.longform.measure import LongformSettings, measure, open_subject
from glassesjax.studies.longform.records import ROWS, LongformRow
from glassesjax.studies.longform.rows import common_prefix, distinct_share, full_loss, repetition
from glassesjax.studies.longform.study import STUDY
from glassesjax.studies.longform.summary import summarize

pytestmark = pytest.mark.usefixtures("undrawn")

SETTINGS = LongformSettings(
    model="toy",
    prompt="0123",
    policies=("tova", "window"),
    slots=("4",),
    samples=2,
    max_tokens=12,
    format="f64",
    positions="rotary",
)


@pytest.fixture(scope="module")
def subject():
    return open_subject(SETTINGS)


@pytest.fixture(scope="module")
def rows(subject):
    return [to_row(row) for _, rows in measure(SETTINGS, subject) for row in rows]


def pick(rows, **wanted):
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def test_shares_of_ngrams_by_hand():
    text = [1, 2, 1, 2, 1, 2, 3]
    assert distinct_share(text, 1) == 3 / 7
    assert distinct_share(text, 2) == 3 / 6  # 12, 21, 23
    assert distinct_share(text, 3) == 3 / 5  # 121, 212, 123
    assert distinct_share(text, 4) == 3 / 4  # 1212, 2121, 2123; 1212 stood there before
    assert repetition(text) == 1 / 4
    assert distinct_share([5, 5], 2) == 1.0
    assert math.isnan(distinct_share([5], 2))


def test_repetition_is_the_share_of_ngrams_seen_before():
    text = np.random.default_rng(0).integers(0, 2, 40).tolist()
    grams = [tuple(text[at : at + 4]) for at in range(37)]
    before = sum(gram in grams[:at] for at, gram in enumerate(grams))
    assert repetition(text) == pytest.approx(before / 37, rel=2.0**-50, abs=0)


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [([1, 2, 3], [1, 2, 4], 2), ([1, 2], [1, 2, 3], 2), ([], [1], 0), ([2], [1], 0)],
)
def test_common_prefix_by_hand(first, second, same):
    assert common_prefix(first, second) == same


def test_every_row_is_there_once(rows):
    assert len(rows) == len({tuple(row[name] for name in ROWS.key) for row in rows})
    assert [row["policy"] for row in rows][::2] == ["full", "tova", "window"]
    assert len(rows) == 2 * SETTINGS.steps
    assert all(row["length"] == len(row["text"]) == 12 and not row["ended"] for row in rows)
    assert all(row["repetition"] == 1 - row["distinct_4"] for row in rows)


def test_perplexity_is_that_of_a_replay_with_everything_kept(subject, rows):
    model = unroll(subject.model.decoder.at(RoundingPlan.wide(F64)))
    (row,) = pick(rows, policy="tova", slots=4, sample=1)
    text = subject.model.tokenizer.encode_symbols(tuple(row["text"]))
    tokens = jnp.asarray([*subject.prompt, *text], jnp.int32)
    scores = jax.nn.log_softmax(replay(model, tokens, policy("full")).logits)
    start = len(subject.prompt) - 1
    each = [float(scores[start + at, token]) for at, token in enumerate(text)]
    # Sums of some hundred terms in float64, in another order.
    assert row["full_nll"] == pytest.approx(-np.mean(each), rel=1e-12, abs=0)
    assert row["full_perplexity"] == pytest.approx(math.exp(-np.mean(each)), rel=1e-12, abs=0)
    parts = full_loss(model, subject.prompt, text, room=20, chunk=5)
    assert parts == pytest.approx(row["full_nll"], rel=1e-12, abs=0)
    assert math.isnan(full_loss(model, subject.prompt, (), room=20))


@pytest.mark.parametrize("name", ["window", pytest.param("tova", marks=pytest.mark.slow)])
def test_a_state_that_holds_all_writes_what_the_full_one_writes(rows, name):
    settings = dataclasses.replace(SETTINGS, policies=(name,), slots=("17",))
    found = [to_row(r) for _, rows in measure(settings, open_subject(settings)) for r in rows]
    assert len(pick(found, policy=name, slots=17)) == 2  # odd, and no power of two
    full = [row["text"] for row in pick(rows, policy="full")]
    assert full[0] != full[1]
    for row in (*rows, *found):
        same = common_prefix(list(map(ord, row["text"])), list(map(ord, full[row["sample"]])))
        assert row["common_prefix"] == same
        if row["slots"] == 17:  # 5 of the prompt and 12
            assert row["text"] == full[row["sample"]]


def test_other_draws_by_the_seed(rows):
    settings = dataclasses.replace(SETTINGS, seed=1, policies=("window",), slots=("4",))
    other = [to_row(r) for _, rows in measure(settings, open_subject(settings)) for r in rows]
    assert {row["text"] for row in other}.isdisjoint(row["text"] for row in rows)


def test_means_are_those_of_the_rows(rows):
    summary = summarize(run_of(rows))
    assert summary.num_cells == SETTINGS.steps
    assert (summary.full.ended, summary.full.texts, summary.full.length) == (0, 2, 12)
    nll = np.mean([row["full_nll"] for row in pick(rows, policy="window", slots=4)])
    (cell,) = [cell for cell in summary.cells if (cell.policy, cell.slots) == ("window", 4)]
    assert cell.perplexity == pytest.approx(math.exp(nll), rel=2.0**-50, abs=0)


def test_a_run_that_was_cut_off_continues(tmp_path, rows):
    settings = dataclasses.replace(SETTINGS, policies=("window",), slots=("4", "17"))
    STUDY.run(settings, tmp_path)
    file = tmp_path / "rows.jsonl"
    whole, page = file.read_bytes(), (tmp_path / "index.html").read_bytes()
    lines = whole.splitlines(keepends=True)
    assert len(lines) == 6
    file.write_bytes(b"".join(lines[:3]) + lines[3][:40])
    named = []
    STUDY.run(settings, tmp_path, advance=named.append)
    # The full texts are written once more, for the others are compared with them.
    assert named == ["full with 17 slots", "window with 4 slots", "window with 17 slots"]
    assert (file.read_bytes(), (tmp_path / "index.html").read_bytes()) == (whole, page)
    named.clear()
    STUDY.run(settings, tmp_path, advance=named.append)
    assert named == []
    text = page.decode()
    assert all(f">{row['text']}<" in text for row in pick(rows, policy="window"))


def test_a_perplexity_beyond_all_numbers_is_infinite(rows):
    (cell, *_) = summarize(run_of([{**row, "full_nll": 800.0} for row in rows])).cells
    assert cell.perplexity == math.inf
    (cell,) = summarize(run_of([{**rows[0], "full_nll": None}])).cells
    assert math.isnan(cell.perplexity)


def test_nothing_is_narrowed_where_nothing_is_drawn():
    assert SETTINGS.sampling.top_p == 0.95
    assert dataclasses.replace(SETTINGS, temperature=0.0, samples=1).sampling.top_p == 1.0


class Made:
    """A judge that prefers one kind of text, or one place."""

    def __init__(self, choose):
        self.choose, self.asked = choose, []

    def __call__(self, prompt, first, second):
        self.asked.append((prompt, first, second))
        return self.choose(first, second)


longer = lambda first, second: "first" if len(first) > len(second) else "second"


@pytest.mark.parametrize(
    ("choose", "verdict"),
    [
        (longer, "win"),
        (lambda first, second: longer(second, first), "loss"),
        (lambda first, second: "first", "tie"),  # swayed by the order
        (lambda first, second: "second", "tie"),
        (lambda first, second: "tie", "tie"),
        (lambda first, second: "first" if first == "long" else "tie", "tie"),  # sure once only
    ],
)
def test_a_win_needs_both_orders(choose, verdict):
    judge = Made(choose)
    assert judged(judge, "p", "long", "s") == verdict
    assert judge.asked == [("p", "long", "s"), ("p", "s", "long")]


def test_equal_texts_are_a_tie_and_nobody_is_asked():
    judge = Made(longer)
    assert judged(judge, "p", "same", "same") == "tie"
    assert judge.asked == []


def test_a_judge_must_choose():
    with pytest.raises(BadInput, match="first, second or tie, got 'maybe'"):
        judged(Made(lambda first, second: "maybe"), "p", "a", "b")


def test_all_texts_before_the_judge():
    row = lambda *fields: ROWS.read(made(*fields))
    full = [row("full", 9, 0, "abc"), row("full", 9, 1, "abc")]
    others = [row("tova", 4, 0, "abcd"), row("tova", 4, 1, "ab"), row("window", 4, 1, "abc")]
    assert verdicts(Made(longer), "p", [*full, *others]) == {
        ("tova", 4): {"win": 1, "loss": 1, "tie": 0},
        ("window", 4): {"win": 0, "loss": 0, "tie": 1},
    }


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"policies": ()}, "different --policies"),
        ({"policies": ("full",)}, "full is always written too"),
        ({"policies": ("tovva",)}, "did you mean 'tova'"),
        ({"slots": ("4", "4")}, "different --slots"),
        ({"slots": ("many",)}, "slots as tokens"),
        ({"samples": 0}, "--samples of 1 or more"),
        ({"max_tokens": 0}, "--max-tokens of 1 or more"),
        ({"max_tokens": 8192}, "at most 8192 tokens, the model's context"),
        ({"temperature": 0.0}, "one of --samples at --temperature 0"),
        ({"temperature": 0.0, "samples": 1, "top_k": 3}, "--temperature over 0 with --top-k"),
        ({"temperature": 0.0, "samples": 1, "top_p": 0.5}, "--temperature over 0 with --top-k"),
        ({"temperature": -1.0}, "temperature at least 0"),
        ({"seed": -1}, "a seed from 0"),
        ({"positions": "round"}, "--positions out of none"),
        ({"chat": True}, "--chat with a model that reads text"),
        ({"model": "smollm2"}, "--positions with the toy only"),
    ],
)
def test_bad_input_is_said_before_anything_is_written(fields, said):
    given = {field.name: getattr(SETTINGS, field.name) for field in dataclasses.fields(SETTINGS)}
    with pytest.raises(BadInput, match=re.escape(said)):
        open_subject(LongformSettings(**{**given, **fields}))


def test_every_field_is_there_somewhere(rows):
    assert set().union(*rows) == set(names(LongformRow)) - OVERFLOW


@pytest.fixture(scope="module", params=[*PLANS, OVERFLOWS])
def planned(request, subject, tmp_path_factory):
    """A run of short texts under a plan, and the losses of a dense pass."""
    own = {"policies": ("tova",), "samples": 1, "temperature": 0.0, "max_tokens": 2}
    settings = dataclasses.replace(SETTINGS, **own, format=request.param)
    result = STUDY.run(settings, tmp_path_factory.mktemp("planned") / "run")
    decoder, losses = subject.model.decoder.at(settings.plan), []
    for row in result.run.rows:
        text = subject.model.tokenizer.encode_symbols(tuple(row.text))
        tokens = np.asarray([*subject.prompt, *text], np.int32)
        scores = np.asarray(decoder.logits(passed(decoder, jnp.asarray(tokens))[0]), np.float64)
        at = np.arange(len(subject.prompt) - 1, len(tokens) - 1)
        each = (
            np.log(np.exp(scores).sum(axis=-1))
            - scores[np.arange(len(scores)), np.roll(tokens, -1)]
        )
        losses.append(each[at].mean())
    return request.param, result, losses


def test_texts_are_written_and_scored_under_the_plan(planned):
    name, result, losses = planned
    if name not in PLANS:  # the overflow below
        return
    check_constants(result.run.constants, name)
    assert [row.policy for row in result.run.rows] == ["full", "tova"]
    for row, loss in zip(result.run.rows, losses, strict=True):
        assert row.loss.full_nll == pytest.approx(loss, abs=PLANS[name], rel=0)


def test_an_overflow_is_named_by_its_site(planned):
    name, result, losses = planned
    if name in PLANS:
        assert result.summary.passes.failures == []
        return
    assert not np.isfinite(losses).any()
    check_overflow(result.summary, list(map(to_row, result.run.rows)))
    assert "first at residual in layer" in result.headline


def test_a_row_of_before_says_what_does_not_apply_by_null():
    shared = {"study": "longform", "width": 64, "layers": 3, "top_k": None}
    row = made("tova", 64, 0, "abc", nll=None, length=3, distinct_4=None, repetition=None)
    old = {**shared, **row, "agrees": row.pop("common_prefix")} | {"finite": None}
    old = {name: value for name, value in old.items() if name != "common_prefix"}
    constants, new = ROWS.upgraded(old)
    assert constants == {"study": "longform", "model_dim": 64, "num_layers": 3}
    read = ROWS.read(new)
    assert (read.distinct_3, read.distinct_4, read.repetition) == (0.75, None, None)
    assert (read.loss.finite, read.common_prefix) == (False, 8)
    assert math.isnan(read.loss.full_nll)
    _, new = ROWS.upgraded(old | {"length": 0, "ended": False})
    assert ROWS.read(new).loss is None


@faults
def test_a_diverged_model_is_said_to_be_one(rows, fault, tmp_path, capsys):
    settings = dataclasses.replace(SETTINGS, policies=("window",))
    check_diverged("longform", words_of(settings), tmp_path, capsys, fault, "rotary")
