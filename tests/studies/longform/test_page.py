"""Texts in numbers, in words and on a page, for made rows whose means are known by hand."""

import html
import math
import re
from xml.etree import ElementTree

from studies.longform.made_longform import made, made_result, run_of
from wording import says

from glassesjax.report.canvas import to_svg
from glassesjax.studies.longform.page import FIRST, longform_figure, longform_page
from glassesjax.studies.longform.sentences import longform_headlines
from glassesjax.studies.longform.summary import full_perplexity, summarize

LONG = "word " * 100


def lines_of(rows):
    return longform_headlines(summarize(run_of(rows)))


ROWS = [
    made("full", 200, 0, "<b>&", nll=0.0),
    made("full", 200, 1, LONG, nll=2.0, ended=False),
    made("tova", 64, 0, "two", nll=1.0, agrees=2, repetition=0.5),
    made("tova", 64, 1, "three", nll=3.0, agrees=4, repetition=1.0),
]


def test_sentences_give_the_means():
    full, tova = lines_of(ROWS)
    assert says(full, "full", 1, 2, 8, "25%", f"{math.e:.1f}")
    assert says(tova, "tova", 64, 2, 2, 8, "75%", f"{math.e**2:.1f}", "3.0")


def test_what_is_no_number_is_said_and_not_averaged():
    empty = made("tova", 64, 0, "", length=0)
    absent = ("full_nll", "finite", "full_perplexity", "repetition")
    short = [{name: value for name, value in empty.items() if name not in absent}, ROWS[3]]
    [said] = lines_of(short)
    assert says(said, "100%", f"{math.e**3:.1f}")
    [said] = lines_of(short[:1])
    assert said.count("unknown") == 2  # the share and the perplexity
    assert "%" not in said
    [cell] = summarize(run_of([made("tova", 64, 0, "x", nll=1e6)])).cells
    assert cell.perplexity == math.inf


def test_the_figure_has_a_dot_a_text():
    rows = run_of(ROWS).rows
    top, bottom = longform_figure(rows).axes
    for axes, values in (
        (top, [row.repetition for row in rows]),
        (bottom, [full_perplexity(row) for row in rows]),
    ):
        drawn = [value for line in axes.lines for value in line.get_ydata()]
        assert drawn == values
    ElementTree.fromstring(to_svg(longform_figure(rows), "x"))


def test_the_page_is_whole_and_escapes_texts():
    page = longform_page(made_result(ROWS))
    assert page == longform_page(made_result(ROWS))
    assert "<b>&" not in page
    assert "&lt;b&gt;&amp;" in page
    assert "<script" not in page
    for text in lines_of(ROWS):
        assert html.escape(text) in page
    assert page.count("<h3>") == 2
    assert f"{LONG.strip()[:FIRST]}…" in page


def test_texts_of_a_diverged_model_are_drawn_and_said_to_be_its():
    lost = {"nll": None, "repetition": None}
    rows = [made("full", 200, 0, "0", **lost), made("tova", 64, 0, "0", **lost)]
    page = longform_page(made_result(rows))
    assert page.count("<svg") == 1
    assert page.count("not finite, in 1 of 1 texts") == 2
    assert not re.search(r"\bnan\b", page)
