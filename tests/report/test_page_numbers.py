"""Every number on a page is in the rows or the summary of its run; and this can fail."""

import math
import re
from pathlib import Path

import pytest
from markupsafe import escape
from matplotlib.figure import Figure
from report.made_pages import MADE
from report.page_numbers import Block, Files, numbers_of, refused, unfounded

import glassesjax
from glassesjax import registry
from glassesjax.report.colors import (
    FAMILIES,
    FORMATS,
    POLICIES,
    family_color,
    format_color,
    policy_color,
)

pytestmark = pytest.mark.usefixtures("undrawn")

STORED = Path(__file__).parents[1] / "data" / "schema_1"
STUDIES = {study.name: study for study in registry.studies()}
# Least share of changed numbers that is refused: of those that are no whole numbers below 100, on
# each page; and of all, over the pages of a verb. Small whole numbers of a small run are mostly
# numbers of the same run when they are changed.
LARGE, ALL = 0.6, 0.45
OF_ONE = re.compile(
    r"\b[\d,]+ of 1\b(?![\d,.]\d)[^<>]*|\b1 (?:lengths|layers|claims|texts)\b[^<>]*"
)
UNKNOWN = re.compile(r"not finite|cannot be|\N{EN DASH}|nan|None")


@pytest.fixture(scope="module", params=STUDIES)
def pages(request, undrawn, tmp_path_factory):
    """The pages of a verb, each with what its folder holds and its headline, by name."""
    verb = request.param
    stored = (path for path in STORED.iterdir() if path.name.partition("-")[0] == verb)
    results = {path.name: glassesjax.read(path) for path in stored}
    results |= dict(MADE.get(verb, dict)())
    folder, read = tmp_path_factory.mktemp(verb), {}
    for name, result in results.items():
        drawn = []
        with pytest.MonkeyPatch.context() as patch:
            save = Figure.savefig
            record = lambda figure, *args, **kwargs: drawn.append(figure) or save(figure, *args)  # noqa: B023
            patch.setattr(Figure, "savefig", record)
            path = result.save(folder / name)
        html, files = (path / "index.html").read_text(), Files(path, STUDIES[verb])
        files.figures, files.failures = drawn, STUDIES[verb].violations(result.summary)
        read[name] = html, files, result.headline
    return read


def test_each_number_of_a_page_and_of_the_headline_is_in_the_run(pages):
    wrong = {name: unfounded(html, files) for name, (html, files, _) in pages.items()}
    assert {name: each for name, each in wrong.items() if each} == {}
    wrong = {name: unfounded(f"<p>{line}</p>", files) for name, (_, files, line) in pages.items()}
    assert {name: each for name, each in wrong.items() if each} == {}


CELL = re.compile(r"<td(?P<attributes>[^>]*)>(?P<text>[^<]*)</td>")
WORDS = re.compile(r"[-\N{MINUS SIGN}]?(nan|inf|None)|\N{EN DASH}|not finite.*")


def test_a_table_sorts_what_is_no_number_as_empty(pages):
    """With the keys of a table's records; the browser test sorts each of its columns."""
    wrong = []
    for html, *_ in pages.values():
        wrong += [key for key in re.findall(r'data-v="([^"]*)"', html) if WORDS.fullmatch(key)]
        first_rows = re.sub(r'<tr class="more">.*?</table>', "", html, flags=re.DOTALL)
        for table in re.findall(r"<table data-records.*?</table>", first_rows, re.DOTALL):
            if 'class="sort"' not in table:
                continue
            cells = [m for m in CELL.finditer(table) if "data-v" not in m["attributes"]]
            cells = [m for m in cells if "colspan" not in m["attributes"]]
            wrong += [m[0] for m in cells if WORDS.fullmatch(m["text"])]
    assert wrong == []


def test_what_a_table_says_can_be_read_without_pointing(pages):
    """A value on hover alone has no keyboard, no print, and no page without script."""
    for html, *_ in pages.values():
        assert not re.search(r"<(?:th|td|tr|table)[^>]* (?:title|data-tip)=", html)


def test_a_number_that_was_changed_is_refused_in_most_cases(pages):
    counts = {name: refused(html, files) for name, (html, files, _) in pages.items()}
    shares = {name: hits / total for name, (_, (hits, total)) in counts.items() if total}
    assert {name: share for name, share in shares.items() if share < LARGE} == {}
    hits, total = (sum(each) for each in zip(*(x for c in counts.values() for x in c), strict=True))
    assert hits >= ALL * total


def test_nothing_is_counted_as_some_of_one(pages):
    some = {name: OF_ONE.findall(html) + OF_ONE.findall(line) for name, html, line in _texts(pages)}
    assert {name: each for name, each in some.items() if each} == {}


def test_a_page_without_findings_has_no_list_of_them(pages):
    assert [name for name, html, _ in _texts(pages) if re.search(r"<ul[^>]*>\s*</ul>", html)] == []


def test_a_slider_has_two_values_at_least(pages):
    wrong = [
        name for name, html, _ in _texts(pages) if re.search(r'type="range"[^>]*max="0"', html)
    ]
    assert wrong == []


def test_a_finding_begins_with_what_is_known(pages):
    first = {name: re.findall(r"<li><b>(.*?)</b><span>", html) for name, html, _ in _texts(pages)}
    unknown = {
        name: [each for each in texts if UNKNOWN.search(each)] for name, texts in first.items()
    }
    assert {name: each for name, each in unknown.items() if each} == {}


def test_a_description_has_numbers_only_where_the_model_is_finite(pages):
    for name, html, headline in _texts(pages):
        if "not finite in" in headline:
            labels = re.findall(r'aria-label="([^"]*)', html)
            assert [text for text in labels if re.search(r"\d%", text)] == [], name


def test_a_finding_begins_with_a_number(pages):
    first = [re.findall(r"<li><b>(.*?)</b><span>", html) for html, *_ in pages.values()]
    assert [each for texts in first for each in texts if not re.search(r"\d", each)] == []


TWICE = re.compile("10[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+\N{MULTIPLICATION SIGN}")


def test_no_number_has_two_signs_of_multiplication(pages):
    assert {name for name, html, _ in _texts(pages) if TWICE.search(html)} == set()


SOME = re.compile(
    r"\b[\d,]+ of (?P<all>all )?(?P<most>[\d,]+) (?P<what>[^\W\d]+(?: famil(?:y|ies))?)"
    r"(?P<which>(?: \([^)]*\))?(?: (?:that|with|under) [^,;:]*)?)"
)
LIST = re.compile(r'<p class="title">.*?</p>|<ul class="findings".*?</ul>', re.DOTALL)


def test_ratios_of_one_kind_have_one_denominator(pages):
    """In title and findings; of others it is said which: all 49 cases, 38 cases that differ."""
    for name, html, _ in _texts(pages):
        text = re.sub(r"</?[^>]*>", " ", " ".join(LIST.findall(html)[:2]))
        known = {}
        for some in SOME.finditer(" ".join(text.split())):
            kind = some["all"], some["what"], some["which"]
            known.setdefault(kind, set()).add(some["most"])
        assert {kind: most for kind, most in known.items() if len(most) > 1} == {}, name


TOGGLE = re.compile(r'data-toggle="([^"]+)"[^>]*><span class="[^"]*" style="--s:var\(--(\w+)\)"')


def test_a_name_has_the_same_color_on_every_page(pages):
    """Families, formats and policies; the caches of a policy have its color."""
    wrong = set()
    for html, *_ in pages.values():
        for name, color in TOGGLE.findall(html):
            policy = re.sub(r"(?:-at)?-\d+$", "", name).replace("-plus-", "+")
            if name in FAMILIES:
                wrong |= {(name, color)} - {(name, family_color(name))}
            elif name in FORMATS or re.fullmatch(r"e\d+m\d+", name):
                wrong |= {(name, color)} - {(name, format_color(name))}
            elif re.split(r"[-+@~]", policy)[0] in POLICIES:
                wrong |= {(name, color)} - {(name, policy_color(policy))}
    assert wrong == set()


def test_every_line_of_a_figure_is_seen(pages):
    """One without a stroke and without marks is none, whatever the text beside it says."""
    for name, (_, files, _) in pages.items():
        lines = [line for figure in files.figures for axes in figure.axes for line in axes.lines]
        stroke = lambda line: line.get_linestyle().strip() not in ("", "None")
        mark = lambda line: line.get_marker() not in (None, "None", "") and line.get_markersize()
        blank = [
            line for line in lines if len(line.get_xdata()) and not (stroke(line) or mark(line))
        ]
        assert blank == [], name


def test_a_page_says_what_the_terminal_says_of_failed_checks(pages):
    for name, (html, files, headline) in pages.items():
        text = " ".join(re.sub(r"<[^>]*>", " ", html).split()).casefold()
        own = [line for line in files.failures if "the unrounded pass is not finite" not in line]
        lines = [" ".join(str(escape(line)).split()).casefold() for line in own]
        assert [line for line in lines if line not in text] == [], (name, headline)


def _texts(pages):
    return [(name, html, headline) for name, (html, _, headline) in pages.items()]


@pytest.mark.parametrize("end", ["</p>", "</li>", "</td>", "</dd>", "</h2>", "</figcaption>"])
def test_a_number_that_is_nowhere_is_refused_wherever_it_stands(pages, end):
    for html, files, headline in pages.values():
        if end in html:
            wrong = unfounded(html.replace(end, f" 86753.09{end}", 1), files)
            assert any(text.startswith("86753.09 in ") for text in wrong)
        assert unfounded(f"<p>{headline}; 86753.09</p>", files)


def test_settings_and_record_are_left_out_only_as_they_are(pages):
    for html, files, _ in pages.values():
        cell, _, rest = "dd", *html.rpartition("<h3>Settings of the run</h3>")[1:]
        if rest == html:
            cell, _, rest = "td", *html.rpartition('<table class="facts-table">')[1:]
        changed = rest.replace(f"<{cell}>", f"<{cell}>86753.", 1)
        (wrong,) = unfounded(html.removesuffix(rest) + changed, files)
        assert wrong.startswith("86753")


@pytest.fixture(scope="module")
def files(undrawn, tmp_path_factory):
    study = STUDIES["collapse"]
    return Files(dict(MADE["collapse"]())["flat"].save(tmp_path_factory.mktemp("a") / "run"), study)


def test_a_fixed_number_stands_with_its_words(files):
    assert unfounded("<p>The theorem's hypothesis: 4.2 says nothing there.</p>", files)
    caption = "Dashed: outside Theorem 4.2, for the added token"
    (whole,) = (text for text in files.fixed if caption.casefold() in text)
    assert unfounded(f"<p>{whole}</p>", files) == []
    assert unfounded(f"<p>{whole.replace('4.2', '4.3')}</p>", files)
    assert len(unfounded(f"<p>{whole} 4.2</p>", files)) == 1


def test_a_number_of_a_row_stands_in_a_table_among_those_of_that_row(files):
    # In bfloat16, of n = 16 and 32: what is measured, and in how many tokens.
    line = lambda *cells: f"<table><tr>{''.join(f'<td>{c}</td>' for c in cells)}</tr></table>"
    assert unfounded(line("16", "17", "18"), files) == []
    assert unfounded(line("16", "17", "257"), files)
    assert unfounded("<p>16 17 18</p>", files)


@pytest.mark.parametrize(
    ("text", "value", "half"),
    [
        ("at 0.12", 0.12, 0.005),
        ("(+1.5)", 1.5, 0.05),
        ("\N{MINUS SIGN}1.77 (", -1.77, 0.005),
        ("is -3", -3, 0.5),
        ("n = 8.", 8, 0.5),
        ("4,812 of", 4812, 0.5),
        ("12%", 0.12, 0.005),
        ("9.5 %", 0.095, 0.0005),
        ("7.0 KiB", 7168, 51.2),
        ("1023 B", 1023, 0.5),
        ("1.5e-07", 1.5e-7, 5e-9),
        ("2.0 × 10⁻³", 2e-3, 5e-5),  # noqa: RUF001
        ("0.12 less than", -0.12, 0.005),
        ("0.07\N{EN DASH}", 0.07, 0.005),
    ],
)
def test_a_number_as_printed_by_hand(text, value, half):
    (number,) = numbers_of(text)
    assert (number.low, number.high) == pytest.approx((value - half, value + half), rel=1e-8)


def test_a_power_is_read_by_its_exponent(files):
    (number,) = numbers_of("u = 2⁻⁸")
    assert number.low < 2**-8 < number.high
    assert not number.low < 2**-9 < number.high
    assert unfounded("<p>2<sup>-8</sup></p>", files) == []  # of bfloat16
    assert unfounded("<p>2<sup>-11</sup></p>", files)


@pytest.mark.parametrize("name", ["h2o", "window+4", "4-grams", "bf16", "Job 1:2", "v2.1", "Q4_0"])
def test_a_number_within_a_name_is_none(name):
    assert all(math.isnan(number.low) for number in numbers_of(name))


def test_a_mark_of_something_missing_needs_what_is_missing(files):
    mark = Block("td", "\N{EN DASH}", 1)
    assert files.wrong_in([mark]) == []
    files.whole.has_gap = False
    assert files.wrong_in([mark]) == []  # a row has one
    assert files.wrong_in([mark._replace(tag="p", line=0)]) != []
