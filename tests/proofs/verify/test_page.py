"""The ledger's page and figures, from claims whose numbers are all known."""

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
from proofs_numeric.verify import discovery
from proofs_numeric.verify.charts import ratios_chart
from proofs_numeric.verify.ladders import has_ladder, ladder_chart
from proofs_numeric.verify.page import headline, ratio, values
from proofs_numeric.verify.run import result
from proofs_numeric.verify.summary import by_claim, ratio_of, summarize

ASCENT = lambda suite: [half(3, measured=0.75)]
VOID = {"meta", "input"}
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
        if tag not in VOID:
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


def answer(page):
    """The title of the first figure."""
    return " ".join(re.search(r'<p class="title">(.*?)</p>', page, re.DOTALL)[1].split())


def instances(page):
    """The lines of the folds: what each is, and its cells as text."""
    lines = re.findall(r'<tr><td class="l"><b>(.*?)</b>(.*?)</tr>', page, re.DOTALL)
    return [(name, " ".join(re.sub("<[^>]+>", " ", text).split())) for name, text in lines]


@pytest.fixture
def page(rows_of):
    claims = [claim(kind, kind=kind, adversary=ASCENT) for kind in KINDS]
    return page_of(rows_of(*claims))


def test_the_page_is_whole_and_stands_alone(page):
    reader = Reader(page)
    assert reader.open == []
    assert len(reader.ids) == len(set(reader.ids))
    assert all(link.startswith("#") and link[1:] in reader.ids for link in reader.links)
    assert not reader.tags & {"link", "img", "iframe", "a"}
    assert "http" not in page.replace("http://www.w3.org", "")
    assert set(re.findall(r"url\((.)", page)) <= {"#"}


def test_each_claim_is_a_record_with_its_formula_and_instances(page):
    text = " ".join(Reader(page).text)
    assert re.findall(r'<tbody id="claim-(\w+)" data-topic="paper" data-state="slack"', page) == [
        *KINDS
    ]
    assert page.count("<math") == 4 * 2  # the statement and its hypothesis
    assert [name for name, _ in instances(page)] == 4 * [
        "closest to its bound", "worst equality", "counter-case",
    ]  # fmt: skip
    assert "0.10.2" in text
    assert page.count("<code>figures/") == 4


def test_what_comes_from_data_is_escaped(page):
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "One half is at most one &lt;b&gt;" in page
    assert "&amp; no more" in page


SOUND = claim("sound")
STATES = {
    "one claim": (
        [SOUND],
        "Yes: the claim holds where its hypotheses are met; with one dropped, its",
    ),
    "claims": (
        [SOUND, claim("other")],
        "Yes: 2 of 2 claims hold where their hypotheses are met; with one dropped, 2",
    ),
    "violated": ([SOUND, WRONG["violates"][0]], "No: 1 of 2 claims do not stand; 4 of 5"),
    "one violated": ([WRONG["violates"][0]], "No: the claim does not stand"),
    "toothless": (
        [SOUND, WRONG["counter-case holds"][0]],
        "No: 1 of 2 claims do not stand; 6 of 6",
    ),
    "not finite": ([WRONG["is no number"][0]], "No: 1 of 2 measurements are not finite"),
    "outside": (
        [WRONG["never applies"][0]],
        "Nothing is shown: no measurement meets its hypotheses",
    ),
    "nothing": ([WRONG["measures nothing"][0]], "Nothing is shown: there are no measurements"),
}


@pytest.mark.parametrize(("claims", "text"), STATES.values(), ids=STATES)
def test_the_first_figure_is_titled_by_the_answer(rows_of, claims, text):
    page = page_of(rows_of(*claims))
    assert answer(page).startswith(text)
    assert Reader(page).open == []
    assert ("Not as it must be" in page) is not text.startswith("Yes")


@pytest.mark.parametrize(("made", "text"), WRONG.values(), ids=WRONG)
def test_the_page_says_what_is_wrong(rows_of, made, text):
    rows = rows_of(made)
    page = page_of(rows)
    [line] = re.findall(r'<div class="wrong">.*?<ul>(.*?)</ul>', page, re.DOTALL)
    assert text in line
    assert 'data-state="broken"' in page


def test_a_claim_that_was_cut_off_is_shown_as_such(rows_of):
    made = claim(adversary=ASCENT)
    rows = rows_of(made)[:2]
    assert Reader(page := page_of(rows)).open == []
    assert answer(page) == "The run was cut off: the claim is not complete"
    summary = summarize(run_of(rows))
    assert "cut off" in headline(summary)
    assert (summary.standing, summary.measurements, summary.cut_off) == (0, 2, 1)


def test_without_rows_there_is_a_page(monkeypatch):
    install(monkeypatch, SOUND)
    assert answer(page_of([])) == "Nothing is known: no claim was measured"


def test_claims_that_were_not_measured_are_counted(rows_of, monkeypatch):
    there, missing = claim("measured"), claim("missing")
    rows = rows_of(there)
    install(monkeypatch, there, missing)
    page = page_of(rows)
    assert "1 of 2 claims" in page
    assert "missing" not in page


def findings(page):
    return re.findall(r"<li><b>(.*?)</b>", page.partition('class="findings"')[2])


def test_findings_are_numbers_of_the_summary(rows_of):
    near = lambda suite: [half(2, measured=0.995), half(4, measured=0.995), half(8, distance=4.0)]
    sharp, attacked = claim("sharp", measure=near), claim("attacked", adversary=ASCENT)
    assert findings(page_of(rows_of(sharp, attacked))) == ["1 of 2", "1 of 2"]
    assert findings(page_of(rows_of(sharp))) == ["0.995", "3.0\N{MULTIPLICATION SIGN}"]


def test_what_lies_outside_is_never_in_a_ratio(rows_of):
    made = claim(measure=lambda suite: [half(2), half(3), half(8, distance=4.0)])
    rows = rows_of(made)
    summary = summarize(run_of(rows))
    assert (summary.tried, summary.decided, summary.held, summary.outside) == (3, 2, 2, 1)
    page = page_of(rows)
    assert '2 of 2<div class="sub">1 outside</div>' in page
    assert "2 of 3" not in page


def test_a_claim_in_numbers(rows_of):
    rows = rows_of(claim(adversary=ASCENT))
    one = summarize(run_of(rows)).claims["made"]
    assert (one.closest.tightness, one.closest.slack, one.closest.setting) == (
        0.75,
        0.25,
        "half, n=3",
    )
    assert (one.equalities.deviation, one.equalities.roundoff) == (2.0**-52, 2.0**-50)
    assert (one.ascent.tightness, one.narrowest, one.closeness) == (0.75, 3.0, "slack")
    (_, closest), (_, equal), (_, fails) = instances(page_of(rows))
    power = "\N{MULTIPLICATION SIGN} 10⁻¹⁶"
    assert says(closest, "n=3", 0.75, "1.0", "0.750", 0)
    assert says(equal, "n=2", "1.0", "1.0", 1, f"8.9 {power}")
    assert says(fails, "n=5", "3.0", "1.0", "3.0", 0, "size over 4", "1.0", 0)
    assert "\N{BALLOT X} size over 4" in fails


def case(**ends):
    return Measurement(setting="x", hypotheses=(hypothesis(1.0),), **ends)


@pytest.mark.parametrize(
    ("ends", "wanted"),
    [
        ({"measured": 3.0, "bound": 2.0}, 1.5),
        ({"measured": 0.5, "bound": 2.0, "floor": 1.0}, 2.0),
        ({"measured": 0.0, "bound": 2.0, "floor": 1.0}, None),
        ({"measured": 3.0, "bound": 0.0}, None),
        ({"measured": -3.0, "bound": 2.0, "floor": -1.0}, None),
        ({"measured": math.inf, "bound": 2.0}, None),
    ],
)
def test_by_what_a_counter_case_misses(rows_of, ends, wanted):
    rows = rows_of(claim(counter_case=lambda: [case(**ends)]))
    [row] = by_claim(rows)["made"].part("counter_case")
    assert ratio_of(row) == wanted


@pytest.mark.parametrize(
    ("share", "closeness"), [(0.5, "slack"), (0.98, "slack"), (0.99, "sharp"), (1.0, "sharp")]
)
def test_an_inequality_is_sharp_within_a_percent_of_its_bound(rows_of, share, closeness):
    rows = rows_of(claim(measure=lambda suite: [half(2, measured=share)]))
    assert summarize(run_of(rows)).claims["made"].closeness == closeness


def test_a_claim_of_equalities_alone_has_no_ratio(rows_of):
    rows = rows_of(claim(measure=lambda suite: [*ladder(suite)][2:]))
    summary = summarize(run_of(rows))
    assert (summary.no_ratio, summary.inequalities) == (1, 0)
    assert 'data-state="no_ratio"' in page_of(rows)


def chart_of(rows, **look):
    run = result(run_of(rows))
    return ratios_chart(run.summary, by_claim(rows), claims_of(rows), **look)


def claims_of(rows):
    return discovery.load(by_claim(rows))


@pytest.mark.parametrize("narrow", [False, True])
def test_marks_stand_above_the_lines_of_their_topic(rows_of, narrow):
    near = lambda suite: [half(n, measured=n / 32) for n in range(1, 33)]
    chart = chart_of(rows_of(*(claim(name, measure=near) for name in "abcdefgh")), narrow=narrow)
    [axes] = chart.axes
    of = lambda name: [e for e in axes.lines if (e.get_gid() or "").startswith(f"series--{name}--")]
    [lines] = of("measurements")
    highest = min(y for y in lines.get_ydata() if y == y)  # pixels from above
    dots = [line for name in ("claims", "counter-cases") for line in of(name)]
    assert dots
    for line in dots:
        assert max(line.get_ydata()) + line.get_markersize() / 2 + 2 < highest


@pytest.mark.parametrize("narrow", [False, True])
def test_claims_stand_left_of_the_bound_and_counter_cases_right_of_it(rows_of, narrow):
    cases = lambda: [case(measured=3.0, bound=1.0), *outside(1e9)(), *outside(2.0, 2.0)()][:2]
    near = lambda suite: [half(n, measured=n / 32) for n in range(1, 33)]
    many = [claim(name, measure=near, counter_case=cases) for name in "abcdefgh"]
    exact = claim("zero", measure=lambda suite: [Measurement(setting="0", measured=0.0, bound=0.0)])
    wrong = claim("wrong", measure=lambda suite: [half(2), half(4, measured=1.5)])
    chart = chart_of(rows_of(*many, exact, wrong), narrow=narrow)
    (bound,) = {x for line in chart.axes[0].lines if line.get_linewidth() == 1.6
                for x in np.asarray(line.get_xdata())}  # fmt: skip
    of = lambda series: [mark for mark in chart.marks if mark.series == series]
    assert len(of("claims")) == 10
    assert all(mark.start[0] < bound for mark in of("claims"))
    assert len(of("counter-cases")) == 8 * 2 + 2
    assert all(mark.start[0] > bound for mark in of("counter-cases"))
    assert {mark.go for mark in of("wrong")} == {"claim-wrong"}
    assert all(mark.start[0] > bound for mark in of("wrong"))
    places = {mark.start for mark in chart.marks}
    assert len(places) == len(chart.marks)  # none lies on another
    assert all(0 < x < chart.width and 0 < y < chart.height for x, y in places)


def test_every_measurement_that_holds_with_a_ratio_is_drawn(rows_of):
    shares = [2.0**-k for k in range(7)]
    measure = lambda suite: [half(1 + k, measured=s) for k, s in enumerate(shares)]
    chart = chart_of(rows_of(claim(measure=measure)))
    lines = [each for each in chart.axes[0].lines if "measurements" in (each.get_gid() or "")]
    [xs] = [np.asarray(line.get_xdata()) for line in lines]
    assert len(np.unique(xs[np.isfinite(xs)])) == len(shares)


def test_the_data_of_the_figure_are_the_rows(rows_of):
    rows = rows_of(claim(adversary=ASCENT))
    data = values(by_claim(rows), summarize(run_of(rows)))
    assert [each["verdict"] for each in data] == ["holds"] * 4 + ["fails"]
    assert [each["ratio"] for each in data] == [0.5, 0.5, 1 + 2.0**-52, 0.75, 3.0]


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

    figure = ladder_chart(ladder_of(rows_of(claim(measure=steps))))
    values, ratios = figure.axes
    lines = [np.asarray(line.get_xydata()) for line in values.lines]
    assert [line[:, 0].tolist() for line in lines] == 4 * [[2, 4, 8]]
    drawn = sorted(tuple(np.round(10.0 ** line[:, 1], 12)) for line in lines)
    assert drawn == [(0.5, 0.25, 0.125), (1, 1, 1), (4, 2, 1), (8, 8, 8)]
    curves = [np.asarray(line.get_ydata()) for line in ratios.lines[1:]]
    assert all(curve.tolist() == [0.5, 0.25, 0.125] for curve in curves)


def test_series_too_many_to_name_are_one_line_with_gaps(rows_of):
    def steps(suite):
        for scale in range(1, 9):
            for size in (2, 4):
                setting = f"scale={scale}, n={size}"
                yield Measurement(setting=setting, measured=1.0, bound=scale, size=size)

    values, _ = ladder_chart(ladder_of(rows_of(claim(measure=steps)))).axes
    bound, measured = (np.asarray(line.get_ydata(), np.float64) for line in values.lines)
    assert np.isfinite(measured).sum() == np.isfinite(bound).sum() == 16
    assert np.isnan(measured).sum() == 7


def test_zeros_have_a_strip_and_extremes_an_edge(rows_of):
    ends = {2: (0.0, 1.0), 4: (-1.0, 1e-200), 8: (1e-3, 1e300)}

    def steps(suite):
        for size, (measured, bound) in ends.items():
            yield Measurement(setting=f"n={size}", measured=measured, bound=bound, size=size)

    values = ladder_chart(ladder_of(rows_of(claim(measure=steps)))).axes[0]
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
    assert [*result(run_of(rows)).figures] == ["ratios"]


def test_the_same_rows_give_the_same_page(rows_of):
    made = claim(measure=ladder)
    rows = rows_of(made)
    assert page_of(rows) == page_of(rows)


@pytest.mark.parametrize("tex", [r"\nocommand", "a & b", r"\frac{1}"])
def test_a_formula_that_cannot_be_shown_is_refused(tex):
    with pytest.raises(ValueError, match="Expected LaTeX that renders"):
        formula(tex)


def test_prose_wants_its_dollars_in_pairs():
    assert prose("a < b").startswith("a &lt; b")
    assert prose("the $x$ of $y$").count("<math") == 2
    with pytest.raises(ValueError, match="dollars in pairs"):
        prose("a $x")
