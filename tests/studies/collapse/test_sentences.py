import pytest
from studies.collapse.made_rows import made_result, made_rows
from wording import says

from glassesjax.report.numbers import short
from glassesjax.studies.collapse.sentences import family_sentences, headlines

# The signal is 1 / n. In bf16 noise is 8 / 2^8 = 1 / 32: under it from 64 on, not at 32 itself.
LENGTHS = (1, 2, 4, 8, 16, 32, 64, 128)


def told(**changes):
    return sentences(made_rows(lengths=LENGTHS, **changes))


def sentences(rows):
    return family_sentences(made_result(rows).summary, "rotary", "ones_bos")


def test_a_family_in_sentences():
    wide, single, half, answer = told()
    slope = "\N{MINUS SIGN}1.000"
    assert says(wide, 1, 1, 0.0078, 128, slope, slope, slope, 1, 128)
    assert says(single, "f32", 128)
    assert "not" not in single  # detectable, and there is a difference
    assert "no " not in single
    assert says(half, "bf16", 64, 128)
    assert says(answer, 8, 128)  # 4 / n uses up less than the margin: beyond n = 4


def test_a_single_return_above_the_floor_moves_the_start():
    course = told(signal=lambda n: 0.5 if n == 64 else 1 / n)
    assert says(course[2], "bf16", 128)
    assert "not" in course[2]
    assert "64" not in course[2]


def test_what_is_equal_has_no_signal_to_lose():
    equal, answer = told(signal=lambda n: 1e-17)
    assert says(equal, 1, 128, "float64")
    assert says(answer, 1, 128)


def test_float64_has_no_noise_to_lose_a_signal_in():
    assert not [text for text in told(formats=("f64",)) if "noise" in text or "finite" in text]
    summary = made_result(formats=("f64",)).summary
    assert not [text for text in headlines(summary) if "noise" in text]


def test_the_certificate_is_read_from_wide_rows():
    rows = made_rows(lengths=LENGTHS)
    own = [row for row in rows if row["curve"] == "signal" and row["mode"] != "reference"]
    assert not any("certified" in row or "margin_used" in row for row in own)
    for row in own:
        row |= {"certified": False, "margin_used": 2.0}
    assert sentences(rows) == told()


def test_an_open_certificate_claims_nothing():
    *_, last = told(signal=lambda n: 1.0)
    assert says(last, 128)
    assert "8" not in last.replace("128", "")


def test_an_overflow_at_the_end_is_not_called_noise():
    rows = made_rows(lengths=LENGTHS)
    for row in rows:
        if row["curve"] == "signal" and row["mode"] == "native" and row["format"] == "bf16":
            row["resolution"] = None
    course = sentences(rows)
    assert says(course[2], "bf16", 128, "not finite")


def test_the_headlines_count_runs_and_name_lengths():
    lines = headlines(made_result(lengths=LENGTHS).summary)
    text = "\n".join(lines)
    assert says(
        lines[0], 2, 2
    )  # families of runs that end less than half as far apart as they start
    assert says(text, "f32", 2, 2)  # detectable at the longest n, of how many
    assert says(text, "bf16", 0, 2)
    assert says(text, "“Beginning of sequence, then ones”", 64)
    assert says(text, "bf16", "0%")


def test_many_runs_are_counted_and_only_two_are_named():
    positions = ("none", "rotary", "alibi", "learned")
    text = headlines(made_result(positions=positions, lengths=LENGTHS).summary)[-1]
    assert says(text, 8, 8)
    assert text.count("“") == 2


@pytest.mark.parametrize("lengths", [(8,), (8, 16)])
def test_few_lengths_give_no_exponent(lengths):
    assert any("No power law" in text for text in headlines(made_result(lengths=lengths).summary))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.0123, "0.012"),
        (426.0, "426"),
        (4.9e-6, "4.9 \N{MULTIPLICATION SIGN} 10⁻⁶"),
        (None, "not finite"),
    ],
)
def test_numbers_have_two_digits(value, text):
    assert short(value) == text
