import pytest
from studies.collapse.made_rows import made_rows

from glassesjax.report.numbers import short
from glassesjax.studies.collapse.curves import Curves
from glassesjax.studies.collapse.sentences import family_sentences, headlines

# The signal is 1 / n. In bf16 noise is 8 / 2^8 = 1 / 32: under it from 64 on, not at 32 itself.
LENGTHS = (1, 2, 4, 8, 16, 32, 64, 128)


def told(**changes):
    rows = made_rows(lengths=LENGTHS, **changes)
    return family_sentences(Curves(rows), "rotary", "ones_bos")


def test_a_family_in_sentences():
    assert told() == [
        "In wide arithmetic the distance is 1 at n = 1 and 0.0078 at n = 128; the exponent"
        " of its tail is \N{MINUS SIGN}1.000 (\N{MINUS SIGN}1.000 to \N{MINUS SIGN}1.000) over"
        " n = 1 to 128.",
        "In f32 arithmetic the difference is detectable at n = 128.",
        "In bf16 arithmetic the difference is detectable at no measured length from 64 to 128.",
        "The greedy answer cannot change between n and n + 1 at every measured length from 8 to"
        " 128: the certificate holds.",  # 4 / n uses up less than the margin: beyond n = 4
    ]


def test_a_single_return_above_the_floor_moves_the_start():
    course = told(signal=lambda n: 0.5 if n == 64 else 1 / n)
    assert "In bf16 arithmetic the difference is not detectable at n = 128." in course


def test_what_is_equal_has_no_signal_to_lose():
    equal, answer = told(signal=lambda n: 1e-17)
    assert equal.endswith("at every measured length from 1 to 128, to within float64's rounding.")
    assert "cannot change" in answer


def test_float64_has_no_noise_to_lose_a_signal_in():
    assert not [text for text in told(formats=("f64",)) if "noise" in text or "finite" in text]
    assert not [text for text in headlines(made_rows(formats=("f64",))) if "noise" in text]


def test_the_certificate_is_read_from_wide_rows():
    rows = made_rows(lengths=LENGTHS)
    own = [row for row in rows if row["curve"] == "signal" and row["mode"] != "wide"]
    assert not any("certified" in row or "margin_used" in row for row in own)
    for row in own:
        row["certified"] = False
    assert family_sentences(Curves(rows), "rotary", "ones_bos") == told()


def test_an_open_certificate_claims_nothing():
    expected = "At n = 128 the margin certificate leaves open whether the answer changes."
    assert told(signal=lambda n: 1.0)[-1] == expected


def test_an_overflow_at_the_end_is_not_called_noise():
    rows = made_rows(lengths=LENGTHS)
    for row in rows:
        if row["curve"] == "signal" and row["mode"] == "native" and row["format"] == "bf16":
            row["resolution"] = None
    course = family_sentences(Curves(rows), "rotary", "ones_bos")
    assert course[2] == "In bf16 the noise at n = 128 is not finite: the format's range is left."


def test_the_headlines_count_runs_and_name_lengths():
    text = "\n".join(headlines(made_rows(lengths=LENGTHS)))
    assert "2 of 2 families of runs end less than half as far apart as they start" in text
    assert "In f32 arithmetic the difference is detectable at the longest n for 2 of 2" in text
    assert "In bf16 arithmetic the difference is detectable at the longest n for 0 of 2" in text
    assert "“Beginning of sequence, then ones” from n = 64" in text
    assert "Rounded to bf16 at the longest n, 0% of the coordinates are equal" in text


def test_many_runs_are_counted_and_only_two_are_named():
    positions = ("none", "rotary", "alibi", "learned")
    text = headlines(made_rows(positions=positions, lengths=LENGTHS))[-1]
    assert "for 8 of 8 runs (family and positions): the earliest is" in text
    assert text.count("“") == 2


@pytest.mark.parametrize("lengths", [(8,), (8, 16)])
def test_few_lengths_give_no_exponent(lengths):
    assert any("No power law" in text for text in headlines(made_rows(lengths=lengths)))


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
