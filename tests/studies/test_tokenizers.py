"""Studies of runs on the tokenizers of real families, and on models of token numbers only."""

import numpy as np
import pytest
from model.made_tokenizers import KINDS
from studies.made_text_models import text_header

from glassesjax.cli import run
from glassesjax.errors import BadInput
from glassesjax.precision import F64
from glassesjax.runs.constants import ModelConstants
from glassesjax.runs.model_fields import model_constants
from glassesjax.runs.record import to_row
from glassesjax.runs.upgrade import upgraded_settings
from glassesjax.studies.bounded import measure as bounded
from glassesjax.studies.bounded.rows import lay_out as bounded_prompts
from glassesjax.studies.bounded.settings import FAMILIES as BOUNDED
from glassesjax.studies.bounded.settings import BoundedSettings
from glassesjax.studies.collapse import measure as collapse
from glassesjax.studies.collapse.rows import UNROUNDED, Cell, Curve, curve_rows
from glassesjax.studies.collapse.settings import CollapseSettings
from glassesjax.studies.generate import measure as generate
from glassesjax.studies.generate.settings import GenerateSettings
from glassesjax.studies.influence import measure as influence
from glassesjax.studies.influence.settings import InfluenceSettings
from glassesjax.studies.longform import measure as longform
from glassesjax.studies.longform.settings import LongformSettings
from glassesjax.studies.perplexity import subject as perplexity
from glassesjax.studies.perplexity.settings import PerplexitySettings
from glassesjax.studies.recall import measure as recall
from glassesjax.studies.recall.settings import RecallSettings
from glassesjax.studies.retention import measure as retention
from glassesjax.studies.retention.settings import RetentionSettings
from glassesjax.tasks.sequences import FAMILIES
from glassesjax.trace.collapse import NORMS

LENGTHS = (1, 2, 3, 4, 6)


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def header(tmp_path, kind):
    return text_header(tmp_path / kind, kind)


def test_prompts_of_each_family_are_made_for_every_tokenizer(header, kind):
    settings = CollapseSettings(model="made", families=tuple(FAMILIES), lengths=LENGTHS)
    pairs = collapse.lay_out(settings, header)
    for name, of_name in pairs.items():
        texts = of_name.texts
        if name != "ones_text":
            assert all(text.token_characters == 1 for text in texts)
            apart = {len(long) - len(short) for short, long in zip(*of_name[:2], strict=True)}
            assert apart <= {1, 2}  # with a comma
    ones = pairs["ones"]
    assert ones.repeats_last == (True,) * len(LENGTHS)
    digits_apart = kind in ("qwen3", "gemma3")
    assert {text.text_round_trips for text in ones.texts} == {digits_apart}
    text = pairs["ones_text"]
    if kind in ("llama3", "deepseek"):
        assert [len(each) - len(header.tokenizer.opening) for each in text.shorter] == [
            1, 1, 1, 2, 2
        ]  # fmt: skip
        assert text.texts[-1].token_characters == 7 / 3  # 111 111 1
        assert text.repeats_last == (False, False, False, False, False)
    else:
        assert text.repeats_last == (True,) * len(LENGTHS)


def test_without_a_start_token_the_run_begins_the_prompt(header, kind):
    runs = bounded_prompts("ones_bos", LENGTHS, 0, header)
    assert runs.lead == (kind != "qwen3")
    assert runs.trunk == (*header.tokenizer.start, *header.tokenizer.encode_symbols("1" * 7))
    constants = model_constants(
        ModelConstants, "collapse", CollapseSettings(model="made"), header.read()
    )
    assert constants.start_token == ("none" if kind == "qwen3" else "<bos>")


def test_prompts_of_the_bounded_study_are_those_of_collapse_for_every_tokenizer(header):
    settings = CollapseSettings(model="made", families=BOUNDED, lengths=LENGTHS)
    for name, expected in collapse.lay_out(settings, header).items():
        runs = bounded_prompts(name, LENGTHS, 0, header)
        tries = [
            (*runs.trunk[:after], token)
            for after, token in zip(runs.after, runs.tried, strict=True)
        ]
        prompts = [runs.trunk[: at + 1] for at in range(len(runs.trunk))] + tries
        sides = [tuple(prompts[row] for row in side) for side in zip(*runs.pairs, strict=True)]
        assert sides == [expected.shorter, expected.longer]
        assert runs.texts == expected.texts


def test_rows_say_how_the_text_would_be_split(tmp_path):
    header = text_header(tmp_path / "llama3", "llama3")
    settings = CollapseSettings(model="made", families=("ones", "ones_text"), lengths=(1, 3))
    y, zero = np.ones((2, 8)), np.zeros(2)
    curve = Curve("rounded", "reference", UNROUNDED[F64], y, y, dict.fromkeys(NORMS, zero), None)
    kept = set()
    for family, pairs in collapse.lay_out(settings, header).items():
        cell = Cell("rotary", "f32", family)
        made = curve_rows([curve], cell, (1, 3), pairs, header.read(), finite=(True, True))
        for row in map(to_row, made):
            kept.add((family, row["length"], row["text_round_trips"], row["token_characters"]))
    assert kept == {
        ("ones", 1, False, 1.0),  # the longer prompt is 1 1, and 11 is one token
        ("ones", 3, False, 1.0),
        ("ones_text", 1, True, 2.0),
        ("ones_text", 3, True, 2.0),
    }


NUMBERS = (3, 5, 3, 9)


def test_token_numbers_are_a_prompt_as_they_are(header, monkeypatch):
    monkeypatch.setattr(influence, "open_one", lambda settings, positions: header)
    monkeypatch.setattr(generate, "open_one", lambda settings, positions: header)
    monkeypatch.setattr(longform, "open_one", lambda settings, positions: header)
    settings = InfluenceSettings(model="made", prompt_tokens=NUMBERS)
    (passage,) = influence.open_subject(settings).passages
    assert passage == ("prompt", 0, NUMBERS)
    settings = GenerateSettings(model="made", prompt_tokens=NUMBERS)
    assert generate.open_job(settings).prompts == (NUMBERS,)
    settings = LongformSettings(model="made", prompt_tokens=NUMBERS, max_tokens=8, slots=("8",))
    assert longform.open_subject(settings).prompt == NUMBERS
    settings = BoundedSettings(
        model="made", prompt_tokens=NUMBERS, kinds=("influence",), policies=("full",)
    )
    assert bounded.cells(settings, "rotary", header)[0].tokens == NUMBERS


@pytest.fixture
def numbers_only(tmp_path, monkeypatch):
    header = text_header(tmp_path / "none", None)
    for module in (influence, generate, longform, perplexity, recall, retention):
        monkeypatch.setattr(module, "open_one", lambda settings, positions: header)
    return header


@pytest.mark.parametrize(
    ("opens", "settings"),
    [
        (influence.open_subject, InfluenceSettings(model="made")),
        (influence.open_subject, InfluenceSettings(model="made", prompt="11")),
        (generate.open_job, GenerateSettings(model="made", prompt=("11",))),
        (generate.open_job, GenerateSettings(model="made", prompt=("11",), chat=True)),
        (longform.open_subject, LongformSettings(model="made")),
        (perplexity.open_subject, PerplexitySettings(model="made")),
        (retention.open_subject, RetentionSettings(model="made")),
        (recall.open_subject, RecallSettings(model="made")),
    ],
)
def test_a_model_of_token_numbers_only_refuses_texts(numbers_only, opens, settings):
    with pytest.raises(BadInput, match=r"tokenizer|reads text") as refusal:
        opens(settings)
    assert "\n" not in str(refusal.value)


def test_a_model_of_token_numbers_only_refuses_digits(numbers_only):
    with pytest.raises(BadInput, match="for digits, got one for token numbers only"):
        collapse.lay_out(CollapseSettings(model="made", lengths=(1,)), numbers_only)
    with pytest.raises(BadInput, match="for digits, got one for token numbers only"):
        bounded_prompts("ones_bos", (1,), 0, numbers_only)


def test_a_model_of_token_numbers_only_writes_numbers(numbers_only):
    settings = GenerateSettings(model="made", prompt_tokens=NUMBERS, max_tokens=3, baseline="none")
    job, shown = generate.open_job(settings), []
    ((_, rows),) = generate.measure(settings, job, show=lambda prompt, piece: shown.append(piece))
    answer = [row.token for row in rows if row.kind == "answer"]
    assert "".join(shown) == "".join(f"[{token}]" for token in answer)
    assert [row.token_text for row in rows if row.kind == "prompt"] == [f"[{n}]" for n in NUMBERS]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["influence", "--prompt-tokens", "1", "99"], "--prompt-tokens from 0 to 11"),
        (["influence", "--prompt-tokens", "1", "--prompt", "1"], "leave one of the two out"),
        (["bounded", "--prompt-tokens", "-1"], "--prompt-tokens from 0 to 11"),
        (["bounded", "--prompt-tokens", "1", "--prompt", "1"], "leave one of the two out"),
        (["generate", "--prompt-tokens", "99"], "--prompt-tokens from 0 to 11"),
        (["generate", "--prompt-tokens", "1", "--chat"], "they are the prompt as it is"),
        (["influence", "--prompt-tokens", "1", "2", "--max-tokens", "1"], "at most 1 tokens"),
        (["bounded", "--prompt-tokens", "1", "2", "--max-tokens", "1"], "at most 1 tokens"),
        (["bounded", "--prompt", "12", "--max-tokens", "2"], "at most 2 tokens"),
        (["longform", "--prompt-tokens", "99"], "--prompt-tokens from 0 to 11"),
        (["longform", "--prompt-tokens", "1", "--prompt", "1"], "leave one of the two out"),
    ],
)
def test_wrong_prompts_are_one_line(tmp_path, capsys, arguments, text):
    out = tmp_path / "out"
    assert run([arguments[0], "toy", *arguments[1:], "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert text in error
    assert error.count("\n") == 1
    assert not out.exists()


def test_older_runs_had_no_prompt_in_token_numbers():
    assert upgraded_settings({"schema": 2, "study": "longform"})["prompt_tokens"] == []
    given = {"schema": 2, "study": "longform", "prompt_tokens": [1, 2], "devices": 1}
    assert upgraded_settings(given) == given
