"""The perplexity study on the toy: its rows against slow truths, its pieces, and resuming."""

import collections
import contextlib
import dataclasses
import functools
import io
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cache_reference import Rule, bounded_forward
from studies.made_diverged import check_diverged, check_sound, faults, words_of
from studies.perplexity.made_perplexity import run_of

from glassesjax.cache import policy
from glassesjax.cache.losses import Cell, token_losses
from glassesjax.cli import run
from glassesjax.errors import BadInput
from glassesjax.files import to_json
from glassesjax.model import Decoder, Window
from glassesjax.model.weights import flat_parameters
from glassesjax.precision import F64, RoundingPlan, named_plan
from glassesjax.runs.journal import MARKS
from glassesjax.runs.record import names, to_row
from glassesjax.runs.rows import read_rows
from glassesjax.studies.perplexity.measure import measure
from glassesjax.studies.perplexity.records import ROWS, PerplexityRow
from glassesjax.studies.perplexity.rows import (
    block_sums,
    block_tokens,
    perplexity_row,
    stretches,
)
from glassesjax.studies.perplexity.run import open_run
from glassesjax.studies.perplexity.settings import PerplexitySettings
from glassesjax.studies.perplexity.stretches import stretch_start
from glassesjax.studies.perplexity.study import STUDY
from glassesjax.studies.perplexity.subject import open_subject
from glassesjax.studies.perplexity.totals import CellName, Totals
from glassesjax.tasks.sequences import BOS

pytestmark = pytest.mark.usefixtures("undrawn")

SLOTS = 6
SETTINGS = PerplexitySettings(
    model="toy",
    positions="rotary",
    policies=("full", "short", "window", "h2o", "tova"),
    slots=(str(SLOTS),),
    max_tokens=30,
    windows=16,
    chunk=8,
    formats=("f64",),
)
# Losses are a few units; sums of some hundred products in another order, through three layers.
CLOSE = {"rel": 1e-11}


@pytest.fixture(scope="module")
def subject():
    return open_subject(SETTINGS)


@pytest.fixture(scope="module")
def rows(subject):
    return measured(SETTINGS, subject)


def measured(settings, subject):
    return [to_row(row) for step in measure(settings, subject) for row in step.rows]


def run_by(settings):
    """The run that these settings give, as it is in memory."""
    steps = list(measure(settings, open_subject(settings)))
    rows = [to_row(row) for step in steps for row in step.rows]
    return functools.partial(run_of, rows, dict(collections.ChainMap(*(s.arrays for s in steps))))


@pytest.fixture(scope="module")
def wide(subject):
    return subject.model.decoder.at(RoundingPlan.wide(F64))


def loss_of(logits, targets):
    """The sum of negative log likelihoods, in plain NumPy."""
    logits = np.asarray(logits, np.float64)
    top = logits.max(axis=1)
    total = top + np.log(np.exp(logits - top[:, None]).sum(axis=1))
    return float((total - logits[np.arange(len(targets)), np.asarray(targets)]).sum())


def dense_loss(decoder, tokens):
    y, _ = jax.jit(lambda decoder, tokens: decoder(tokens))(decoder, jnp.asarray(tokens[:-1]))
    return loss_of(decoder.logits(y), tokens[1:])


FULL = Rule(score="age")  # as long as there is room


def listed(decoder, tokens, rule, slots):
    """Logits by a state that is a Python list."""
    arrays = flat_parameters(decoder)
    return bounded_forward(decoder.config, arrays, tokens, rule, [slots] * 3).logits


def nll(rows, name, window):
    mine = [r for r in rows if (r["policy"], r["window"]) == (name, window)]
    return math.fsum(row["nll"] for row in mine)


def comparable(rows):
    rows = [row if isinstance(row, dict) else to_row(row) for row in rows]
    return [{name: row[name] for name in row if name != "tokens_per_second"} for row in rows]


def test_windows_begin_with_the_opening_and_hold_the_text_once(subject):
    assert [len(window) for window in subject.windows] == [16, 16]
    bos = subject.model.tokenizer.encode_symbols((BOS,))
    assert subject.opening == bos
    assert {int(window[0]) for window in subject.windows} == {bos[0]}
    again = open_subject(dataclasses.replace(SETTINGS, span="book", windows=None))
    joined = np.concatenate([again.windows[0][:1], *(window[1:] for window in subject.windows)])
    np.testing.assert_array_equal(again.windows[0], joined)


def test_every_row_is_there_once(rows):
    keys = {tuple(row.get(name) for name in ROWS.key) for row in rows}
    assert len(rows) == len(keys) == 5 * 2
    assert {row["tokens"] for row in rows} == {15}  # position 0 is not scored
    for row in rows:
        assert row["token_losses"] == "token_losses/{policy}/{slots}/{window}/{start}".format(**row)
        assert row["perplexity"] == math.exp(row["nll"] / row["tokens"])
        assert row["tokens_per_second"] > 0
    slots = {row["policy"]: row["slots"] for row in rows}
    assert slots == dict.fromkeys(("short", "window", "h2o", "tova"), SLOTS) | {"full": 16}


def test_what_all_rows_have_in_common():
    shared = open_run(SETTINGS).constants
    assert f"prefill_chunk={SETTINGS.chunk}" in shared.tiling
    assert (shared.text, shared.ranking_obstacle) == ("random_digits", "random_weights")
    assert (shared.span, shared.window_tokens, shared.dtype) == ("windows", 16, "float64")
    assert (shared.positions, shared.position_ids) == ("rotary", "original")
    assert (shared.num_layers, shared.model_dim) == (3, 64)


@pytest.mark.parametrize(("format_", "dtype"), [("f64", np.float64), ("f32", np.float32)])
def test_the_losses_of_all_tokens_are_stored_as_they_were_computed(wide, subject, format_, dtype):
    run = run_by(dataclasses.replace(SETTINGS, policies=("full",), formats=(format_,)))()
    for row, window in zip(run.rows, subject.windows, strict=True):
        losses = run.arrays[row.token_losses]
        assert (losses.dtype, losses.shape) == (dtype, (row.tokens,))
        total = math.fsum(losses.astype(np.float64))
        assert total == pytest.approx(row.nll, rel=2.0**-50, abs=0)
        if format_ == "f64":
            y, _ = jax.jit(lambda decoder, tokens: decoder(tokens))(wide, jnp.asarray(window[:-1]))
            logits = np.asarray(wide.logits(y))
            each = [loss_of(logits[at : at + 1], window[at + 1 :][:1]) for at in range(15)]
            np.testing.assert_allclose(losses, each, rtol=CLOSE["rel"])


def test_losses_of_real_rows_are_paired_by_blocks(rows):
    tova, window = CellName("tova", SLOTS), CellName("window", SLOTS)
    few = dataclasses.replace(SETTINGS, policies=("window", "tova"))
    totals = Totals(run_by(few)())
    assert (totals.blocks, totals.losses_from) == (2, "tokens")
    # One in each window: too few for an interval.
    gap = totals.difference(tova, window)
    mean = lambda name: math.fsum(nll(rows, name, window) for window in (0, 1)) / 30
    assert gap.value == pytest.approx(mean("tova") - mean("window"), rel=1e-9, abs=0)
    assert not gap.excludes(0.0)
    settings = dataclasses.replace(few, max_tokens=150)
    more = run_by(settings)
    found = Totals(more()).difference(tova, window)
    assert found.low < found.value < found.high
    assert Totals(more()).difference(window, tova) == found.turned
    # The same rows as they are: on random digits there is no interval, and so no order.
    bare = Totals(more(ranking_obstacle="random_digits"))
    assert not bare.difference(tova, window).excludes(0.0)


def test_full_is_the_decoders_own(rows, wide, subject):
    for index, window in enumerate(subject.windows):
        assert nll(rows, "full", index) == pytest.approx(dense_loss(wide, window), **CLOSE)


def test_window_is_the_band_of_one_more_than_its_slots(rows, wide, subject):
    config = dataclasses.replace(wide.config, mask=Window(width=SLOTS + 1))
    band = Decoder(config, key=jax.random.key(0))  # the toy's own weights: no mask has any
    band = jax.tree.map(lambda weight: weight.astype(jnp.float64), band)
    for index, window in enumerate(subject.windows):
        assert nll(rows, "window", index) == pytest.approx(dense_loss(band, window), **CLOSE)
    assert nll(rows, "window", 0) != pytest.approx(nll(rows, "full", 0), rel=1e-3, abs=0)


@pytest.mark.parametrize(
    ("name", "rule"),
    [("tova", Rule(score="weight")), ("h2o", Rule(score="mass", recent=SLOTS // 2))],
)
def test_other_policies_are_those_of_a_list_that_is_cut_token_by_token(
    rows, wide, subject, name, rule
):
    tokens = subject.windows[0]
    found = listed(wide, tokens[:-1], rule, SLOTS)
    assert nll(rows, name, 0) == pytest.approx(loss_of(found, tokens[1:]), **CLOSE)


def test_short_starts_anew_and_scores_the_same_tokens(rows, wide, subject):
    tokens, bos = subject.windows[0], subject.opening[0]
    # Six at first, then the mark and five: 6 + 5 + 4 targets.
    pieces = [(tokens[:6], tokens[1:7], 0), (tokens[6:11], tokens[7:12], 1)]
    pieces += [(tokens[11:15], tokens[12:16], 1)]
    total = 0.0
    for part, targets, marked in pieces:
        found = listed(wide, np.concatenate([[bos] * marked, part]).astype(int), FULL, 99)
        total += loss_of(found[marked:], targets)
    assert nll(rows, "short", 0) == pytest.approx(total, **CLOSE)


def test_a_book_is_read_with_one_state_whatever_the_chunk(wide, subject):
    own = {"span": "book", "windows": None, "policies": ("tova",), "chunk": 7}
    settings = dataclasses.replace(SETTINGS, **own)
    book = open_subject(settings)
    (step,) = measure(settings, book)
    (row,) = map(to_row, step.rows)
    (tokens,) = book.windows
    found = listed(wide, tokens[:-1], Rule(score="weight"), SLOTS)
    assert step.name == "tova with 6 slots, from 0"
    assert row["tokens"] == 30
    assert row["nll"] == pytest.approx(loss_of(found, tokens[1:]), **CLOSE)


@pytest.mark.parametrize("tokens", [30, 150])
def test_steps_of_a_book_are_its_stretches(tokens):
    own = {"span": "book", "windows": None, "policies": ("full",), "max_tokens": tokens}
    settings = dataclasses.replace(SETTINGS, **own)
    assert len(list(measure(settings, open_subject(settings)))) == settings.steps


def live_bytes(tokens):
    """Bytes of all arrays on the device whenever rows come, most, beside what is there before."""
    own = {"span": "book", "windows": None, "position_ids": "consecutive", "policies": ("tova",)}
    settings = dataclasses.replace(SETTINGS, **own, max_tokens=tokens)
    subject, before = open_subject(settings), {id(array) for array in jax.live_arrays()}
    count = lambda: sum(a.nbytes for a in jax.live_arrays() if id(a) not in before)
    return max(count() for _ in measure(settings, subject))


def test_memory_does_not_grow_with_the_text():
    live_bytes(70)  # constants of compiled functions come once
    assert live_bytes(400) == live_bytes(200) > 0


def test_position_ids_move_what_is_kept():
    own = {"policies": ("tova", "full"), "max_tokens": 15}
    plain, moved = (
        {row["policy"]: row["nll"] for row in measured(s, open_subject(s))}
        for s in (
            dataclasses.replace(SETTINGS, **own, position_ids=position_ids)
            for position_ids in ("original", "consecutive")
        )
    )
    assert plain["full"] == moved["full"]  # nothing is dropped, and no position moves
    assert plain["tova"] != pytest.approx(moved["tova"], rel=1e-6, abs=0)


def test_losses_by_hand(subject):
    y = jnp.zeros((3, 64), jnp.float32)
    found = token_losses(subject.model.decoder, y, jnp.asarray([0, 1, 2]))
    # Equal logits over twelve symbols.
    np.testing.assert_allclose(found, np.full(3, math.log(12)), rtol=4 * 2.0**-24)


def test_stretches_begin_at_powers_of_two_and_then_every_4096():
    starts = [stretch_start(at) for at in (0, 1, 63, 64, 127, 128, 4095, 4096, 8191, 8192, 12_300)]
    assert starts == [0, 0, 0, 64, 64, 128, 2048, 4096, 4096, 8192, 12_288]


def test_sums_by_stretch_do_not_depend_on_the_parts():
    values = np.arange(1.0, 300.0)  # the loss of position p is p
    whole = list(stretches([(values, 299.0)]))
    assert [(s.start, s.tokens, s.nll) for s in whole] == [
        (0, 63, 63 * 64 / 2),
        (64, 64, (64 + 127) * 32),
        (128, 128, (128 + 255) * 64),
        (256, 44, (256 + 299) * 22),
    ]
    assert [block_sums(s.start, s.losses).tolist() for s in whole] == [
        [2016.0], [6112.0], [159.5 * 64, 223.5 * 64], [277.5 * 44],
    ]  # fmt: skip
    assert [block_tokens(s.start, s.tokens) for s in whole] == [[63], [64], [64, 64], [44]]
    parts = [(values[at : at + 50], float(len(values[at : at + 50]))) for at in range(0, 299, 50)]
    for one, other in zip(whole, stretches([*parts, (values[:0], 0.0)]), strict=True):
        assert one[:4] == pytest.approx(other[:4], rel=300 * 2.0**-53, abs=0)
        np.testing.assert_array_equal(one.losses, other.losses)
        assert one.seconds == pytest.approx(one.tokens, rel=300 * 2.0**-53, abs=0)


def test_a_perplexity_beyond_all_numbers_is_infinite():
    stretch = next(stretches([(np.full(2, 800.0), 1.0)]))
    row = perplexity_row(Cell("short", policy("full"), 3), 100, 0, stretch)
    assert row.perplexity == math.inf
    assert row.nll == 1600
    assert row.finite


def test_windows_that_are_done_are_left_out(rows, subject):
    assert list(measure(SETTINGS, subject, lambda row: True)) == []
    done = lambda row: (row["policy"], row["window"]) != ("tova", 1)
    (step,) = measure(SETTINGS, subject, done)
    assert step.name == "tova with 6 slots, window 2 of 2"
    assert comparable(step.rows) == comparable(rows)[-1:]


@pytest.mark.parametrize("span", ["windows", "book"])
def test_a_run_that_was_cut_off_goes_on_without_losing_or_repeating_a_row(tmp_path, span):
    own = {"span": span, "windows": 80 if span == "windows" else None, "max_tokens": 150}
    settings = dataclasses.replace(SETTINGS, **own, policies=("full", "window", "tova"))
    whole = STUDY.run(settings, tmp_path / "whole").run.rows
    STUDY.run(settings, tmp_path / "cut")
    file = tmp_path / "cut" / "rows.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    # In the middle of a window, and of a line.
    file.write_bytes(b"".join(lines[:4]) + lines[4][:30])
    (tmp_path / "cut" / "arrays.npz").rename(tmp_path / "elsewhere")
    with pytest.raises(BadInput, match=r"got no such file: restore it"):
        STUDY.run(settings, tmp_path / "cut")
    (tmp_path / "elsewhere").rename(tmp_path / "cut" / "arrays.npz")
    steps = []
    STUDY.run(settings, tmp_path / "cut", advance=steps.append)
    assert 0 < len(steps) < len(lines)
    arrays = [tmp_path / name / "arrays.npz" for name in ("whole", "cut")]
    assert arrays[0].read_bytes() == arrays[1].read_bytes()
    by_key = lambda rows: {
        tuple(row.get(name) for name in ROWS.key): row for row in comparable(rows)
    }
    again = [ROWS.read(row) for row in read_rows(file, lists=True)]
    assert len(again) == len(whole) == len(by_key(again))
    assert by_key(again) == by_key(whole)
    assert (tmp_path / "cut" / "index.html").is_file()


def test_a_folder_of_before_names_were_told_apart_goes_on_under_what_they_meant(tmp_path):
    policies = ("full", "h2o-layer", "h2o", "tova-head")
    settings = dataclasses.replace(SETTINGS, policies=policies)
    whole = STUDY.run(settings, tmp_path).run.rows
    file, rows = tmp_path / "settings.json", tmp_path / "rows.jsonl"
    before = dict(zip(policies, ("full", "h2o", "h2o-head", "tova-head"), strict=True))
    old = json.loads(file.read_text())
    assert old.pop("schema") == 2
    old["policies"] = list(before.values())
    file.write_text(to_json(old, indent=2))
    record = json.loads((tmp_path / "provenance.json").read_text())
    del record[MARKS]  # which came later, too
    (shared,) = record.pop("records")
    (tmp_path / "provenance.json").write_text(to_json({**record, "commit": "0"}))
    older = [as_before({**shared, **row}) for row in read_rows(rows, lists=True)]
    for row in older:
        row["policy"] = before[row["policy"]]
    rows.write_text("".join(to_json(row) + "\n" for row in older[:-1]))  # stopped before the last
    other = dataclasses.replace(settings, policies=("full", "h2o", "tova", "tova-head"))
    with pytest.raises(BadInput, match="got another run"):
        STUDY.run(other, tmp_path)
    steps = []
    found = STUDY.run(settings, tmp_path, advance=steps.append).run
    assert steps == ["tova-head with 6 slots, window 2 of 2"]
    assert [row.policy for row in found.rows] == [name for name in policies for _ in range(2)]
    assert [row.nll for row in found.rows] == [row.nll for row in whole]
    assert [row.token_losses is None for row in found.rows] == [True] * 7 + [False]
    assert list(found.arrays) == ["token_losses/tova-head/6/1/0"]
    shared = open_run(settings).constants
    # Rows of then do not say whether it is the weights or the digits that rank nothing.
    assert found.constants == dataclasses.replace(shared, ranking_obstacle="random_digits")
    assert (tmp_path / "index.html").is_file()


def as_before(row):
    """A row in the words of before schema 1."""
    names_of = {"model_dim": "width", "num_layers": "layers", "position_ids": "spacing"}
    lately = ("record", "token_losses", "ranking_obstacle")
    old = {names_of.get(name, name): v for name, v in row.items() if name not in lately}
    return {**old, "spacing": "true", "text": "random digits"}


def test_float64_does_not_leak_out():
    settings = dataclasses.replace(SETTINGS, policies=("full",), max_tokens=15)
    subject = open_subject(settings)
    with jax.enable_x64(False):
        for step in measure(settings, subject):
            assert jnp.zeros(1).dtype == jnp.float32
            assert all(row.finite for row in step.rows)
    assert open_run(settings).constants.dtype == "float64"


def test_sizes_that_are_the_same_are_read_once():
    settings = dataclasses.replace(SETTINGS, slots=("4", "25%", "8"))
    sizes = [(cell.name, cell.slots) for cell in open_subject(settings).cells["f64"]]
    assert sizes[:3] == [("full", 16), ("short", 4), ("short", 8)]
    assert len(sizes) == 1 + 4 * 2
    assert settings.steps == 1 * 2 + 4 * 3 * 2


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"max_tokens": 1}, "2 or more"),
        ({"chunk": 0}, "--chunk of 1"),
        ({"windows": 1}, "--windows of 2"),
        ({"policies": ()}, "different --policies"),
        ({"policies": ("tova", "tova")}, "different --policies"),
        ({"policies": ("tovaa",)}, "did you mean 'tova'"),
        ({"policies": ("shrt",)}, "or short, got 'shrt': did you mean 'short'"),
        ({"policies": ("h2o", "h2o-head")}, "h2o and h2o-head, which are one policy"),
        ({"slots": ()}, "different --slots"),
        ({"slots": ("many",)}, "got 'many'"),
        ({"seed": -1}, "a seed from 0"),
        ({"positions": "spiral"}, "spiral"),
        ({"model": "smollm2"}, "has its own"),
        ({"text": "kjv"}, "leave --text out"),
        ({"span": "book"}, "--span windows only"),
    ],
)
def test_bad_settings_are_named(change, text):
    with pytest.raises(BadInput, match=text):
        dataclasses.replace(SETTINGS, **change)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"slots": ("0",), "policies": ("window",)}, "at least 1 slots for window"),
        ({"slots": ("0",), "policies": ("short",)}, "at least 1 slots for short"),
        ({"slots": ("1",), "policies": ("short",)}, "more than 1 slots for short"),
        ({"slots": ("4",), "policies": ("window+4",)}, "at least 5 slots for window.4"),
        ({"max_tokens": 9000, "windows": 9000}, "at most 8192 tokens"),
        ({"max_tokens": 9000, "windows": None, "span": "book"}, "leave full out"),
        (
            {"max_tokens": 9000, "windows": None, "span": "book", "policies": ("tova",)},
            "--position-ids compressed",
        ),
        ({"positions": "alibi", "position_ids": "compressed"}, "rotary positions"),
    ],
)
def test_what_a_model_cannot_read_is_named_before_anything_is_written(tmp_path, change, text):
    settings = dataclasses.replace(SETTINGS, **change)
    with pytest.raises(BadInput, match=text):
        STUDY.run(settings, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_book_over_the_context_is_read_with_other_position_ids():
    own = {"max_tokens": 9000, "windows": None, "span": "book", "policies": ("tova",)}
    subject = open_subject(dataclasses.replace(SETTINGS, **own, position_ids="compressed"))
    assert len(subject.windows[0]) == 9001
    assert subject.cells["f64"][0].policy.position_ids == "compressed"


def test_a_window_is_the_papers_or_the_context(monkeypatch):
    length = lambda **own: len(open_subject(dataclasses.replace(SETTINGS, **own)).windows[0])
    assert length(windows=None, max_tokens=9000) == 4096
    assert length(windows="context", max_tokens=9000) == 8192


def test_pieces_without_an_opening_by_hand():
    cell = Cell("short", policy("full"), 3)
    tokens = np.arange(8, dtype=np.int32)
    pieces = [(a.tolist(), b.tolist()) for a, b in cell.pieces(tokens, ())]
    assert pieces == [([0, 1, 2], [1, 2, 3]), ([3, 4, 5], [4, 5, 6]), ([6], [7])]
    marked = [(a.tolist(), b.tolist()) for a, b in cell.pieces(tokens, (9,))]
    assert marked[1:3] == [([9, 3, 4], [4, 5]), ([9, 5, 6], [6, 7])]


# Of older runs, of several formats, and of those that overflow.
ELSEWHERE = {"block_losses", "format", "overflow_site", "overflow_layer"}


def test_every_field_is_there_somewhere(rows):
    assert set().union(*rows) == set(names(PerplexityRow)) - {
        "block_losses",
        "format",
        "dtype",
        "rounding",
        "overflow_site",
        "overflow_layer",
    }


FORMATS = ("f32", "bf16@weights", "e4m3fn@attn_weights", "native-bf16")


@pytest.fixture(scope="module")
def formats():
    """A run of several formats."""
    few = {"policies": ("full", "tova"), "formats": FORMATS, "windows": 80, "max_tokens": 150}
    return run_by(dataclasses.replace(SETTINGS, **few))()


def test_every_format_reads_the_same_tokens_under_its_own_plan(formats, subject):
    each = {name: [to_row(row) for row in formats.rows if row.format == name] for name in FORMATS}
    keys = [[{k: row.get(k) for k in ROWS.key[1:]} for row in rows] for rows in each.values()]
    assert all(other == keys[0] for other in keys)
    assert len(formats.rows) == len(FORMATS) * len(keys[0]) > 0
    window = open_subject(dataclasses.replace(SETTINGS, windows=80, max_tokens=150)).windows[0]
    # All of bf16's are exact in float32; sums of float32 run in another order than in the dense
    # pass, through three layers: relative 1e-5 of a loss of some units.
    decoder = subject.model.decoder.at(named_plan("bf16@weights"))
    mine = [row for row in each["bf16@weights"] if (row["policy"], row["window"]) == ("full", 0)]
    total = math.fsum(row["nll"] for row in mine)
    assert total == pytest.approx(dense_loss(decoder, window), rel=1e-5, abs=0)
    f32 = [row["nll"] for row in each["f32"]]
    assert all([row["nll"] for row in each[name]] != f32 for name in FORMATS[1:])


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_beside_others_has_the_rows_of_a_run_of_it_alone(name, formats):
    few = {"policies": ("full", "tova"), "formats": (name,), "windows": 80, "max_tokens": 150}
    settings = dataclasses.replace(SETTINGS, **few)
    alone = run_by(settings)()
    beside = [row for row in formats.rows if row.format == name]
    lasting = lambda row: {k: v for k, v in row.items() if k not in ("format", "token_losses")}
    rows = [list(map(lasting, comparable(rows))) for rows in (alone.rows, beside)]
    assert rows[0] == rows[1]
    for one, other in zip(alone.rows, beside, strict=True):
        losses = formats.arrays[other.token_losses], alone.arrays[one.token_losses]
        np.testing.assert_array_equal(*losses)
    shared = open_run(settings).constants
    plan = settings.plans[name]
    assert shared.dtype == ("bfloat16" if name.startswith("native") else "float32")
    assert shared.rounding == ("none" if plan.mode != "simulated" else plan.name)


def test_several_formats_are_resumed_and_named_by_their_rows(tmp_path):
    settings = dataclasses.replace(SETTINGS, policies=("full",), formats=("f32", "bf16@weights"))
    whole = STUDY.run(settings, tmp_path).run
    assert (whole.constants.dtype, whole.constants.rounding) == (None, None)
    file = tmp_path / "rows.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:2]))
    steps = []
    again = STUDY.run(settings, tmp_path, advance=steps.append)
    assert steps == [f"bf16@weights: full with 16 slots, window {at} of 2" for at in (1, 2)]
    assert comparable(again.run.rows) == comparable(whole.rows)
    with pytest.raises(BadInput, match="got another run"):
        STUDY.run(dataclasses.replace(settings, formats=("f32",)), tmp_path)


def test_a_folder_with_one_format_goes_on_under_its_list(tmp_path):
    settings = dataclasses.replace(SETTINGS, policies=("full",), max_tokens=15)
    STUDY.run(settings, tmp_path)
    file = tmp_path / "settings.json"
    old = json.loads(file.read_text())
    (old["format"],) = old.pop("formats")
    file.write_text(to_json(old, indent=2))
    assert STUDY.run(settings, tmp_path).run.settings["formats"] == ["f64"]


@pytest.fixture(scope="module")
def overflowed(tmp_path_factory):
    """A format of numbers up to 3.5 beside float32, and alone: rows, status and what is printed."""
    words = ["perplexity", "toy", "--max-tokens", "15", "--policies", "full"]
    runs = {}
    for name, formats in (("both", ("f32", "e2m2@residual")), ("alone", ("e2m2@residual",))):
        out, printed = tmp_path_factory.mktemp(name) / "run", io.StringIO()
        with contextlib.redirect_stdout(printed):
            status = run([*words, "--format", *formats, "--out", str(out)])
        runs[name] = read_rows(out / "rows.jsonl"), status, printed.getvalue()
    return runs


def test_an_overflow_is_named_by_its_site(overflowed):
    (first, second), status, said = overflowed["both"]
    assert (first["finite"], first.get("overflow_site"), status) == (True, None, 0)
    assert (second["finite"], second["overflow_site"]) == (False, "residual")
    assert "FAILED" not in said


def test_a_run_of_a_format_that_overflows_has_no_result(overflowed):
    (row,), status, said = overflowed["alone"]
    assert (row["finite"], row["overflow_site"], status) == (False, "residual", 1)
    place = f"first at residual in layer {row['overflow_layer']}"
    assert f"The model is not finite in the segment, {place}" in said
    failure = "FAILED the pass under simulated e2m2 residual is not finite, in 1 of 1 rows"
    assert f"{failure}, {place}" in said


@faults
def test_a_diverged_model_is_said_to_be_one(rows, fault, tmp_path, capsys):
    settings = dataclasses.replace(SETTINGS, policies=("window", "tova"))
    check_diverged("perplexity", words_of(settings), tmp_path, capsys, fault, "rotary")
    check_sound("perplexity", words_of(settings), tmp_path)
