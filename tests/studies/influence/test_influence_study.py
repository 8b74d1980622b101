"""The influence study on the toy: its rows against direct derivatives, and resuming."""

import copy
import dataclasses
import itertools
import json
import math
import types
from collections import namedtuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from studies.influence.made_influence import run_of
from studies.made_diverged import check_diverged, faults, joined, words_of
from studies.made_plans import OVERFLOWS, check_overflow

from glassesjax.cli import run
from glassesjax.errors import BadInput
from glassesjax.model.language import ModelHeader
from glassesjax.model.tokenizer import TextTokenizer
from glassesjax.precision import F64, RoundingPlan, model_plan
from glassesjax.runs.overflow_fields import OverflowFields
from glassesjax.runs.record import names, to_row
from glassesjax.studies.influence import measure as study
from glassesjax.studies.influence.measure import (
    InfluenceSettings,
    measure,
    open_subject,
)
from glassesjax.studies.influence.records import ROWS, BoundFields, InfluenceRow
from glassesjax.studies.influence.rows import Compared, Passage, influence_rows, passages_text
from glassesjax.studies.influence.run import open_run
from glassesjax.studies.influence.summary import summarize
from glassesjax.trace.influence import Influence, exact_influence
from glassesjax.trace.shares import squared_shares

SETTINGS = InfluenceSettings(
    model="toy", prompt="31,31", method="exact", format="f64", spectral=(2, 0)
)


def rows_of(settings, subject):
    return [to_row(row) for _, rows in measure(settings, subject) for row in rows]


@pytest.fixture(scope="module")
def subject():
    return open_subject(SETTINGS)


@pytest.fixture(scope="module")
def rows(subject):
    return rows_of(SETTINGS, subject)


@pytest.fixture(scope="module")
def jacobians(subject):
    """Of the last representation in the embedding, token by token, by the plainest means."""
    wide = subject.model.decoder.at(RoundingPlan.wide(F64))
    embedding = wide.enter(jnp.asarray(subject.passages[0].tokens))
    jacobian = jax.jit(jax.jacrev(lambda resid: wide.represent(resid)[0][-1]))(embedding)
    return np.asarray(jacobian).transpose(1, 0, 2)


def pick(rows, **wanted):
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def column(rows, name, **wanted):
    return np.array([row[name] for row in pick(rows, **wanted)])


def test_every_row_is_there_once_and_flat(rows):
    keys = {tuple(row[name] for name in ROWS.key) for row in rows}
    assert len(rows) == len(keys) == 2 * 4 * 6
    assert [row["token_text"] for row in rows[:6]] == ["<bos>", *"31,31"]
    assert all(isinstance(v, str | int | float | None) for row in rows for v in row.values())


def test_norms_at_the_embedding_are_those_of_the_jacobian(rows, jacobians):
    at = {"attention": "true", "layer": 0}
    exact = np.linalg.norm(jacobians, axis=(1, 2))
    # A few hundred products of sums of 64 terms, in two orders.
    np.testing.assert_allclose(column(rows, "frobenius", **at), exact, rtol=1e-11)
    spectral = np.linalg.norm(jacobians, ord=2, axis=(1, 2))
    # From a Gram matrix: its rounding is relative to the square.
    np.testing.assert_allclose(column(rows, "spectral", **at), spectral, rtol=1e-10)
    np.testing.assert_array_equal(column(rows, "at_least", **at), column(rows, "spectral", **at))


def test_three_conventions_at_the_embedding_are_those_of_the_jacobian(subject, rows, jacobians):
    at = {"attention": "true", "layer": 0}
    decoder, tokens = subject.model.decoder, np.array(subject.passages[0].tokens)
    vectors = np.asarray(decoder.embed.table[...], np.float64)[tokens] * decoder.config.embed_scale
    lengths, norms = np.linalg.norm(vectors, axis=-1), np.linalg.norm(jacobians, axis=(1, 2))
    along = np.linalg.norm(np.einsum("sod,sd->so", jacobians, vectors), axis=-1)
    close = lambda name, wanted: np.testing.assert_allclose(
        column(rows, name, **at), wanted, rtol=1e-11
    )
    close("input_norm", lengths)
    # What cancels in J v was as large as |J| |v|.
    gap = np.abs(column(rows, "along", **at) - along)
    assert np.all(gap <= 1e-11 * norms * lengths)
    close("squared_share", norms**2 / np.sum(norms**2))
    scaled = norms * lengths
    close("squared_share_scaled", scaled**2 / np.sum(scaled**2))
    wanted = along**2 / np.sum(along**2)
    np.testing.assert_allclose(column(rows, "squared_share_along", **at), wanted, rtol=1e-6)


def test_shares_of_squares_by_hand():
    close = lambda found, wanted: np.testing.assert_allclose(found, wanted, rtol=4 * 2.0**-53)
    close(squared_shares(np.array([[3.0, 4.0], [1e-200, 3e-200]])), [[0.36, 0.64], [0.1, 0.9]])
    close(squared_shares(np.array([1e200, 0.0])), [1, 0])
    for bad in ([0.0, 0.0], [1.0, math.nan], [1.0, math.inf]):
        assert np.isnan(squared_shares(np.array(bad))).all()


def test_operator_norms_stand_at_the_layers_asked_for_and_at_no_other(rows):
    for kind in ("true", "frozen"):
        for layer in range(4):
            mine = pick(rows, attention=kind, layer=layer)
            known = ["spectral" in row for row in mine]
            assert known == [layer in (0, 2)] * 6
            for row in mine:
                # The slack is the rounding of a root of a Gram matrix.
                if "spectral" in row:
                    assert row["spectral"] <= row["frobenius"] * (1 + 1e-10)
                else:
                    assert row["at_least"] == row["frobenius"] / 8  # the root of the width 64


def test_the_last_layers_stream_is_heard_at_the_last_token_only(rows):
    for kind in ("true", "frozen"):
        norms = column(rows, "frobenius", attention=kind, layer=3)
        assert (norms[:-1] == 0).all()
        assert norms[-1] > 0
        silent = pick(rows, attention=kind, layer=3)[:-1]
        assert {row["printed"] for row in silent} == {"within"}  # zero against zero


def test_bounds_and_rollout_do_not_depend_on_the_kind(rows):
    for name in ("rollout", "log10_printed", "log10_repaired"):
        assert (
            column(rows, name, attention="true").tolist()
            == column(rows, name, attention="frozen").tolist()
        )
    for layer in range(4):
        total = column(rows, "rollout", attention="true", layer=layer).sum()
        assert total == pytest.approx(1, rel=6 * 2.0**-52, abs=0)


def test_the_bounds_hold_where_they_must(rows):
    frozen = pick(rows, attention="frozen")
    assert {row["repaired"] for row in rows if row["layer"] in (0, 2)} == {"within"}
    assert {row["printed"] for row in frozen if row["layer"] in (0, 2)} == {"within"}
    # Elsewhere the Frobenius norm alone is known.
    assert {row["repaired"] for row in rows} <= {"within", "undecided"}
    assert {row["printed"] for row in frozen} <= {"within", "undecided"}
    # One step away from the last token both are an equality's norm: no slack to hide an error in.
    last = pick(rows, attention="frozen", layer=3, position=5)[0]
    assert last["log10_over_printed"] <= 1e-4


def made(norm, subject, printed=1, **fields):
    """Rows of one layer whose every norm is the same, against bounds of 10 and 1000."""
    shape = 1, len(subject.passages[0].tokens)
    fill = lambda value: np.full(shape, value)
    found = Influence(fill(norm), **{name: fill(value) for name, value in fields.items()})
    logs = [fill(power * math.log(10)) for power in (printed, 3)]
    layers = (0,) if "spectral" in fields else ()
    compared = Compared(fill(0.2), np.zeros(0), *logs)
    said = {"attention": "true", "last_finite": True}
    rows = influence_rows(subject.model, subject.passages[0], found, compared, layers, **said)
    return [to_row(row) for row in rows]


@pytest.mark.parametrize(
    ("norm", "fields", "ends", "verdict"),
    [
        (80.0, {}, (10.0, 80.0), "undecided"),  # over the root of 64
        (81.0, {}, (10.125, 81.0), "exceeded"),
        (10.0, {}, (1.25, 10.0), "within"),
        (80.0, {"spectral": 30.0}, (30.0, 30.0), "exceeded"),
        (80.0, {"spectral": 10.0}, (10.0, 10.0), "within"),
        (80.0, {"standard_error": 8.0}, (7.0, 104.0), "undecided"),  # three of them each way
        (80.0, {"standard_error": 30.0}, (0.0, 170.0), "undecided"),
        (8.0, {"standard_error": 1.0}, (0.625, 11.0), "undecided"),
        (7.0, {"standard_error": 1.0}, (0.5, 10.0), "within"),
    ],
)
def test_verdicts_go_by_the_ends_of_the_operator_norm(subject, norm, fields, ends, verdict):
    row = made(norm, subject, **fields)[0]
    least = ends[0]
    assert (least, row["at_most"]) == (row["at_least"], ends[1])
    over = -math.inf if least == 0 else math.log10(least) - 1
    assert row["log10_over_printed"] == pytest.approx(over, abs=8 * 2.0**-53)
    assert row["printed"] == verdict
    assert row["repaired"] == "within"


@pytest.mark.parametrize(
    ("norm", "changes"),
    [
        (math.nan, {}),
        (math.inf, {}),
        (80.0, {"spectral": math.nan}),  # asked for: the Frobenius norm does not stand in
        (80.0, {"standard_error": math.nan}),
        (80.0, {"printed": math.inf}),
        (80.0, {"printed": math.nan}),
    ],
)
def test_no_number_is_neither_within_nor_exceeded(subject, norm, changes):
    row = made(norm, subject, **changes)[0]
    assert row["printed"] == "not_finite"
    if "spectral" in changes:
        assert math.isnan(row["spectral"])


def test_a_bound_of_zero_holds_for_zero_only(subject):
    zero = {"printed": -math.inf}
    assert made(0.0, subject, **zero)[0]["printed"] == "within"
    assert made(1.0, subject, **zero)[0]["printed"] == "exceeded"
    assert made(1.0, subject, standard_error=1.0, **zero)[0]["printed"] == "undecided"


def test_a_model_that_overflows_yields_rows_that_say_so(subject):
    # Every weight of the last norm: the representation overflows, whatever it reads.
    final = jax.tree.map(lambda weight: weight * jnp.inf, subject.model.decoder.final_norm)
    decoder = copy.copy(subject.model.decoder)
    decoder.final_norm = final
    model = dataclasses.replace(subject.model, decoder=decoder)
    settings = dataclasses.replace(SETTINGS, attention=("frozen",))
    found = rows_of(settings, subject._replace(model=model))
    assert {(row["last_finite"], row["finite"]) for row in found} == {(False, False)}
    assert {row["printed"] for row in found if row["position"] == 5} == {"not_finite"}


def test_estimates_lie_within_their_errors(subject, rows):
    changes = {"method": "estimated", "spectral": None, "attention": ("true",)}
    settings = dataclasses.replace(SETTINGS, probes=64, **changes)
    (first, none), (kind, records) = measure(settings, subject)
    found = [to_row(row) for row in records]
    assert (first, none, kind) == ("bounds for true attention", [], "true attention")
    assert {(row["last_finite"], row["finite"]) for row in found} == {(True, True)}
    measured = lambda name: np.array([row[name] for row in found])
    exact, along = (column(rows, name, attention="true") for name in ("frobenius", "along"))
    # Five standard errors of 64 squares of sums of signs; the seed is fixed.
    error = 5 * measured("standard_error")
    assert (np.abs(measured("frobenius") - exact) <= error + 1e-11 * exact).all()
    # The square of a single sum has up to twice its mean squared as variance.
    scale = exact * column(rows, "input_norm", attention="true")
    gap = np.abs(measured("along") ** 2 - along**2)
    assert (gap <= 5 * np.sqrt(2 / 64) * along**2 + 1e-11 * scale**2).all()
    assert (measured("along_standard_error")[:6] > 0).all()
    assert not any("spectral" in row for row in found)
    assert set().union(*found) == set(names(InfluenceRow)) - {"spectral", *names(OverflowFields)}
    every = [open_run(each).constants for each in (settings, SETTINGS)]
    assert [(each.method, each.probes) for each in every] == [("estimated", 64), ("exact", None)]


def test_kinds_that_are_done_are_left_out(subject):
    done = lambda row: True
    assert list(measure(SETTINGS, subject, done)) == []


def test_float64_does_not_leak_out(subject, rows):
    settings = dataclasses.replace(SETTINGS, attention=("frozen",))
    with jax.enable_x64(False):
        _, (kind, found) = measure(settings, subject)
        assert jnp.zeros(1).dtype == jnp.float32
    assert kind == "frozen attention"
    expected = column(rows, "frobenius", attention="frozen")
    assert [row.frobenius for row in found] == expected.tolist()


@pytest.mark.slow  # in a quick run exact influence without operator norms is that of its own tests
def test_norms_without_operator_norms_are_the_same(subject, rows):
    settings = dataclasses.replace(SETTINGS, attention=("frozen",), spectral=())
    _, (_, found) = measure(settings, subject)
    # Without the singular values it is another program, which may add in another order.
    expected = column(rows, "frobenius", attention="frozen")
    np.testing.assert_allclose([row.frobenius for row in found], expected, rtol=2.0**-45)
    assert {row.spectral for row in found} == {None}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"max_tokens": 0}, "1 or more"),
        ({"probes": 1}, "2 or more"),
        ({"method": "exact", "spectral": (-1,)}, "layers from 0"),
        ({"method": "exact", "spectral": (0, 0)}, "different --spectral"),
        ({"spectral": (0,)}, "--method exact only"),
        ({"passages": 0}, "1 or more"),
        ({"text": ("kjv",)}, "leave --text out"),
        (
            {"model": "smollm2", "text": ("kjv",), "prompt": "In"},
            "got --prompt and --text: leave one of the two out",
        ),
        ({"model": "smollm2", "text": ("a", "a")}, "different --text"),
        ({"attention": ()}, "different --attention"),
        ({"attention": ("true", "true")}, "different --attention"),
        ({"seed": 2**32}, "a seed from 0"),
        ({"positions": "spiral"}, "spiral"),
        ({"model": "smollm2", "positions": "rotary"}, "has its own"),
    ],
)
def test_bad_settings_are_named(change, text):
    with pytest.raises(BadInput, match=text):
        InfluenceSettings(**({"model": "toy"} | change))


def test_operator_norms_are_those_of_the_embedding_unless_told():
    layers = lambda **settings: InfluenceSettings(model="toy", **settings).spectral_layers
    assert (layers(), layers(method="exact")) == ((), (0,))
    assert layers(method="exact", spectral=()) == ()


def test_a_prompt_over_the_context_is_named_before_it_is_made():
    for count in (8193, 2**31 - 1):
        with pytest.raises(BadInput, match="at most 8192 tokens"):
            open_subject(InfluenceSettings(model="toy", max_tokens=count))
    lengths = lambda **settings: [
        len(passage.tokens)
        for passage in open_subject(InfluenceSettings(model="toy", **settings)).passages
    ]
    assert lengths(max_tokens=8192, passages=1) == [8192]
    assert lengths(prompt="123456", max_tokens=7) == [7]
    assert lengths(prompt_tokens=(1, 2, 3), max_tokens=3) == [3]
    for prompt in ({"prompt": "123456"}, {"prompt_tokens": (1, 2, 3, 4, 5, 6, 7)}):
        with pytest.raises(BadInput, match="at most 6 tokens, the --max-tokens, got more"):
            lengths(**prompt, max_tokens=6)
    assert lengths(max_tokens=5) == [5] * 4


def test_passages_of_the_toy_are_different_digits():
    found = open_subject(InfluenceSettings(model="toy", max_tokens=16, passages=3)).passages
    assert [(passage.text, passage.offset) for passage in found] == [
        ("digits", 0), ("digits", 16), ("digits", 32)
    ]  # fmt: skip
    assert len({passage.tokens for passage in found}) == 3


class Words:
    """The engine of a tokenizer that makes a token of each word, by its number in the text."""

    def encode(self, text, add_special_tokens):
        return types.SimpleNamespace(ids=[int(word) for word in text.split()])


WORDS = TextTokenizer(Words(), bos=None, eos=None, opening=(), chat_template=None)


LINES = "\n".join(" ".join(str(10 * line + word) for word in range(10)) for line in range(50))


@pytest.mark.parametrize(
    ("text", "count", "limit", "starts"),
    [
        (LINES, 4, 20, None),  # at the first line of each part but the first
        (LINES, 1, 20, [0]),
        (LINES, 4, 1000, [0]),  # too short: once, from its start
        (LINES.replace("\n", " "), 2, 20, None),  # no lines: at a word
        ("7", 4, 20, [7]),
    ],
)
def test_passages_are_spread_over_a_text_without_its_opening(
    monkeypatch, tmp_path, subject, text, count, limit, starts
):
    header = ModelHeader("words", subject.model.config, WORDS, lambda: subject.model)
    monkeypatch.setattr(study, "open_one", lambda settings, positions: header)
    (tmp_path / "text").write_text(text)
    settings = {"text": (str(tmp_path / "text"),), "passages": count, "max_tokens": limit}
    found = open_subject(InfluenceSettings(model="smollm2", **settings)).passages
    if starts is not None:
        assert [passage.tokens[0] for passage in found] == starts
        assert [passage.offset for passage in found] == [0]
        assert found[0].tokens == WORDS.encode(text)[:limit]
        return
    assert len(found) == count
    part = len(text) / (count + 1)
    for number, passage in enumerate(found, 1):
        assert number * part - 1 <= passage.offset < number * part + 50
        assert text[passage.offset - 1].isspace()  # whole tokens only
        assert "\n" not in text or text[passage.offset - 1] == "\n"
        first = passage.tokens[0]
        assert passage.tokens == tuple(range(first, first + limit))
    starts = [passage.tokens[0] for passage in found]
    assert all(late - early >= limit for early, late in itertools.pairwise(starts))


@pytest.fixture(scope="module")
def passages():
    """Settings of two passages, the subject, and the rows of both and of the second alone."""
    changes = {"prompt": "", "passages": 2, "max_tokens": 6, "attention": ("frozen",)}
    settings = dataclasses.replace(SETTINGS, **changes)
    both = open_subject(settings)
    second = both._replace(passages=both.passages[1:])
    return settings, both, rows_of(settings, both), rows_of(settings, second)


def test_bounds_of_passages_together_are_those_of_each_alone(passages):
    settings, both, together, alone = passages
    later = [row for row in together if row["offset"] == 6]
    assert len(together) == 2 * len(alone) == 2 * len(later) == 2 * 4 * 6
    for one, other in zip(later, alone, strict=True):
        for name in ("frobenius", "rollout", "log10_printed", "log10_repaired"):
            # The same program on another batch; some thousand roundings.
            assert one[name] == pytest.approx(other[name], rel=1e-11, abs=0)
    # The second passage is there already.
    done = lambda row: row["offset"] == 6
    steps = [name for name, _ in measure(settings, both, done)]
    assert steps == ["bounds for frozen attention", "frozen attention, digits from 0"]


# As SETTINGS, whose programs are compiled.
FLAGS = ("--prompt", "31,31", "--method", "exact", "--format", "f64", "--spectral", "2", "0")


@pytest.mark.usefixtures("undrawn")
def test_a_command_leaves_a_page_and_continues(rows, tmp_path, capsys):
    out = tmp_path / "toy"
    call = ["influence", "toy", *FLAGS, "--out", str(out)]
    assert run(call) == 0
    files = {path.name for path in out.iterdir()}
    wanted = {"settings.json", "provenance.json", "rows.jsonl", "summary.json", "figures"}
    assert files == wanted | {"index.html"}
    assert {"influence.svg", "norms.svg"} < {path.name for path in (out / "figures").iterdir()}
    said = capsys.readouterr()
    steps = ["bounds for true and frozen attention", "true attention", "frozen attention"]
    assert said.err.splitlines() == steps
    assert f"Page: {(out / 'index.html').as_uri()}" in said.out.splitlines()
    page, written = (out / "index.html").read_text(), (out / "rows.jsonl").read_bytes()
    assert "http" not in page.replace("http://www.w3.org", "")
    lines = written.splitlines(keepends=True)
    assert len(lines) == len(rows)
    # As a kill leaves it: the second kind half written, its last line cut.
    (out / "rows.jsonl").write_bytes(b"".join(lines[:30]) + lines[30][:20])
    assert run(call) == 0
    assert (out / "rows.jsonl").read_bytes() == written
    assert (out / "index.html").read_text() == page
    assert run([*call, "--seed", "1"]) == 2
    assert "got another run" in capsys.readouterr().err


@pytest.mark.usefixtures("undrawn", "rows")
def test_a_command_estimates_as_well(tmp_path):
    """Signs for probes, whose error stands in the rows and on the page."""
    out = tmp_path / "toy"
    words = ("--prompt", "31,31", "--method", "estimated", "--probes", "64", "--format", "f64")
    assert run(["influence", "toy", *words, "--attention", "true", "--out", str(out)]) == 0
    rows = joined(out)
    assert {(row["method"], row["probes"], "spectral" in row) for row in rows} == {
        ("estimated", 64, False)
    }
    assert all(row["standard_error"] > 0 for row in rows if row["layer"] == 0)
    assert "64 probes" in (out / "index.html").read_text()


def test_every_field_is_there_somewhere(rows):
    others = {"standard_error", "along_standard_error", *names(OverflowFields)}
    assert set().union(*rows) == set(names(InfluenceRow)) - others


@pytest.mark.parametrize("count", [0, 1, 2])
def test_what_was_read_is_told_by_the_text_of_runs_of_before(count):
    """Its digest tells runs apart, so no class's or field's name may change it."""
    before = namedtuple("Passage", "text offset tokens")
    values = [("kjv", 7, (1, 2)), ("it's \u2028", 0, (3,))][:count]
    assert passages_text([Passage(*each) for each in values]) == repr(
        tuple(before(*each) for each in values)
    )


@pytest.mark.parametrize(
    "name",
    [
        "bf16-flash",
        "w4a16",
        "e4m3fn@all",
        "bf16@product_sum",
        "int4@weights",
        "bf16",
        "native-bf16",
    ],
)
def test_every_plan_is_taken(name):
    assert InfluenceSettings(model="toy", format=name).format == name


@pytest.mark.parametrize(
    ("name", "text"),
    [("f16", "use f16@all"), ("native-f16", "use f16@all"), ("int8@state", "each token by itself")],
)
def test_what_has_no_honest_derivative_is_refused(name, text):
    with pytest.raises(BadInput, match=f"got '{name}'.*{text}|{text}.*got '{name}'"):
        InfluenceSettings(model="toy", format=name)


def rounded(name, **changes):
    settings = dataclasses.replace(SETTINGS, format=name, attention=("true",), **changes)
    return settings, open_subject(settings)


@pytest.fixture(scope="module")
def flash():
    """Settings of a fused pass, its subject, what is measured of it, and the same directly."""
    settings, subject = rounded("bf16-flash", spectral=(0,))
    decoder = subject.model.decoder.at(settings.plan)
    tokens = jnp.asarray(subject.passages[0].tokens)
    wanted = exact_influence(decoder, tokens, spectral=(0,))
    return settings, wanted, list(measure(settings, subject))


def test_rows_of_a_rounded_pass_have_its_derivatives_and_no_bound(flash):
    settings, wanted, ((first, none), (_, found)) = flash
    assert (first, none) == ("rollout for true attention", [])
    assert {row.bounds for row in found} == {None}
    assert not set(names(BoundFields)) & set().union(*map(to_row, found))
    assert [row.frobenius for row in found] == np.asarray(wanted.frobenius).ravel().tolist()
    constants = open_run(settings).constants
    assert (constants.dtype, constants.rounding) == ("float32", settings.plan.name)
    summary = summarize(run_of(list(map(to_row, found)), num_layers=3, rounding=constants.rounding))
    assert (summary.repaired, summary.violations, summary.excess) == (None, 0, None)


@pytest.fixture(scope="module")
def overflowed():
    settings, subject = rounded(OVERFLOWS, spectral=(0,))
    return settings, rows_of(settings, subject)


def test_an_overflow_is_named_by_its_site(overflowed):
    settings, found = overflowed
    assert {row["finite"] for row in found} == {False}
    constants = {"num_layers": 3, "rounding": settings.plan.name}
    check_overflow(summarize(run_of(found, **constants)), found)


@pytest.mark.usefixtures("undrawn", "flash")
@pytest.mark.parametrize("name", ["bf16-flash", pytest.param("bf16", marks=pytest.mark.slow)])
def test_a_command_of_a_rounded_pass_leaves_a_page_without_a_bound(name, tmp_path, capsys):
    out, words = tmp_path / "toy", ("--prompt", "31,31", "--attention", "true", "--format", name)
    assert run(["influence", "toy", *words, "--method", "exact", "--out", str(out)]) == 0
    assert "FAILED" not in capsys.readouterr().out
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["repaired"], summary["violations"]) == (None, 0)
    page = (out / "index.html").read_text()
    assert "No bound is stated for a rounded pass" in page
    assert "repaired bound" not in page
    (row,) = {(row["dtype"], row["rounding"], row["finite"]) for row in joined(out)}
    plan = model_plan(name)
    assert row == (plan.dtype.name, "none" if name == "bf16" else plan.name, True)


@pytest.mark.usefixtures("undrawn")
@faults
def test_a_diverged_model_is_said_to_be_one(rows, fault, tmp_path, capsys):
    settings = dataclasses.replace(SETTINGS, attention=("true",))
    check_diverged("influence", words_of(settings), tmp_path, capsys, fault)


def test_the_cost_of_exact_derivatives_is_of_both_kinds_of_attention(monkeypatch):
    said = []
    monkeypatch.setattr(study, "note_exact", lambda config, lengths, *_, **__: said.append(lengths))
    for method in ("exact", "estimated"):
        words = {"model": "toy", "prompt": "1,2,3", "method": method}
        study.open_subject(InfluenceSettings(**words))
    assert said == [[6, 6]]  # <bos> and five symbols, for true and for frozen attention
