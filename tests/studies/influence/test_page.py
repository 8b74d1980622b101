"""The influence page on rows whose every number is known: sentences, colors, figures, markup."""

import math
import re

import numpy as np
import pytest
from studies.collapse.test_page import Reader
from studies.influence.made_influence import (
    EQUAL,
    LAYERS,
    TOKENS,
    made_passages,
    made_result,
    made_rows,
    old_rows,
    result_of,
    rows_of_schema_1,
    run_of,
    without_numbers,
)
from wording import says

from glassesjax.errors import BadInput
from glassesjax.report.canvas import to_svg
from glassesjax.report.numbers import percent
from glassesjax.studies.influence.page import influence_page
from glassesjax.studies.influence.profiles import effective_number, profiles_of
from glassesjax.studies.influence.records import ROWS
from glassesjax.studies.influence.scale import Depth
from glassesjax.studies.influence.sentences import influence_headlines
from glassesjax.studies.influence.text import colored_text

PAIRS = (LAYERS + 1) * len(TOKENS)


def page_of(rows, **constants):
    return shown(result_of(rows, **constants))


def shown(result):
    return influence_page(result.run, result.summary)


def made_page(**changes):
    return shown(made_result(**changes))


def lines_of(rows):
    return influence_headlines(result_of(rows).summary)


def made_lines(**changes):
    return influence_headlines(made_result(**changes).summary)


def violations(rows):
    return result_of(rows).summary.violations


@pytest.fixture(scope="module")
def page():
    return made_page(norms=(8.0, 4.0, 2.0, 1.0, 1.0))


def test_the_page_is_whole_and_stands_alone(page):
    reader = Reader(page)
    assert reader.open == []
    assert len(reader.ids) == len(set(reader.ids))
    outside = [link for link in reader.links if not link.startswith("data:image/png;base64,")]
    assert all(link.startswith("#") and link[1:] in reader.ids for link in outside)
    assert not reader.tags & {"script", "link", "img", "iframe", "a"}
    assert "@import" not in page
    assert set(re.findall(r"url\((.)", page)) <= {"#"}
    assert "http" not in page.replace("http://www.w3.org", "")


def test_what_comes_from_data_is_escaped_and_white_space_shows(page):
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert ">&lt;b&gt;</span>" in page
    assert "><i>␣</i>the</span>" in page
    assert "><i>⏎</i>\n</span>" in page  # seen, and the line ends


def test_the_same_rows_give_the_same_page(page):
    assert page_of(made_rows(norms=(8.0, 4.0, 2.0, 1.0, 1.0))[::-1]) == page


def test_the_page_says_what_the_weights_are(page):
    text = " ".join(Reader(page).text)
    [title] = re.findall(r"<h1>(.*?)</h1>", page)
    assert "toy" in title
    assert "quantized to about 4 bits" in text
    assert "quantized" not in page_of(made_rows(), weights="toy seed 0")


def test_an_estimate_names_its_probes_and_their_error():
    text = " ".join(Reader(made_page(method="estimated")).text)
    assert says(text, 32)
    assert says(text, "2.0% of |J|", "20% of |J v|")
    assert "|J| 1 ± 0.02" in made_page(method="estimated")


def test_equal_tokens_are_all_heard_and_powers_of_two_by_hand():
    assert effective_number(np.full(5, 0.2)) == pytest.approx(5, rel=16 * 2.0**-53, abs=0)
    # 1/2, 1/4, 1/8, 1/8: an entropy of 7/4 bits.
    assert effective_number(np.array([0.5, 0.25, 0.125, 0.125, 0.0])) == pytest.approx(
        2**1.75, rel=16 * 2.0**-53, abs=0
    )
    assert math.isnan(effective_number(np.array([0.5, math.nan])))


def test_the_summary_by_hand():
    # Squares 16, 4, 4, 4, 4 are half and four eighths: an entropy of 2 bits.
    rows = made_rows(norms=(4.0, 2.0, 2.0, 2.0, 2.0), sizes=(1.0, 2.0, 2.0, 2.0, 2.0))
    summary = result_of(rows).summary
    close = lambda value: pytest.approx((value,) * 3, rel=64 * 2.0**-53, abs=0)
    for kind in ("true", "frozen"):
        assert summary.attention[kind].effective["frobenius"] == close(4)
        assert summary.attention[kind].effective["scaled"] == close(5)  # 4 * 1 = 2 * 2
        assert summary.attention[kind].effective["along"] == close(5)
    assert summary.correlation["frobenius"] == close(1)  # the short vector has the large norm
    assert np.isnan(summary.correlation["scaled"]).all()  # there is no order
    # Printed 10 and repaired 10,000; norms 4 and 2, in all layers but the last one's zeros.
    least, most = 1 - np.log10(4), 1 - np.log10(2)
    assert summary.attention["frozen"].bounds["printed"].distance == pytest.approx(
        (most, least, most, least)
    )
    assert summary.attention["true"].bounds["repaired"].distance == pytest.approx(
        (most + 3, least + 3, most + 3, least + 3)
    )


def test_passages_have_medians_and_ranges():
    one, two, three = EQUAL, (1.0, 0, 0, 0, 0), (1.0, 1.0, 0, 0, 0)
    rows = made_passages({"norms": one}, {"norms": two}, {"norms": three})
    summary = result_of(rows).summary
    assert len(summary.passages) == 3
    assert summary.attention["true"].effective["frobenius"] == pytest.approx(
        (2, 1, 5), rel=64 * 2.0**-53, abs=0
    )
    assert [(passage.text, passage.offset) for passage in summary.passages] == [
        ("kjv", 0), ("kjv", 100), ("kjv", 200)
    ]  # fmt: skip
    text = lines_of(rows)
    assert says(text[0], 3, 5, "|J| 2", 1, 5)
    assert says(text[-1], 0, 90)
    assert Reader(page_of(rows)).open == []
    broken = made_passages({}, {"norms": (1e5, *EQUAL[1:])})
    assert violations(broken) == 6  # of the second passage


def test_rows_of_earlier_versions_have_one_convention_and_a_page():
    rows = old_rows(norms=(2.0, 1.0, 1.0, 1.0, 1.0))
    summary = result_of(rows).summary
    assert {tuple(each.effective) for each in summary.attention.values()} == {("frobenius",)}
    assert set(summary.attention) == {"true", "frozen"}
    assert summary.attention["true"].effective["frobenius"] == pytest.approx(
        (4,) * 3, rel=64 * 2.0**-53, abs=0
    )
    assert summary.correlation == {}
    assert Reader(page_of(rows)).open == []
    assert "|J v|" not in lines_of(rows)[0]


@pytest.mark.parametrize("method", ["exact", "estimated"])
def test_rows_of_schema_1_become_the_same_records(method):
    rows = made_rows(method=method, repaired=92.0)
    rows[0] = without_numbers(rows[0]) | {"frobenius": 1.0}  # its operator norm, if any, was NaN
    constants = {"method": method, "probes": 32 if method == "estimated" else None}
    every = [ROWS.upgraded(row) for row in rows_of_schema_1(rows, **constants)]
    assert [row for _, row in every] == rows
    (wanted,) = run_of(rows, **{n: v for n, v in constants.items() if v}).records
    assert all(record == wanted for record, _ in every)


def test_an_operator_norm_of_schema_1_beside_a_null_is_not_known_to_be_measured():
    rows = [without_numbers(row) | {"finite": False} for row in made_rows()]
    upgraded = [ROWS.upgraded(row)[1] for row in rows_of_schema_1(rows)]
    assert not any("spectral" in row for row in upgraded)
    assert lines_of(upgraded) == lines_of(rows)


def test_the_distance_of_a_bound_is_said_before_the_verdict():
    for method in ("exact", "estimated"):
        text = " ".join(made_lines(method=method, repaired=92.0))
        far, verdict = (
            text.index("92.0"),
            text.index("exceeded at 0"),
        )
        assert text.index("Repaired bound") < far
        assert far < text.index("too far for a verdict", far) < text.rindex("exceeded at 0")
        assert verdict > text.index("Printed bound")
    near = " ".join(made_lines(repaired=2.0))
    assert "too far" not in near


def test_the_headline_has_effective_numbers_and_exceeded_bounds():
    line = made_result(norms=(1000.0, *EQUAL[1:])).headline
    assert says(line, "|J| 1", 5, "true", "printed", 2, PAIRS, "repaired", 0, 2 * PAIRS)
    rows = [without_numbers(row) | {"finite": False} for row in made_rows()]
    assert says(result_of(rows).headline, "not finite", 2 * PAIRS, 2 * PAIRS)


def test_the_headlines_by_hand():
    text = made_lines(kinds=("true",), norms=(4.0, 2.0, 2.0, 2.0, 2.0))
    assert says(text[0], "true", 5, "|J| 4, |J v| 4, |J| |v| 4")
    assert "1/|v|" in text[1]
    assert says(text[2], "|J| 50%", "100%", "20%", "100%")  # then those of an even spread
    # Half of |1/5 - shares|: (0.3 + 4 * 0.075) / 2.
    assert says(text[3], "20%", "|J| 30%")


def test_exceeding_the_printed_bound_with_true_attention_is_a_failed_hypothesis():
    rows = made_rows(kinds=("true",), norms=(1000.0, 1.0, 1.0, 1.0, 1.0))
    (said,) = [text for text in lines_of(rows) if "Printed bound of" in text]
    # 1000 against 10 at the embedding, a quarter of it at layer 1, where only Frobenius is known.
    assert says(said, 13, PAIRS, 2, 100, 0, "“<bos>”", 0)
    assert "hypothesis" in said
    assert "wrong" not in " ".join(lines_of(rows))


def test_a_bound_that_must_hold_and_does_not_is_said_so():
    rows = made_rows(kinds=("frozen",), norms=(1000.0, *EQUAL[1:]))
    (said,) = [text for text in lines_of(rows) if "exceeded at 2" in text]
    assert "wrong" in said
    assert violations(rows) == 2
    both = made_rows(norms=(1e5, *EQUAL[1:]))
    assert says(lines_of(both)[-1], 26, 30, "exceeded at 4")
    assert violations(both) == 4 + 2  # the repaired one, and the printed one that is frozen
    assert violations(made_rows(kinds=("true",), norms=(1000.0, *EQUAL[1:]))) == 0
    assert violations(made_rows()) == 0


def test_what_only_the_frobenius_norm_exceeds_is_undecided():
    # 20 against 10: over the root of 16 it is 5. With layer 0 measured, three pairs are over.
    rows = made_rows(kinds=("frozen",), norms=(20.0, *EQUAL[1:]), method="estimated")
    text = lines_of(rows)
    assert says(" ".join(text), 13, 15, "undecided at 2")
    assert violations(rows) == 0
    (printed,) = [line for line in text if line.startswith("Printed bound")]
    assert "exceeded" not in printed
    assert "wrong" not in " ".join(text)
    page = " ".join(Reader(page_of(rows)).text)
    assert "undecided at 2" in page
    assert "+0.3 undecided" not in page  # the excess is that of the lower end
    assert "\N{MINUS SIGN}0.3 undecided" in page


def test_a_bound_under_the_frobenius_norm_does_not_read_as_violated():
    text = made_lines(norms=(20.0,) * 5, method="estimated")
    (said,) = [line for line in text if "Printed bound of" in line]
    assert says(said, "\N{MINUS SIGN}0.3", 0.6)
    assert "exceeded" not in said


def test_bounds_that_hold_say_how_far_above_they_lie():
    text = made_lines()
    assert any(says(line, "exceeded at 0", 15) for line in text)
    assert says(text[-1], "operator norm", "4.0")
    estimated = made_lines(method="estimated")[-1]
    assert says(estimated, "Frobenius norm", "4.0")


def test_numbers_that_are_not_finite_are_counted_apart_and_first():
    rows = made_rows(kinds=("true",))
    rows[0] = without_numbers(rows[0])
    text = lines_of(rows)
    assert says(text[0], 1, "not finite", 1, 0)  # in all, of norms, of bounds
    said = " ".join(text)
    assert says(said, 5, "|J| not finite")
    assert says(said, 14, 15, 1)
    assert "exceeded" not in said
    assert violations(rows) == 0
    assert Reader(page_of(rows)).open == []


def test_an_operator_norm_that_is_nan_is_not_replaced_by_the_frobenius_norm():
    rows = made_rows(kinds=("true",))
    rows[0] = without_numbers(rows[0]) | {"frobenius": 1.0}
    profiles = profiles_of(run_of(rows))[0]
    assert math.isnan(profiles.norms("true")[0, 0])
    assert profiles.is_spectral("true")


def test_a_bound_that_is_not_finite_is_counted_once():
    rows = [row | {"log10_printed": None, "log10_over_printed": None} for row in made_rows()]
    text = lines_of([row | {"printed": "not_finite"} for row in rows])
    assert says(text[0], 15, "not finite", 0, 15)
    assert any(says(line, "no verdict", 15) for line in text[1:])


def test_a_representation_that_is_not_finite_is_said_first_and_no_decades_are_nan():
    rows = [without_numbers(row) | {"last_finite": False} for row in made_rows()]
    text = lines_of(rows)
    assert says(text[0], "last representation", "not finite")
    assert says(text[1], 30, "not finite", 30, 0)
    assert violations(rows) == 0
    for said in (" ".join(text), " ".join(Reader(page_of(rows)).text)):
        assert not re.search(r"\bnan\b", said)
        assert "wrong" not in said


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.0, "0.0%"),
        (1e-6, "under 0.1%"),
        (0.0123, "1.2%"),
        (0.0999, "10%"),
        (0.5, "50%"),
        (math.nan, "not finite"),
    ],
)
def test_percentages(share, text):
    assert percent(share) == text


def test_the_ground_is_logarithmic_and_spans_three_decades():
    depth = Depth.spanning([np.array([1e-9, 0.001, 0.1, 0.0, math.nan])])
    assert depth == Depth(pytest.approx(1e-4), 0.1)
    places = [depth.place(share) for share in (0.1, 0.01, 1e-4, 1e-9, 0.0, math.nan, 1.0)]
    assert places == pytest.approx([1, 2 / 3, 0, 0, 0, 0, 1], abs=1e-12)
    assert Depth.spanning([np.array([0.2, 0.2])]).place(0.2) == 1.0
    assert Depth.spanning([np.zeros(2)]).place(0.0) == 0.0


def test_each_token_has_its_ground_and_its_number():
    sizes = (1.0, 2.0, 2.0, 2.0, 2.0)
    profiles = profiles_of(run_of(made_rows(norms=(8.0, 4.0, 2.0, 1.0, 1.0), sizes=sizes)))[0]
    depth = Depth.spanning([profiles.shares("true")[0]])
    text = colored_text(profiles, "true", depth)
    assert re.findall(r"--i:(\d+)%", text) == ["100", "67", "33", "0", "0"]  # log2 8 = 3
    assert 'title="position 0, &lt;bos&gt;: 74% of the squares, |J| 8"' in text  # 64 of 86
    text = colored_text(profiles, "true", depth, "scaled")
    assert 'title="position 1, In: 42% of the squares, |J| |v| 8"' in text  # 64 of 152


def test_the_figures_show_all_that_was_measured():
    figures = made_result(norms=(8.0, 4.0, 2.0, 1.0, 0.0), method="estimated").figures
    shares, norms = figures["profile"]().axes
    labels = lambda axes: {text.get_text() for text in axes.get_legend().get_texts()}
    assert labels(shares) == {"rollout π", "|J|", "|J v|", "|J| |v|"}
    assert labels(norms) >= {"printed bound", "repaired bound", "true attention"}
    true = next(line for line in shares.lines if line.get_label() == "|J|")
    np.testing.assert_allclose(true.get_ydata()[:4], np.array([64, 16, 4, 1]) / 85, rtol=2.0**-50)
    assert math.isnan(true.get_ydata()[4])  # a zero has no logarithm: the line breaks
    assert [tick.get_text() for tick in norms.get_xticklabels()][2] == "␣the"
    maps = figures["layers"]().axes[:3]
    for axes in maps:
        (image,) = axes.images
        assert image.get_array().shape == (LAYERS + 1, len(TOKENS))
        assert np.ma.getmaskarray(image.get_array())[-1].tolist() == [True] * 5  # 0 / 0


def test_figures_repeat_and_any_text_can_be_a_tick():
    tokens = ("$x$", "中文", "a_{b", "\x00", "e" * 40)
    first, again = (to_svg(made_result(tokens=tokens).figures["profile"](), "a") for _ in range(2))
    assert first == again
    assert all(name in first for name in ("$x$", "□□", "a_{b", "\\x00", "eeeeeeeee…"))


@pytest.mark.parametrize("kinds", [("true",), ("frozen",), ("frozen", "true")])
def test_one_kind_is_enough(kinds):
    page = made_page(kinds=kinds, tokens=("a",), norms=(2.0,))
    assert Reader(page).open == []
    assert ("True attention" in page) == ("true" in kinds)


def test_many_tokens_are_cut_by_position_and_not_by_rank():
    tokens = tuple(str(i) for i in range(300))
    norms = tuple(float(i + 1) for i in range(300))
    page = made_page(kinds=("true",), tokens=tokens, norms=norms)
    assert "The first and the last 128 tokens." in page
    assert [page.count(f'<th scope="row">{at}</th>') for at in (127, 128, 171, 172)] == [1, 0, 0, 1]


def test_a_kind_that_was_cut_off_is_left_out():
    assert profiles_of(run_of(made_rows()[:-1]))[0].kinds == ("true",)
    with pytest.raises(BadInput, match="whole kind of attention, got none among 14"):
        page_of(made_rows(kinds=("true",))[1:])
    with pytest.raises(BadInput, match="got none among 0"):
        page_of([])
