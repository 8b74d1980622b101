import html.parser
import re

import pytest
from studies.collapse.made_rows import CONSTANTS, made_result, made_rows

from glassesjax.report.markup import format_name
from glassesjax.studies.collapse.page import collapse_page

VOID = {"meta"}


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


def page_of(rows):
    result = made_result(rows)
    return collapse_page(result.run, result.summary)


@pytest.fixture(scope="module")
def page():
    rows = made_rows(token="\n <b>", signal=lambda n: 1 / n if n < 16 else 0.0)
    return page_of(rows)


def test_the_page_is_whole_and_stands_alone(page):
    reader = Reader(page)
    assert reader.open == []
    assert len(reader.ids) == len(set(reader.ids))
    assert all(link.startswith("#") and link[1:] in reader.ids for link in reader.links)
    assert not reader.tags & {"script", "link", "img", "iframe", "a"}
    assert "@import" not in page
    assert set(re.findall(r"url\((.)", page)) <= {"#"}
    assert page.count("<?xml") == 0


def test_what_comes_from_data_is_escaped_and_white_space_shows(page):
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<code>⏎␣&lt;b&gt;</code>" in page


def test_the_page_says_what_was_measured(page):
    text = " ".join(Reader(page).text)
    [title] = re.findall(r"<h1>(.*?)</h1>", page)
    assert title.endswith(" toy decoder")
    assert "quantized to about 4 bits" in text
    assert CONSTANTS["weights_sha256"] in text


def test_the_hypothesis_on_the_prompts_has_a_badge():
    """Of runs after a mark it holds at every length, of runs before another token at none."""
    badges = lambda rows: re.findall(r'class="holds (\w+)"', page_of(rows))
    rows = made_rows(lengths=(1, 4), formats=("bf16",))
    assert sorted(badges(rows)) == ["all", "none"]
    late = [row | {"repeats_last": row["length"] > 1} for row in rows]
    assert badges(late) == ["some", "some"]


def test_the_same_rows_give_the_same_page(page):
    rows = made_rows(token="\n <b>", signal=lambda n: 1 / n if n < 16 else 0.0)
    assert page_of(rows) == page


def test_several_encodings_have_a_section_each():
    rows = made_rows(positions=("none", "alibi"), lengths=(1, 4), formats=("bf16",))
    text = Reader(page_of(rows)).text
    assert {"No positions", "ALiBi", "Table: every family and format"} <= set(text)


@pytest.mark.parametrize(
    "rows",
    [
        made_rows(lengths=(8,), formats=("e4m3fn",)),
        made_rows(formats=("f64",)),
        made_rows(signal=lambda n: None, formats=("f16",)),
        made_rows(families=("unknown<family",), formats=("e5m7",)),
        [r for r in made_rows() if (r["format"], r["family"]) != ("bf16", "ones_zero")],
    ],
    ids=["one length", "wide only", "not finite", "unknown names", "cut off"],
)
def test_poor_rows_still_give_a_whole_page(rows):
    assert Reader(page_of(rows)).open == []


def test_every_format_with_arithmetic_of_its_own_has_a_tile():
    formats = ("f64", "f32", "bf16", "f16", "e4m3fn", "e5m2")
    page = page_of(made_rows(formats=formats, lengths=(1, 4)))
    tiles = page.partition('<ul class="tiles">')[2].partition("</ul>")[0]
    assert [name for name in formats if format_name(name) in tiles] == list(formats[1:])
    assert tiles.count("<li>") == len(formats)  # the last one is the certificate's
