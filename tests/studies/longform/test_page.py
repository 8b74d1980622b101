"""Texts in numbers, in words and on a page, for made rows whose means are known by hand."""

import html
import math
import re
from xml.etree import ElementTree

import pytest
from wording import says

from glassesjax.report.canvas import to_svg
from glassesjax.studies.longform.cells import longform_headlines, read_cells
from glassesjax.studies.longform.page import FIRST, longform_figure, longform_page

LONG = "word " * 100


def made(policy, slots, sample, text, *, nll=0.5, agrees=8, ended=True, **changed):
    shares = {f"distinct_{size}": 0.75 for size in (1, 2, 3, 4)}
    return {
        "study": "longform", "model": "smollm2", "weights": "w", "policy": policy, "slots": slots,
        "sample": sample, "length": 8, "ended": ended, **shares, "repetition": 0.25,
        "full_nll": nll, "full_perplexity": None if nll is None else math.exp(nll),
        "agrees": agrees, "text": text, "max_tokens": 8, "temperature": 1.0, "top_p": 0.95,
        "dtype": "float32",
    } | changed  # fmt: skip


ROWS = [
    made("full", 200, 0, "<b>&", nll=0.0),
    made("full", 200, 1, LONG, nll=2.0, ended=False),
    made("tova", 64, 0, "two", nll=1.0, agrees=2, repetition=0.5),
    made("tova", 64, 1, "three", nll=3.0, agrees=4, repetition=1.0),
]


def test_sentences_give_the_means():
    full, tova = longform_headlines(ROWS)
    assert says(full, "full", 1, 2, 8, "25%", f"{math.e:.1f}")
    assert says(tova, "tova", 64, 2, 2, 8, "75%", f"{math.e**2:.1f}", "3.0")


def test_what_is_no_number_is_said_and_not_averaged():
    short = [made("tova", 64, 0, "", nll=None, repetition=math.nan), ROWS[3]]
    [said] = longform_headlines(short)
    assert says(said, "100%", f"{math.e**3:.1f}")
    [said] = longform_headlines(short[:1])
    assert said.count("unknown") == 2  # the share and the perplexity
    assert "%" not in said
    [cell] = read_cells([made("tova", 64, 0, "x", nll=0.5) | {"full_nll": 1e6}])
    assert cell.perplexity == math.inf


def test_the_figure_has_a_dot_a_text():
    top, bottom = longform_figure(ROWS).axes
    for axes, field in ((top, "repetition"), (bottom, "full_perplexity")):
        drawn = [value for line in axes.lines for value in line.get_ydata()]
        assert drawn == [row[field] for row in ROWS]
    ElementTree.fromstring(to_svg(longform_figure(ROWS), "x"))


def test_the_page_is_whole_and_escapes_texts():
    page = longform_page(ROWS, {"samples": 2}, {"backend": "cpu"})
    assert page == longform_page(ROWS, {"samples": 2}, {"backend": "cpu"})
    assert "<b>&" not in page
    assert "&lt;b&gt;&amp;" in page
    assert "<script" not in page
    for text in longform_headlines(ROWS):
        assert html.escape(text) in page
    assert page.count("<h3>") == 2
    assert f"{LONG.strip()[:FIRST]}…" in page


def test_texts_of_a_diverged_model_are_drawn_and_said_to_be_its():
    lost = {"nll": None, "finite": False, "repetition": None}
    rows = [made("full", 200, 0, "0", **lost), made("tova", 64, 0, "0", **lost)]
    page = longform_page(rows, {"samples": 1}, {"backend": "cpu"})
    assert page.count("<svg") == 1
    assert page.count("not finite, in 1 of 1 texts") == 2
    assert not re.search(r"\bnan\b", page)


def test_a_run_without_rows_is_refused():
    with pytest.raises(ValueError, match="found none"):
        longform_page([], {}, {})
