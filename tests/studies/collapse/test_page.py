"""The collapse page: whole, alone, escaped; what it answers in each state; its table."""

import html.parser
import re

import pytest
from studies.collapse.made_rows import CONSTANTS, LAYERS, made_result, made_rows

from glassesjax.report.numbers import number
from glassesjax.studies.collapse.study import STUDY

VOID = {"meta", "input"}


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


def page_of(rows=None, **changes):
    return made_result(rows, **changes).files()["index.html"]


def answer(page):
    """The title of the first figure."""
    return " ".join(re.search(r'<p class="title">(.*?)</p>', page, re.DOTALL)[1].split())


def findings(page):
    return re.findall(r"<li><b>(.*?)</b>", page.partition('class="findings"')[2])


@pytest.fixture(scope="module")
def page():
    return page_of(made_rows(token="\n <b>", signal=lambda n: 1 / n if n < 16 else 0.0))


def test_the_page_is_whole_and_stands_alone(page):
    reader = Reader(page)
    assert reader.open == []
    assert len(reader.ids) == len(set(reader.ids))
    assert all(link.startswith("#") and link[1:] in reader.ids for link in reader.links)
    assert not reader.tags & {"link", "img", "iframe", "a"}
    assert "@import" not in page
    assert "http" not in page.replace("http://www.w3.org", "")
    assert set(re.findall(r"url\((.)", page)) <= {"#"}
    assert page.count("<?xml") == 0


def test_what_comes_from_data_is_escaped_and_white_space_shows(page):
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<code>⏎␣&lt;b&gt;</code>" in page


def test_the_page_says_what_was_measured(page):
    [title] = re.findall(r"<h1>(.*?)</h1>", page)
    assert "the toy decoder" in title
    assert "quantized to about 4 bits" in page
    assert CONSTANTS["weights_sha256"] in page
    assert 'id="command">glassesjax collapse toy<' in page


def test_the_same_rows_give_the_same_page(page):
    assert page == page_of(made_rows(token="\n <b>", signal=lambda n: 1 / n if n < 16 else 0.0))


LENGTHS = (8, 32, 64, 128)  # noise of bf16 is 1 / 32


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "At n = 128 rounding error in bf16 hides the difference of n and n + 1 tokens in"
         " 2 of 2 prompt families, in f32 in none"),
        ({"formats": ("f32",)},
         "At n = 128 the difference of n and n + 1 tokens is detectable in f32"),
        ({"formats": ("f64",)}, "is real in 2 of 2 prompt families, in float64"),
        ({"signal": lambda n: 0.0}, "the same representation at every length, to within float64"),
    ],
    ids=["hidden", "detectable", "reference only", "equal"],
)  # fmt: skip
def test_the_first_figure_is_titled_by_the_answer(changes, text):
    assert text in answer(page_of(lengths=LENGTHS, **changes))


@pytest.mark.parametrize("shorter", [1e-4, None], ids=["not detectable", "not finite"])
def test_the_answer_at_the_longest_length_is_none_for_shorter_ones(shorter):
    page = page_of(lengths=LENGTHS, signal=lambda n: shorter if n == 8 else 1.0)
    text = "At n = 128 the difference of n and n + 1 tokens is detectable in f32 and bf16"
    assert answer(page) == text


def test_a_model_that_is_not_finite_has_no_other_answer():
    rows = [row | {"finite": False} for row in made_rows(lengths=LENGTHS)]
    assert answer(page_of(rows)) == (
        f"The model is not finite in {len(rows)} of {len(rows)} rows: these have no result"
    )


def test_findings_are_numbers_of_the_summary():
    result = made_result(lengths=LENGTHS)
    page, summary = result.files()["index.html"], result.summary
    first, left, *rest = findings(page)
    assert first == f"n = {summary.of(summary.formats[1].undetectable[0]).undetectable_from}"
    assert left == number(summary.of(summary.reference.furthest).ratio)
    assert len(rest) <= 2


def test_each_family_under_each_encoding_is_a_record_of_the_table():
    page = page_of(positions=("none", "alibi"), lengths=(1, 4), formats=("bf16",))
    assert re.findall(r'<tbody data-positions="(\w+)"', page) == ["none"] * 2 + ["alibi"] * 2
    assert {"No positions", "ALiBi"} <= set(Reader(page).text)
    assert page.count('data-filter="positions:') == 3


def test_outside_the_theorem_is_said_of_each_family():
    """Of runs after a mark the hypothesis holds at every length, of runs before a zero at none."""
    rows = made_rows(lengths=(1, 4), formats=("bf16",))
    count = lambda rows: page_of(rows).count('<span class="out">outside</span>')
    assert count(rows) == 1
    assert count([row | {"repeats_last": row["length"] > 1} for row in rows]) == 2


@pytest.mark.parametrize(
    "rows",
    [
        made_rows(lengths=(8,), formats=("e4m3fn",)),
        made_rows(formats=("f64",)),
        made_rows(signal=lambda n: None, formats=("f16",)),
        made_rows(families=("unknown<family",), formats=("e5m7",)),
        [r for r in made_rows() if (r["format"], r["family"]) != ("bf16", "ones_zero")],
    ],
    ids=["one length", "reference only", "not finite", "unknown names", "cut off"],
)
def test_poor_rows_still_give_a_whole_page(rows):
    assert Reader(page_of(rows)).open == []


def test_several_encodings_have_one_table_at_the_slider():
    names, families = ("none", "rotary"), ("ones_bos", "ones_zero")
    page = made_result(positions=names, lengths=LENGTHS).files()["index.html"]
    assert page.count('type="range"') == 1
    rows = [f"{name} {family}" for family in families for name in names]
    assert sorted(re.findall(r'data-row="([^"]*)" data-field="distance"', page)) == sorted(rows)
    assert 'type="range"' not in made_result(positions=names, lengths=(8,)).files()["index.html"]


def fold(page):
    return page.partition("Theorem 4.2, layer by layer")[2].partition("</details>")[0]


def test_the_layers_of_each_family_to_which_the_theorem_applies():
    text = fold(page_of())
    assert text.count('<th scope="row">') == 1  # of two families one repeats its last token
    cells = re.findall(r"<td[^>]*>(.*?)</td>", text)
    assert cells == ["0", "0.12", "4096", "R4", "none"]
    lost = fold(page_of(layers_bound=None, without_bound=["R2", "R5"]))
    assert "not finite" in lost
    assert "R2 R5" in lost


def test_rows_of_before_the_layers_were_measured_say_so():
    rows = [{name: row[name] for name in row if name not in LAYERS} for row in made_rows()]
    assert "Not measured" in fold(page_of(rows))


def test_an_exceeded_inequality_is_the_answer_and_a_failure():
    found = made_result(exceeded=["R1", "R3"], positions=("none", "rotary"))
    [first, second] = found.summary.violations
    assert first.inequalities == second.inequalities == ("R1", "R3")
    assert STUDY.violations(found.summary)[1].count("rotary") == 1
    assert "R1" in answer(page_of(exceeded=["R1"]))
    assert not STUDY.violations(made_result().summary)
