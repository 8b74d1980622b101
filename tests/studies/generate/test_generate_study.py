"""The generate study: rows against a replay of the whole text, and a text that is resumed."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from studies.generate.made_generate import made_rows, run_of
from studies.made_diverged import check_diverged, faults, joined

from glassesjax.cache import policy, replay
from glassesjax.cli import run
from glassesjax.model.pretrained import toy_model
from glassesjax.precision import model_plan
from glassesjax.runs.record import names, to_row
from glassesjax.runs.rows import read_rows
from glassesjax.studies.generate.records import ROWS, AnswerToken, PromptToken

SAMPLED = ("--temperature", "1.5", "--top-k", "8", "--top-p", "0.95", "--seed", "3")
ALONE = ("--baseline", "none")


def write(out, *more, prompt=("0123,", "1"), count=9, options=SAMPLED):
    asked = ["--prompt", *prompt] if prompt else []
    sizes = ["--slots", "4", "--max-tokens", str(count), "--out", str(out)]
    return run(["generate", "toy", *asked, *sizes, *options, *more])


def rows_of(out):
    """Rows without what depends on the hour."""
    drop = lambda row: {name: row[name] for name in row if name != "tokens_per_second"}
    return [drop(row) for row in read_rows(out / "rows.jsonl")]


def answer(rows, prompt=0):
    return [row for row in rows if row["kind"] == "answer" and row["prompt"] == prompt]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "toy"
    assert write(out) == 0
    return out


def test_a_run_leaves_what_the_others_leave(finished):
    files = {path.name for path in finished.iterdir()}
    whole = {"settings.json", "provenance.json", "rows.jsonl", "summary.json", "index.html"}
    assert files == whole | {"figures"}
    assert json.loads((finished / "settings.json").read_text())["slots"] == "4"
    assert "<title>What does the toy decoder write" in (finished / "index.html").read_text()


def test_rows_have_each_key_once_and_name_where_they_were_made(finished):
    rows = joined(finished)
    keys = {(row["policy"], row["prompt"], row["position"]) for row in rows}
    assert len(keys) == len(rows) == 2 * (6 + 9 + 2 + 9)  # a token begins the sequence
    for name in ("dtype", "rounding", "matmul_precision", "backend", "jax", "slots", "seed"):
        assert all(name in row for row in rows)


def test_every_field_is_there_somewhere(finished):
    fields = set().union(*read_rows(finished / "rows.jsonl")) - {"record"}
    # Those of an overflow are in a run of their own.
    overflow = {"overflow_site", "overflow_layer"}
    assert fields == {*names(PromptToken), *names(AnswerToken)} - overflow


def test_a_row_of_before_says_what_does_not_apply_by_null():
    answer, prompt = made_rows()[2], made_rows()[3]  # the first was never read
    absent = dict.fromkeys(("held", "held_share", "first_forgotten", "last_forgotten"))
    words = {
        "kind": "part", "retained_layers": "held", "retained_share": "held_share",
        "position_ids": "spacing", "first_evicted_at": "first_forgotten",
        "last_evicted_at": "last_forgotten",
    }  # fmt: skip
    unsaid = dict.fromkeys(("step", "logprob", "ended", "finite"))
    for row in (answer, prompt):
        old = {words.get(name, name): value for name, value in row.items()}
        old = {"width": 16, "top_k": None, **absent, **unsaid, **old, "spacing": "true"}
        constants, new = ROWS.upgraded(old | {"tokens_per_second": None})
        assert constants == {"model_dim": 16}
        whole = {name: value for name, value in row.items() if name != "tokens_per_second"}
        assert to_row(ROWS.read(new)) == to_row(ROWS.read(whole))
    _, new = ROWS.upgraded(old | {"part": "answer", "step": 0})
    assert (new["finite"], new["logprob"]) == (False, None)
    assert run_of([answer]).rows[0].retention is None


def test_who_is_held_is_what_a_replay_of_the_text_says(finished):
    rows = [row for row in rows_of(finished) if row["policy"] == "tova" and row["prompt"] == 0]
    rows.sort(key=lambda row: row["position"])
    text = [row["token"] for row in rows][:-1]
    read = replay(toy_model(seed=3).decoder, jnp.asarray(text), policy("tova"), slots=4, chunk=8)
    evicted_at = np.stack([layer[0] for layer in read.evicted_at])  # layers seq
    held = (evicted_at == len(text)).sum(axis=0)
    assert [row.get("retained_layers") for row in rows] == [*held.tolist(), None]
    for row, steps in zip(rows[:-1], evicted_at.T, strict=True):
        lost = steps[steps < len(text)]
        assert row.get("first_evicted_at") == (lost.min() if len(lost) else None)
        assert row.get("last_evicted_at") == (lost.max() if len(lost) == 3 else None)


def test_beside_it_all_tokens_are_held(finished):
    rows = [row for row in rows_of(finished) if row["policy"] == "full"]
    assert {row.get("retained_layers") for row in rows} == {3, None}
    assert {row["slots"] for row in rows} == {6 + 9}


def test_a_finished_run_says_its_text_again_and_changes_no_row(finished, capsys):
    before = (finished / "rows.jsonl").read_bytes()
    assert write(finished) == 0
    said = capsys.readouterr().out
    own = [row for row in rows_of(finished) if row["policy"] == "tova"]
    first, second = ("".join(row["text"] for row in answer(own, prompt)) for prompt in (0, 1))
    assert said.startswith(f"{first}\n\nText 2\n{second}\n")
    page = said.splitlines()[-2]
    assert page == f"Page: {(finished / 'index.html').as_uri()}"
    assert (finished / "rows.jsonl").read_bytes() == before


def test_a_resumed_text_is_the_one_without_a_break(finished, tmp_path, capsys):
    saved, again = tmp_path / "state.npz", tmp_path / "again.npz"
    assert write(tmp_path / "half", "--save", str(saved), *ALONE, count=4) == 0
    resume = ("--resume", str(saved), "--save", str(again), *ALONE)
    capsys.readouterr()
    assert write(tmp_path / "rest", *resume, prompt=(), count=5) == 0
    whole = [row for row in rows_of(finished) if row["policy"] == "tova"]
    assert rows_of(tmp_path / "rest") == whole
    new = "".join(row["text"] for row in answer(whole)[4:])
    assert capsys.readouterr().out.startswith(f"{new}\n")
    assert again.is_file()


def test_a_stop_string_ends_the_text_and_is_not_shown(finished, tmp_path, capsys):
    own = [row for row in rows_of(finished) if row["policy"] == "tova"]
    text = "".join(row["text"] for row in answer(own))
    stop = text[3:5]
    capsys.readouterr()
    assert write(tmp_path / "run", "--stop", stop, *ALONE) == 0
    shown = text[: text.index(stop)]
    assert capsys.readouterr().out.startswith(f"{shown}\n\nText 2\n")
    rows = answer(rows_of(tmp_path / "run"))
    assert rows[-1]["ended"] == "text"
    assert "".join(row["text"] for row in rows) == shown + stop


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--prompt", "1", "--policy", "tovva"], "did you mean 'tova'?"),
        (["--prompt", "1", "--slots", "0"], "at least 1 slots"),
        (["--prompt", "1", "--slots", "many"], "tokens (256)"),
        (["--prompt", "1", "--temperature", "-1"], "temperature at least 0"),
        (["--prompt", "1", "--temperature", "1", "--top-p", "0"], "top_p over 0"),
        (["--prompt", "1", "--temperature", "1", "--top-p", "1.5"], "top_p over 0"),
        (["--prompt", "1", "--temperature", "1", "--top-k", "0"], "top_k at least 1"),
        (["--prompt", "1", "--top-k", "4"], "--temperature over 0"),
        (["--prompt", "1", "--max-tokens", "0"], "--max-tokens of 1 or more"),
        (["--prompt", "1", "--format", "bf15"], "did you mean 'bf16'?"),
        (["--prompt", "1", "--format", "int8"], "rounds each token by itself"),
        (["--prompt", "1", "--max-tokens", "9000"], "at most 8192 tokens"),
        (["--prompt", "1", "--position-ids", "compressed"], "rotary positions"),
        (["--prompt", "1", "--stop", ""], "one character or more"),
        (["--prompt", "2+2"], "'+'"),
        (["--prompt", "1", "--chat"], "got toy"),
        (["--prompt", "1", "--system", "Be brief."], "--chat with --system"),
        ([], "--prompt, --prompt-tokens, or a state to --resume"),
        (
            ["--prompt", "1", "--resume", "none"],
            "got --prompt and --resume: leave one of the two out",
        ),
        (["--resume", "none"], "got 'none', which cannot be read"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(tmp_path, capsys, arguments, text):
    out = tmp_path / "out"
    assert run(["generate", "toy", *arguments, "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(("glassesjax: Wanted", "glassesjax: Expected"))
    assert error.count("\n") == 1
    assert text in error
    assert not out.exists()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (("--policy", "h2o"), "policy h2o"),
        (("--positions", "rotary"), "model positions"),
        (("--format", "bf16"), "dtype bfloat16"),
        (("--format", "bf16@weights"), "with format bf16@weights"),
        (("--slots", "5"), "slots 5"),
        (("--seed", "4"), "with seed 4"),
        (("--temperature", "2"), "temperature 2.0"),
    ],
)
def test_a_state_of_another_run_is_refused(saved_state, tmp_path, capsys, change, text):
    out = tmp_path / "out"
    given = [*SAMPLED, "--slots", "4", "--resume", str(saved_state), *change]
    assert run(["generate", "toy", *given, "--out", str(out)]) == 2
    assert text in capsys.readouterr().err
    assert not out.exists()


@pytest.fixture(scope="module")
def saved_state(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    assert write(folder / "run", "--save", str(folder / "state"), *ALONE, count=4) == 0
    return folder / "state"


@pytest.mark.slow
@pytest.mark.models
def test_smollm2_answers_and_ends_its_turn(tmp_path, capsys):
    # Room for all tokens: what a model says from less is another question.
    asked = ["--prompt", "What is the capital of France?", "--chat", "--max-tokens", "40"]
    given = [*asked, "--slots", "128", *ALONE]
    assert run(["generate", "smollm2", *given, "--out", str(tmp_path / "run")]) == 0
    rows = answer(read_rows(tmp_path / "run" / "rows.jsonl"))
    assert rows[-1]["ended"] == "token"
    assert rows[-1]["token_text"] == "<|im_end|>"
    said = capsys.readouterr().out
    assert "Paris" in said
    assert "<|im_end|>" not in said


@faults
def test_a_diverged_model_is_said_to_be_one(finished, fault, tmp_path, capsys):
    sizes = ("--prompt", "0123,", "1", "--slots", "4", "--max-tokens", "3")
    check_diverged("generate", (*sizes, *SAMPLED[:-2]), tmp_path, capsys, fault)


# What separates a step of the cache from a dense pass: sums of some dozen float32 products in
# another order through three layers; of bf16, where each may be stored one step of 2^-8 apart.
PLANS = {"bf16@weights": 1e-4, "e4m3fn@attn_weights": 1e-4, "native-bf16": 0.1}


@pytest.fixture(scope="module", params=PLANS)
def planned(request, tmp_path_factory):
    """One token under a plan, and the log-probabilities of a dense pass in it and in float32."""
    out, name = tmp_path_factory.mktemp("planned") / "run", request.param
    words = ("--format", name, "--seed", "0", *ALONE)
    assert write(out, *words, prompt=("1,",), count=1, options=()) == 0  # nothing is evicted
    model = toy_model(seed=0)
    tokens = jnp.asarray([row["token"] for row in rows_of(out) if row["kind"] == "prompt"])
    dense = {}
    for plan in (name, "f32"):
        decoder = model.decoder.at(model_plan(plan))
        scores = decoder.logits(decoder(tokens)[0])[-1]
        dense[plan] = np.asarray(jax.nn.log_softmax(scores))
    return name, joined(out), dense[name], dense["f32"]


def test_a_token_is_chosen_under_its_plan(planned):
    name, rows, dense, single = planned
    (row,) = answer(rows)
    assert row["token"] == int(dense.argmax())
    assert row["logprob"] == pytest.approx(float(dense.max()), abs=PLANS[name], rel=0)
    assert float(dense.max()) != float(single.max())
    plan = model_plan(name)
    assert (row["format"], row["dtype"]) == (name, plan.dtype.name)
    assert row["rounding"] == ("none" if name == "native-bf16" else plan.name)


def test_an_overflow_is_named_by_its_site(tmp_path, capsys):
    words = ("--format", "e2m2@residual", *ALONE)
    assert write(tmp_path / "run", *words, prompt=("1",), count=1, options=()) == 1
    said = capsys.readouterr().out
    assert "FAILED the pass under simulated e2m2 residual is not finite, in 1 of 1 rows" in said
    (row,) = answer(rows_of(tmp_path / "run"))
    place = f"first at residual in layer {row['overflow_layer']}"
    assert row["overflow_site"] == "residual"
    assert f"in the written token, {place}: what is written is no choice" in said
