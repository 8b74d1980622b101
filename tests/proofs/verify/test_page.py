"""The ledger's page, figures and sentences, from claims whose numbers are all known."""

import html.parser
import math
import re

import numpy as np
import pytest
from proofs.made_claims import (
    WRONG,
    claim,
    half,
    hypothesis,
    install,
    ladder,
    ledger_rows,
    outside,
    run_of,
)
from wording import says

from glassesjax.report.formulas import formula, prose
from glassesjax.report.numbers import MISSING
from proofs_numeric.claim import Measurement
from proofs_numeric.verify.figures import has_ladder, ladder_figure
from proofs_numeric.verify.run import result
from proofs_numeric.verify.sentences import claim_sentences, counter_sentence, headline, ratio
from proofs_numeric.verify.summary import by_claim, summarize

ASCENT = lambda suite: [half(3, measured=0.75)]
KINDS = ("statement", "erratum", "follow_up", "figure")


class Reader(html.parser.HTMLParser):
    """Checks that elements nest, and collects what a page says and points to."""

    def __init__(self, page):
        super().__init__()
        self.open, self.ids, self.links, self.tags, self.text = [], [], [], set(), []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.ids += [value for name, value in attrs if name == "id"]
        self.links += [value for name, value in attrs if name in ("href", "src", "xlink:href")]
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture
def rows_of(monkeypatch):
    """The rows of claims as a run folder would give them back."""

    def read(*claims):
        install(monkeypatch, *claims)
        return ledger_rows()

    return read


def page_of(rows):
    return result(run_of(rows)).files()["index.html"]


def ladder_of(rows):
    """The measurements of the claim made."""
    return by_claim(rows)["made"].measured


def sentences_of(rows):
    """On the only claim, and on its counter-cases."""
    [(name, summary)] = summarize(run_of(rows)).claims.items()
    cases = by_claim(rows)[name].part("counter_case")
    return claim_sentences(summary), [counter_sentence(row) for row in cases]


@pytest.fixture
def page(rows_of):
    claims = [claim(kind, kind=kind, adversary=ASCENT) for kind in KINDS]
    return page_of(rows_of(*claims))


def test_the_page_is_whole_and_stands_alone(page):
    reader = Reader(page)
    assert reader.open == []
    assert len(reader.ids) == len(set(reader.ids))
    assert all(link.startswith("#") and link[1:] in reader.ids for link in reader.links)
    assert not reader.tags & {"script", "link", "img", "iframe"}
    assert "http" not in page.replace("http://www.w3.org", "")
    assert set(re.findall(r"url\((.)", page)) <= {"#"}


def test_the_page_says_what_was_measured(page):
    text = " ".join(Reader(page).text)
    assert "4 of 4 claims" in text
    for title in ("Statements", "Errata", "Follow-ups", "Figures", "Errata without a number"):
        assert title in text
    assert "0.10.2" in text
    assert page.count("<math") == 4 * 2  # the statement and its hypothesis
    assert page.count('role="img"') == 4


def test_what_comes_from_data_is_escaped(page):
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "One half is at most one &lt;b&gt;" in page
    assert "&amp; no more" in page


def test_a_badge_says_whether_the_ledger_and_each_claim_stand(rows_of):
    badges = lambda page: re.findall(r'class="holds (\w+)">', page)
    sound = claim("sound")
    page = page_of(rows_of(sound))
    assert badges(page) == ["all", "all", "all"]  # the ledger, the claim, its counter-case
    assert ">The ledger stands</span>" in page
    broken, _ = WRONG["violates"]
    page = page_of(rows_of(broken))
    assert badges(page) == ["none", "none", "all"]
    assert "The ledger stands" not in page
    toothless, _ = WRONG["counter-case holds"]
    assert badges(page_of(rows_of(toothless))) == ["none", "all", "none"]


@pytest.mark.parametrize(("made", "text"), WRONG.values(), ids=WRONG)
def test_the_page_says_what_is_wrong(rows_of, made, text):
    rows = rows_of(made)
    said = " ".join(Reader(page_of(rows)).text)
    assert text in said


def test_a_claim_that_was_cut_off_is_shown_as_such(rows_of):
    made = claim(adversary=ASCENT)
    rows = rows_of(made)[:2]
    assert Reader(page := page_of(rows)).open == []
    assert "cut off" in page
    summary = summarize(run_of(rows))
    assert "cut off" in headline(summary)
    assert (summary.standing, summary.measurements) == (0, 2)


def test_claims_that_were_not_measured_are_counted(rows_of, monkeypatch):
    there, missing = claim("measured"), claim("missing")
    rows = rows_of(there)
    install(monkeypatch, there, missing)
    page = page_of(rows)
    assert "1 of 2 claims" in page
    assert "missing" not in page


def test_a_claim_in_sentences(rows_of):
    made = claim(adversary=ASCENT)
    (holds, closest, equal, ascent), [fails] = sentences_of(rows_of(made))
    assert says(holds, 4, 4)
    assert says(closest, 0.75, 1, "0.750", 0.25, "adversary", "half, n=3")
    power = "\N{MULTIPLICATION SIGN} 10⁻¹⁶"
    assert says(equal, f"2.2 {power}", f"8.9 {power}", "equality, n=2")
    assert says(ascent, "0.750", "half, n=3")
    assert says(fails, "n=5", "size over 4", 1, 0, 3, 1, 3)
    assert "NOT" not in fails


def test_a_counter_case_under_a_floor_or_without_a_number_is_told(rows_of):
    low = {"setting": "low", "measured": 0.5, "bound": 2.0, "floor": 1.0}
    cases = [
        Measurement(**low, hypotheses=(hypothesis(1.0),)),
        Measurement(setting="nan", measured=math.nan, bound=1.0, hypotheses=(hypothesis(1.0),)),
    ]
    made = claim(counter_case=lambda: cases)
    _, (under, lost) = sentences_of(rows_of(made))
    assert says(under, 0.5, 1)
    assert "NOT" not in under
    assert says(lost, "Not finite", 1, "NOT")


def test_a_counter_case_that_holds_is_told_loudly(rows_of):
    made = claim(counter_case=outside(0.5))
    rows = rows_of(made)
    assert says(sentences_of(rows)[1][0], 0.5, 1, "NOT")
    assert not summarize(run_of(rows)).claims["made"].stands


def test_a_headline_has_the_numbers_first_and_names_a_few_claims(rows_of):
    rows = rows_of(claim("sound", adversary=ASCENT))
    text = headline(summarize(run_of(rows)))
    assert says(text, 1, 1, 1, 1, "sound: holds", "0.750")
    assert text.startswith("1 of 1 claims")
    many = headline(summarize(run_of(rows_of(*map(claim, "abcd")))))
    assert says(many, 4, 4, 4, 4)
    assert "a: holds" not in many


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, MISSING),
        (math.nan, MISSING),
        (0.5, "0.500"),
        (0.99999, "0.99999"),
        (1.0, "1"),
        (0.0, "0"),
    ],
)
def test_a_tightness_is_told_from_one(value, text):
    assert ratio(value) == text


def test_the_figure_draws_every_step_of_each_series(rows_of):
    def steps(suite):
        for size in (2, 4, 8):
            for scale in (1.0, 8.0):
                setting = f"scale={scale}, n={size}"
                yield Measurement(setting=setting, measured=scale / size, bound=scale, size=size)

    figure = ladder_figure(ladder_of(rows_of(claim(measure=steps))))
    values, ratios = figure.axes
    lines = [np.asarray(line.get_xydata()) for line in values.lines]
    assert [line[:, 0].tolist() for line in lines] == 4 * [[2, 4, 8]]
    drawn = sorted(tuple(np.round(10.0 ** line[:, 1], 12)) for line in lines)
    assert drawn == [(0.5, 0.25, 0.125), (1, 1, 1), (4, 2, 1), (8, 8, 8)]
    curves = [np.asarray(line.get_ydata()) for line in ratios.lines[1:]]
    assert all(curve.tolist() == [0.5, 0.25, 0.125] for curve in curves)


def test_zeros_have_a_strip_and_extremes_an_edge(rows_of):
    ends = {2: (0.0, 1.0), 4: (-1.0, 1e-200), 8: (1e-3, 1e300)}

    def steps(suite):
        for size, (measured, bound) in ends.items():
            yield Measurement(setting=f"n={size}", measured=measured, bound=bound, size=size)

    values = ladder_figure(ladder_of(rows_of(claim(measure=steps)))).axes[0]
    low, high = values.get_ylim()
    heights = [y for line in values.lines for y in np.asarray(line.get_ydata())]
    assert all(low < y < high for y in heights)
    assert sum(y < -3 for y in heights) == 3  # 0, −1 and 10⁻²⁰⁰
    assert {"≤ 0", "≥ 10¹⁰⁰"} <= {label.get_text() for label in values.get_yticklabels()}


@pytest.mark.parametrize(
    "measure",
    [
        lambda suite: [half(2), half(8, distance=4.0)],
        lambda suite: [Measurement(setting=name, measured=0.0, bound=0.0) for name in "ab"],
    ],
    ids=["one step", "no ladder"],
)
def test_without_a_ladder_there_is_no_figure(rows_of, measure):
    rows = rows_of(claim(measure=measure))
    assert not has_ladder(ladder_of(rows))
    assert not result(run_of(rows)).figures


def test_the_same_rows_give_the_same_page(rows_of):
    made = claim(measure=ladder)
    rows = rows_of(made)
    assert page_of(rows) == page_of(rows)


@pytest.mark.parametrize("tex", [r"\nocommand", "a & b", r"\frac{1}"])
def test_a_formula_that_cannot_be_shown_is_refused(tex):
    with pytest.raises(ValueError, match="Wanted LaTeX that renders"):
        formula(tex)


def test_prose_wants_its_dollars_in_pairs():
    assert prose("a < b").startswith("a &lt; b")
    assert prose("the $x$ of $y$").count("<math") == 2
    with pytest.raises(ValueError, match="dollars in pairs"):
        prose("a $x")
