"""The recall study on a small model that reads bytes: its rows against a replay, and resuming."""

import dataclasses
import re
from collections import namedtuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from studies.made_plans import OVERFLOW, PLANS, check_constants
from studies.made_reader import TOKENIZER, made_header, made_verses
from studies.recall.made_recall import CONSTANTS

from glassesjax.cache import empty_state, policy, prefill, replay, retained, unroll
from glassesjax.cache.generate import generate
from glassesjax.errors import BadInput
from glassesjax.model import Decoder
from glassesjax.model.tiling import Tiling
from glassesjax.precision import F64, RoundingPlan
from glassesjax.runs.record import from_row, names, to_row
from glassesjax.runs.verdicts import passes
from glassesjax.studies.recall import measure as recall
from glassesjax.studies.recall import rows as recall_rows
from glassesjax.studies.recall.measure import RecallSettings, measure, open_subject
from glassesjax.studies.recall.reading import Asked, Reading, readings_text
from glassesjax.studies.recall.records import ROWS, RecallConstants, RecallRow
from glassesjax.studies.recall.rows import cached_share, expected_losses, greedy
from glassesjax.studies.recall.run import open_run
from glassesjax.studies.recall.study import STUDY
from glassesjax.tasks.answers import exact_match, token_f1
from glassesjax.tasks.bible import Question

pytestmark = pytest.mark.usefixtures("undrawn")

SETTINGS = RecallSettings(
    model="made",
    lengths=(260,),
    depths=(0.0, 1.0),
    items=1,
    words=2,
    policies=("full", "truncated", "tova"),
    slots=("90",),
    format="f64",
)


@pytest.fixture(scope="module", autouse=True)
def made():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recall, "open_one", lambda settings, positions: made_header())
        patch.setattr(recall, "king_james_verses", made_verses)
        yield


@pytest.fixture(scope="module")
def subject(made):
    return open_subject(SETTINGS)


@pytest.fixture(scope="module")
def rows(subject):
    return [to_row(row) for _, rows in measure(SETTINGS, subject) for row in rows]


@pytest.fixture(scope="module")
def model(subject):
    return unroll(subject.model.decoder.at(RoundingPlan.wide(F64)))


def pick(rows, **wanted):
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def cases(subject, rows, **wanted):
    """Each row with what was read for it."""
    for row in pick(rows, **wanted):
        (one,) = [r for r in subject.readings if r.passage.task == row["task"]]
        (asked,) = [a for a in one.asked if a.question.depth == row["depth"]]
        yield row, one, asked


def slow_loss(model, tokens, answer, rule, slots):
    """From one replay of everything, token by token."""
    whole = jnp.asarray([*tokens, *answer], jnp.int32)
    scores = replay(model, whole, policy(rule), slots=slots).logits[len(tokens) - 1 : -1]
    each = jax.nn.log_softmax(scores)[np.arange(len(answer)), np.array(answer)]
    return -float(each.mean())


def test_every_row_is_there_once(subject, rows):
    assert len(rows) == len({tuple(row[name] for name in ROWS.key) for row in rows})
    assert len(rows) == 2 * 2 * 3  # tasks, depths, ways to read
    assert SETTINGS.steps * 2 == len(rows)
    for row, one, asked in cases(subject, rows):
        assert row["expected"] == asked.question.answer
        assert row["passage_tokens"] == len(one.passage.text) <= 260
        assert row["gold_tokens"] == len(row["expected"]) + 1  # a byte a token, and the space
        assert row["exact"] == exact_match(row["answer"], row["expected"])
        assert row["f1"] == token_f1(row["answer"], row["expected"])


def test_tokens_of_the_needle_are_its_line(subject):
    for one in subject.readings:
        for asked in one.asked:
            start, stop = asked.needle
            line = one.passage.lines[asked.question.needle]
            assert TOKENIZER.decode(one.tokens[start:stop]) == f"{line}\n"
            assert TOKENIZER.decode(asked.tokens) == asked.question.text
            assert TOKENIZER.decode(asked.expected) == f" {asked.question.answer}"


def test_full_is_read_once_and_the_others_at_each_size(subject):
    both = dataclasses.replace(SETTINGS, slots=("40", "90"))
    found = recall.cells(both, subject.model.config, subject.readings)
    (_, most), *others = [(cell.name, cell.slots) for cell in found]
    assert others == [(name, slots) for name in ("truncated", "tova") for slots in (40, 90)]
    assert most > 260
    assert both.steps == 2 * len(found)


@pytest.mark.parametrize(("rule", "slots"), [("full", None), ("tova", 90)])
def test_losses_are_those_of_one_replay(subject, rows, model, rule, slots):
    wanted = {"policy": rule, "task": "said", "depth": 1.0} | ({"slots": slots} if slots else {})
    ((row, one, asked),) = cases(subject, rows, **wanted)
    tokens = (*one.tokens, *asked.tokens)
    room = slots or len(tokens) + len(asked.expected)
    slow = slow_loss(model, tokens, asked.expected, rule, room)
    # Sums of some hundred terms in float64, in another order; scores are of size one.
    assert row["gold_nll"] == pytest.approx(slow, rel=1e-12, abs=0)
    assert row["read_tokens"] == len(tokens)


def test_truncated_is_the_full_model_on_the_last_tokens(subject, rows, model):
    ((row, one, asked),) = cases(
        subject, rows, policy="truncated", slots=90, task="verse", depth=1.0
    )
    tokens = (*one.tokens, *asked.tokens)[-90:]
    slow = slow_loss(model, tokens, asked.expected, "full", 200)
    assert row["gold_nll"] == pytest.approx(slow, rel=1e-12, abs=0)
    assert row["read_tokens"] == 90
    kept = 90 - len(asked.tokens)
    size = asked.needle[1] - asked.needle[0]
    assert asked.needle[1] == len(one.tokens)
    assert row["retained_share"] == min(kept, size) / size
    assert all(r["retained_share"] == 0 for r in pick(rows, policy="truncated", depth=0.0))


def test_truncated_is_no_window(subject, rows, model):
    """Through two layers a window passes on what it has evicted; at each size it is less."""
    ((row, one, asked),) = cases(
        subject, rows, policy="truncated", slots=90, task="verse", depth=1.0
    )
    tokens = (*one.tokens, *asked.tokens)
    banded = slow_loss(model, tokens, asked.expected, "window", 90)
    assert row["gold_nll"] != pytest.approx(banded, rel=1e-6, abs=0)


def test_rows_of_two_sizes_are_each_of_its_own(subject, rows):
    settings = dataclasses.replace(
        SETTINGS, tasks=("said",), policies=("truncated",), slots=("40", "90")
    )
    found = [to_row(r) for _, rows in measure(settings, open_subject(settings)) for r in rows]
    own = lambda rows: [(r["slots"], r["depth"], r["read_tokens"], r["gold_nll"]) for r in rows]
    narrow, wide = (own(pick(found, slots=slots)) for slots in (40, 90))
    assert wide == own(pick(rows, policy="truncated", task="said"))
    assert [tokens for _, _, tokens, _ in narrow] == [40, 40]
    assert all(one[-1] != other[-1] for one, other in zip(narrow, wide, strict=True))


def test_held_is_what_a_replay_holds(subject, rows, model):
    for row, one, asked in cases(subject, rows, policy="tova", slots=90, task="said"):
        found = replay(model, jnp.asarray(one.tokens, jnp.int32), policy("tova"), slots=90)
        held = np.stack([retained(layer)[0, -1] for layer in found.evicted_at])
        assert row["retained_share"] == held[:, slice(*asked.needle)].mean()
    assert all(row["retained_share"] == 1 for row in pick(rows, policy="full"))


def test_held_share_by_hand(model):
    state = empty_state(model.outer.config, policy("tova"), 4)
    layers = [
        layer._replace(position=jnp.asarray([places], jnp.int32))
        for layer, places in zip(state.layers, ([0, 5, 6, 9, -1], [6, 7, 8, -1, 1]), strict=True)
    ]
    assert cached_share(state._replace(layers=tuple(layers)), (5, 9)) == (2 + 3) / 8


@pytest.fixture(scope="module")
def written(model):
    """The text of ``generate``, of ``greedy``, and of ``greedy`` that ends at its third token."""
    tokens = list(b"And Adah said,")
    rule = policy("tova")
    *_, part = prefill(model, np.array(tokens, np.int32), rule, slots=6, chunk=16)
    state = jax.tree.map(lambda leaf: leaf[None], part.state)
    ours = greedy(model, state, part.y[-1:], rule, max_tokens=5, ends=lambda token: False)
    steps = generate(model, [tokens], rule, slots=6, max_tokens=5, chunk=16)
    theirs = [int(step.token[0]) for step in steps]
    stopped = greedy(
        model, state, part.y[-1:], rule, max_tokens=5, ends=lambda token: token == theirs[2]
    )
    return theirs, ours, stopped


def test_greedy_is_what_generate_writes(written):
    theirs, ours, stopped = written
    assert ours == [theirs]
    assert stopped == [theirs[: theirs.index(theirs[2])]]


@pytest.fixture(scope="module")
def losses(model):
    """Of two rows of different lengths, together and each beside its like: of one shape."""
    rule = policy("tova")
    *_, part = prefill(model, np.array(list(b"Who said so"), np.int32), rule, slots=6, chunk=16)
    rows = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), part.state)
    last = jnp.stack([part.y[-1], part.y[-1]])
    both = expected_losses(model, rows, last, rule, [(5, 9, 3), (7,)])
    each = [expected_losses(model, rows, last, rule, [row] * 2)[0] for row in [(5, 9, 3), (7,)]]
    return both, each


def test_losses_of_rows_of_different_lengths_are_their_own(losses):
    both, each = losses
    assert both == pytest.approx(each, rel=1e-12, abs=0)


@pytest.mark.parametrize("mode", ["one_shot", "chunked"])
def test_other_modes_agree_while_nothing_is_dropped(subject, rows, mode):
    settings = dataclasses.replace(
        SETTINGS, mode=mode, tasks=("said",), policies=("tova",), slots=("500",)
    )
    found = [to_row(r) for _, rs in measure(settings, open_subject(settings)) for r in rs]
    full = pick(rows, policy="full", task="said")
    assert [r["prefill"] for r in found] == [mode] * 2
    assert [r["gold_nll"] for r in found] == pytest.approx(
        [r["gold_nll"] for r in full], rel=1e-9, abs=0
    )
    assert [r["answer"] for r in found] == [r["answer"] for r in full]


def test_a_run_that_was_cut_off_continues(tmp_path, rows, monkeypatch):
    settings = dataclasses.replace(SETTINGS, tasks=("said",))
    STUDY.run(settings, tmp_path)
    file = tmp_path / "rows.jsonl"
    whole, page = file.read_bytes(), (tmp_path / "index.html").read_bytes()
    lines = whole.splitlines(keepends=True)
    assert len(lines) == len(pick(rows, task="said"))
    file.write_bytes(b"".join(lines[:3]) + lines[3][:40])
    named = []
    STUDY.run(settings, tmp_path, advance=named.append)
    ways = ["truncated with 90 slots", "tova with 90 slots"]
    assert named == [f"said 260 0: {way}" for way in ways]
    assert (file.read_bytes(), (tmp_path / "index.html").read_bytes()) == (whole, page)
    with pytest.raises(BadInput, match="got another run"):
        STUDY.run(dataclasses.replace(settings, seed=1), tmp_path)
    monkeypatch.setattr(recall, "king_james_verses", lambda: made_verses()[2:])
    with pytest.raises(BadInput, match=r"settings\.json differs"):
        STUDY.run(settings, tmp_path)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"tasks": ()}, "different --tasks"),
        ({"lengths": (9, 9)}, "different --lengths"),
        ({"lengths": (0,)}, "--lengths of 1 or more"),
        ({"lengths": (30,)}, "at least 3 verses"),
        ({"lengths": (9999,), "policies": ("truncated",)}, "a book with 9999 tokens"),
        ({"depths": (0.5, 2.0)}, "--depths from 0 to 1"),
        ({"items": 0}, "--items of 1 or more"),
        ({"words": -1}, "--words of 0 or more"),
        ({"hint": -1}, "a --hint of 0 words or more"),
        ({"policies": ("tova", "tova")}, "different --policies"),
        ({"policies": ("tovva",)}, "did you mean 'tova'"),
        ({"policies": ("truncatd",)}, "did you mean 'truncated'"),
        ({"policies": ("truncated",), "slots": ("0",)}, "at least 1 slots for truncated"),
        ({"slots": ("many",)}, "slots as tokens"),
        ({"policies": ("tova+4",), "slots": ("2",)}, "at least 5 slots"),
        ({"seed": -1}, "a seed from 0"),
        ({"model": "toy"}, "a model that reads text, got toy"),
    ],
)
def test_bad_input_is_said_before_anything_is_measured(fields, said):
    given = {field.name: getattr(SETTINGS, field.name) for field in dataclasses.fields(SETTINGS)}
    with pytest.raises(BadInput, match=re.escape(said)):
        open_subject(RecallSettings(**{**given, **fields}))


def test_truncated_needs_a_context_for_what_it_reads_only(subject, monkeypatch):
    long = dataclasses.replace(SETTINGS, policies=("truncated",), slots=("40", "90"))
    most = 90 + max(len(a.expected) for one in subject.readings for a in one.asked) + 4
    for context, fits in ((most, True), (most - 1, False)):
        config = dataclasses.replace(subject.model.decoder.config, max_length=context)
        model = dataclasses.replace(subject.model, decoder=Decoder(config, key=jax.random.key(0)))
        if fits:
            assert [c.slots for c in recall.cells(long, model.config, subject.readings)] == [40, 90]
        else:
            with pytest.raises(BadInput, match=f"at most {context} tokens"):
                recall.cells(long, model.config, subject.readings)


def test_every_field_is_there(rows):
    every = [name for name in names(RecallRow) if name not in OVERFLOW]
    assert all(list(row) == every for row in rows)


@pytest.fixture(scope="module", params=[*PLANS, "e2m2"])
def planned(request, subject):
    """Rows under a plan with their losses by a replay, and the constants."""
    own = {"policies": ("full",), "tasks": ("verse",), "depths": (0.0,)}
    settings = dataclasses.replace(SETTINGS, **own, format=request.param)
    opened = open_subject(settings)
    rows = [row for _, rows in measure(settings, opened) for row in rows]
    model = unroll(subject.model.decoder.at(settings.plan))
    losses = [
        slow_loss(model, (*one.tokens, *asked.tokens), asked.expected, "full", 500)
        for _, one, asked in cases(opened, list(map(to_row, rows)))
    ]
    return request.param, rows, losses, open_run(settings).constants


def test_answers_are_scored_under_the_plan(planned, rows):
    name, mine, losses, constants = planned
    if name not in PLANS:  # the overflow below
        return
    check_constants(constants, name)
    first = pick(rows, policy="full", task="verse", depth=0.0)[0]["gold_nll"]
    for row, loss in zip(mine, losses, strict=True):
        assert row.gold_nll == pytest.approx(loss, abs=PLANS[name], rel=0)
        # Float64 is off by float32's rounding alone.
        assert abs(row.gold_nll - first) > 1e-6


def test_an_overflow_is_named_by_its_site(planned):
    name, mine, losses, constants = planned
    summary = passes(
        (row.finite for row in mine),
        rounding=constants.rounding,
        overflows=(row.overflow for row in mine),
    )
    if name in PLANS:
        assert summary.failures == []
        return
    assert not np.isfinite(losses).any()
    (lost,) = [row.overflow for row in mine]
    (line,) = summary.failures
    assert line.startswith("the pass under simulated e2m2 everywhere is not finite, in 1 of 1 rows")
    assert line.endswith(f", first at {lost.place}")


def test_questions_are_read_in_the_chunk_that_rows_record(subject, rows, monkeypatch):
    assert "prompt_chunk=64" in open_run(SETTINGS).constants.tiling
    chunks, read = [], recall_rows.read_prompts

    def counted(*args, chunk, **given):
        chunks.append(chunk)
        return read(*args, chunk=chunk, **given)

    monkeypatch.setattr(recall_rows, "read_prompts", counted)
    monkeypatch.setattr(recall_rows, "TILING", Tiling(prompt_chunk=8))
    again = [to_row(row) for _, some in measure(SETTINGS, subject) for row in some]
    assert set(chunks) == {8}
    for row, other in zip(rows, again, strict=True):
        # Token by token the chunk orders sums in another way only.
        assert other["gold_nll"] == pytest.approx(row["gold_nll"], rel=1e-12, abs=0)
        assert other | {"gold_nll": row["gold_nll"]} == row


def test_rows_of_before_have_another_tiling():
    old = "attention_rows=256, attention_stretches=8, pullback_rows=128, prefill_chunk=256"
    assert from_row(RecallConstants, CONSTANTS | {"tiling": old}).tiling == old
    assert from_row(RecallConstants, CONSTANTS).tiling is None


def test_a_row_of_before_is_read_in_the_words_of_today(rows):
    row = dict(rows[0])
    old = {"tokens": row.pop("read_tokens"), "held": row.pop("retained_share"), **row}
    constants, new = ROWS.upgraded({"study": "recall", "width": 576, **old})
    assert (constants, new) == ({"study": "recall", "model_dim": 576}, rows[0])
    del old["finite"]  # as the oldest ones are
    assert ROWS.read(ROWS.upgraded(old | {"gold_nll": None})[1]).finite is False


@pytest.mark.parametrize("count", [0, 1, 2])
def test_what_was_read_is_told_by_the_text_of_runs_of_before(count):
    """Its digest tells runs apart, so no class's or field's name may change it."""
    question = namedtuple("Question", "depth needle needle_depth text answer")
    asked = namedtuple("Asked", "question tokens expected needle")
    said = [
        ((0.5, 3, 0.4375, 'the "\n', "it's"), (5,), (6, 7), (8, 9)),
        ((0.0,) * 5, (), (1,), (2, 3)),
    ]
    new = [Asked(Question(*q), *rest) for q, *rest in said[:count]]
    old = tuple(asked(question(*q), *rest) for q, *rest in said[:count])
    readings = [Reading(None, (1, 2), tuple(new)), Reading(None, (4,), ())]
    assert readings_text(readings) == repr([((1, 2), old), ((4,), ())])
