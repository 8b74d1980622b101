"""The influence page: whole, alone, escaped; what it answers in each state; its numbers."""

import math
import re

import numpy as np
import pytest
from studies.collapse.test_page import Reader, answer, findings
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
    unbounded,
    without_numbers,
)
from wording import says

from glassesjax.errors import BadInput
from glassesjax.report.numbers import percent
from glassesjax.studies.influence.page import HALF
from glassesjax.studies.influence.profiles import effective_number, profiles_of
from glassesjax.studies.influence.records import ROWS
from glassesjax.studies.influence.summary import concentration

PAIRS = (LAYERS + 1) * len(TOKENS)
NORMS = (8.0, 4.0, 2.0, 1.0, 1.0)
# Squares 64, 16, 4, 1, 1: of 86.
LARGEST = 64 / 86


def shown(result):
    return result.files()["index.html"]


def page_of(rows, **constants):
    return shown(result_of(rows, **constants))


def made_page(**changes):
    return shown(made_result(**changes))


def violations(rows):
    return result_of(rows).summary.violations


def records(page):
    return re.findall(r'<tbody data-kind="(\w+)"', page)


@pytest.fixture(scope="module")
def page():
    return made_page(norms=NORMS)


def test_the_page_is_whole_and_stands_alone(page):
    reader = Reader(page)
    assert reader.open == []
    assert len(reader.ids) == len(set(reader.ids))
    outside = [link for link in reader.links if not link.startswith("data:image/png;base64,")]
    assert all(link.startswith("#") and link[1:] in reader.ids for link in outside)
    assert not reader.tags & {"link", "img", "iframe", "a"}
    assert "@import" not in page
    assert set(re.findall(r"url\((.)", page)) <= {"#"}
    assert "http" not in page.replace("http://www.w3.org", "")


def test_what_comes_from_data_is_escaped_and_white_space_shows(page):
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<code>&lt;b&gt;</code>" in page
    assert "<code>␣the</code>" in page
    assert ">⏎</button>" in page


def test_the_same_rows_give_the_same_page(page):
    assert page_of(made_rows(norms=NORMS)[::-1]) == page


def test_the_page_says_what_the_weights_are(page):
    [title] = re.findall(r"<h1>(.*?)</h1>", page)
    assert "the toy decoder" in title
    assert "quantized to about 4 bits" in page
    assert "quantized" not in page_of(made_rows(), weights="toy seed 0")


def test_the_first_figure_is_titled_by_the_answer(page):
    assert answer(page) == ("74% of the influence rests on 1 of 5 tokens; 2 of 5 have next to none")


def lost(row):
    return without_numbers(row) | {"finite": False, "last_finite": False}


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        (made_rows(), "All 5 tokens have the same influence"),
        (made_rows(norms=(0.0,) * 5), "No token has any influence"),
        ([*map(without_numbers, made_rows())], "Influence is not finite in 30 cases"),
        ([*map(lost, made_rows())], "The model is not finite in 30 of 30 rows"),
        (made_rows(norms=(1e5, *EQUAL[1:])), "that must hold is exceeded in 6 cases"),
    ],
    ids=["equal", "none", "norms not finite", "model not finite", "exceeded"],
)
def test_what_has_no_usual_answer_has_its_own(rows, text):
    page = page_of(rows)
    assert Reader(page).open == []
    assert text in answer(page)
    assert not re.search(r"\bnan\b", " ".join(Reader(page).text))


def test_findings_are_numbers_of_the_summary(page):
    summary = made_result(norms=NORMS).summary
    largest = summary.passages[0].largest
    assert (largest.position, largest.token_text) == (0, "<bos>")
    assert largest.share == pytest.approx(LARGEST, rel=8 * 2.0**-53)
    first, effective, own, bound = findings(page)
    assert (first, own, bound) == ("74%", f"layer {LAYERS}", f"0 of {2 * PAIRS}")
    assert effective == f"{summary.attention['true'].effective['frobenius'].median:.2g}"


def test_concentration_by_hand():
    shares = np.array([0.5, 0.3, 0.1, 0.05, 0.04, *[0.001] * 10])
    most, share, faint = concentration(shares)  # a tenth of an even share is 0.0067
    assert (most, faint) == (2, 10)
    assert share == pytest.approx(0.8)
    assert concentration(np.array([1.0])) == (1, 1.0, 0)
    assert math.isnan(concentration(np.full(3, math.nan)).share)


def test_where_the_last_token_has_over_half_from_by_hand():
    norms = (1.0, 1.0, 1.0, 1.0, 3.0)  # 9 of 13, at each layer
    assert made_result(norms=norms).summary.attention["true"].own_from == 0
    assert made_result(norms=EQUAL).summary.attention["true"].own_from == LAYERS


def test_each_token_has_its_ground_and_its_number(page):
    grounds = re.findall(r'<button style="--v:([\d.]+)">', page)
    wanted = [max(0.0, 1 - math.log(n * n / 86) / math.log(0.02)) for n in NORMS]
    assert grounds == [f"{depth:.2f}" for depth in wanted if depth]


def test_a_record_of_the_table_is_a_token_under_one_kind_of_attention(page):
    assert records(page) == ["true"] * 5 + ["frozen"] * 5
    assert page.count('data-filter="kind:') == 3


def test_a_bound_is_exceeded_or_undecided_in_its_cell():
    # 20 against 10: over the root of 16 it is 5.
    norms = (20.0, *EQUAL[1:])
    page = page_of(made_rows(kinds=("frozen",), norms=norms, method="estimated"))
    assert page.count("\N{MINUS SIGN}0.3 undecided") == 1
    page = page_of(made_rows(kinds=("frozen",), norms=norms))
    assert page.count('+0.3 <span class="low">exceeded</span>') == 0  # signs are of what is below
    assert page.count('0.3 <span class="low">exceeded</span>') == 1


def test_an_estimate_names_its_probes_and_their_error():
    text = " ".join(Reader(made_page(method="estimated")).text)
    assert says(text, 32)
    assert says(text, "2.0% of |J|", "20% of |J v|")
    assert says(text, "± 0.020")


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


@pytest.mark.parametrize("method", ["exact", "estimated"])
def test_rows_of_schema_1_become_the_same_records(method):
    rows = made_rows(method=method, repaired=92.0)
    rows[0] = without_numbers(rows[0]) | {"frobenius": 1.0}  # its operator norm, if any, was NaN
    constants = {"method": method, "probes": 32 if method == "estimated" else None}
    every = [ROWS.upgraded(row) for row in rows_of_schema_1(rows, **constants)]
    assert [row for _, row in every] == rows
    (wanted,) = run_of(rows, **{n: v for n, v in constants.items() if v}).records
    assert all(record == wanted for record, _ in every)


def test_an_operator_norm_that_is_nan_is_not_replaced_by_the_frobenius_norm():
    rows = made_rows(kinds=("true",))
    rows[0] = without_numbers(rows[0]) | {"frobenius": 1.0}
    profiles = profiles_of(run_of(rows))[0]
    assert math.isnan(profiles.norms("true")[0, 0])
    assert profiles.is_spectral("true")


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


def test_passages_have_medians_and_ranges():
    one, two, three = EQUAL, (1.0, 0, 0, 0, 0), (1.0, 1.0, 0, 0, 0)
    result = result_of(made_passages({"norms": one}, {"norms": two}, {"norms": three}))
    summary = result.summary
    assert [each.state for each in summary.passages] == ["equal", "some", "some"]
    assert summary.attention["true"].effective["frobenius"] == pytest.approx(
        (2, 1, 5), rel=64 * 2.0**-53, abs=0
    )
    assert [(passage.text, passage.offset) for passage in summary.passages] == [
        ("kjv", 0), ("kjv", 100), ("kjv", 200)
    ]  # fmt: skip
    assert "2.0 (1.0 to 5.0)" in findings(shown(result))
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
    page = page_of(rows)
    assert Reader(page).open == []
    assert answer(page).startswith("50%")
    assert "share, |J v|" not in page


def test_an_operator_norm_of_schema_1_beside_a_null_is_not_known_to_be_measured():
    rows = [without_numbers(row) | {"finite": False} for row in made_rows()]
    upgraded = [ROWS.upgraded(row)[1] for row in rows_of_schema_1(rows)]
    assert not any("spectral" in row for row in upgraded)
    assert result_of(upgraded).summary.norms_not_finite == 30


def test_verdicts_are_counted_by_hand():
    # 1000 against 10 at the embedding, a quarter of it at layer 1, where only Frobenius is known.
    norms = (1000.0, *EQUAL[1:])
    summary = result_of(made_rows(norms=norms)).summary
    assert summary.attention["true"].bounds["printed"].verdicts == (13, 2, 0, 0, PAIRS, 15)
    assert summary.excess == (2.0, pytest.approx(100), 0, 0, "<bos>")
    assert summary.violations == 2  # the printed one with attention held fixed
    assert violations(made_rows(norms=(1e5, *EQUAL[1:]))) == 4 + 2
    assert violations(made_rows(kinds=("true",), norms=norms)) == 0
    assert violations(made_rows()) == 0
    undecided = made_rows(kinds=("frozen",), norms=(20.0, *EQUAL[1:]), method="estimated")
    verdicts = result_of(undecided).summary.attention["frozen"].bounds["printed"].verdicts
    assert verdicts == (13, 0, 2, 0, PAIRS, 13)


def test_without_a_number_a_page_has_no_finding_of_it():
    # With influence zero everywhere no share is defined; the bounds hold.
    none = made_page(norms=(0.0,) * 5)
    assert findings(none) == ["0 of 30"]
    assert "not finite" not in none.partition("<h2>Tokens at the embedding")[0]
    lost = [without_numbers(row) | {"finite": False, "last_finite": False} for row in made_rows()]
    assert findings(page_of(lost)) == []


@pytest.mark.parametrize("method", ["exact", "estimated"])
def test_a_rounded_pass_has_a_page_without_bounds(method):
    """Norms far above any bound of before: none is compared with them."""
    rows = [unbounded(row) for row in made_rows(method=method, norms=(1e9, *NORMS[1:]))]
    constants = {"method": method, "rounding": "simulated bf16 attn_exp"}
    constants |= {"probes": 32} if method == "estimated" else {}
    result = result_of(rows, **constants)
    summary = result.summary
    assert (summary.repaired, summary.violations, summary.excess) == (None, 0, None)
    assert (summary.bounds_not_finite, summary.attention["true"].bounds) == (0, {})
    assert [each.bounds for each in summary.attention["true"].layers] == [{}] * (LAYERS + 1)
    page = shown(result)
    assert Reader(page).open == []
    text = " ".join(Reader(page).text)
    for wanted in ("No bound is stated for a rounded pass", "simulated bf16 attn_exp"):
        assert wanted in text
    assert "exceeded" not in text
    assert not re.search(r"\bnan\b", text)
    assert "No bound is stated" not in page_of(made_rows())


def test_what_is_not_finite_is_counted_apart():
    rows = made_rows(kinds=("true",))
    rows[0] = without_numbers(rows[0])
    summary = result_of(rows).summary
    assert (summary.norms_not_finite, summary.bounds_not_finite, summary.violations) == (1, 0, 0)
    assert summary.repaired == (14, 0, 0, 1, 15, 14)
    gone = {"log10_printed": None, "log10_over_printed": None, "printed": "not_finite"}
    summary = result_of([row | gone for row in made_rows()]).summary
    assert (summary.norms_not_finite, summary.bounds_not_finite) == (0, 15)


@pytest.mark.parametrize("kinds", [("true",), ("frozen",), ("frozen", "true")])
def test_one_kind_is_enough(kinds):
    page = made_page(kinds=kinds, tokens=("a",), norms=(2.0,))
    assert Reader(page).open == []
    assert ("true" in records(page)) == ("true" in kinds)
    assert answer(page).startswith("The text is one token")


def test_many_tokens_are_cut_by_position_and_not_by_rank():
    tokens = tuple(str(i) for i in range(300))
    norms = tuple(float(i + 1) for i in range(300))
    page = made_page(kinds=("true",), tokens=tokens, norms=norms)
    assert f"The first and the last {HALF} tokens." in page
    assert [
        page.count(f"<code>{at}</code>") for at in (HALF - 1, HALF, 299 - HALF, 300 - HALF)
    ] == [1, 0, 0, 1]


def test_a_kind_that_was_cut_off_is_left_out():
    assert profiles_of(run_of(made_rows()[:-1]))[0].kinds == ("true",)
    with pytest.raises(BadInput, match="whole kind of attention, got none among 14"):
        page_of(made_rows(kinds=("true",))[1:])
    with pytest.raises(BadInput, match="got none among 0"):
        page_of([])


def test_without_influence_nothing_is_said_of_its_spread_and_nothing_undecided_counts_as_held():
    """Zero everywhere has no effective number of tokens; a bound without a norm decides nothing."""
    none = page_of(made_rows(norms=(0.0,) * 5))
    assert "No token has any influence" in none
    assert "not finite tokens" not in none
    undecided = [row | {"repaired": "not_finite"} for row in made_rows()]
    broken = page_of(undecided)
    assert "in which the repaired bound is exceeded" not in broken
