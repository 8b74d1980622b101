"""The generate page on rows whose every number is known."""

import re

import pytest
from studies.collapse.test_page import Reader
from studies.generate.made_generate import LAYERS, made_result, made_rows, run_of
from wording import says

from glassesjax.errors import BadInput
from glassesjax.studies.generate.page import generate_page
from glassesjax.studies.generate.sentences import generate_headlines, size
from glassesjax.studies.generate.summary import summarize
from glassesjax.studies.generate.texts import PROMPT_SHOWN, Text, Texts, shaded


def page_of(rows):
    return generate_page(made_result(rows))


@pytest.fixture(scope="module")
def page():
    return page_of(made_rows())


def test_the_page_is_whole_and_stands_alone(page):
    reader = Reader(page)
    assert reader.open == []
    assert not reader.tags & {"script", "link", "img", "iframe", "a"}
    assert "http" not in page
    assert "url(" not in page


def test_what_comes_from_data_is_escaped_and_white_space_shows(page):
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert ">&lt;b&gt;</span>" in page
    assert "> a<i>⏎</i>\n</span>" in page


def test_the_ground_is_the_share_of_layers_that_hold_the_token(page):
    shades = re.findall(r'position (\d), ([^:]*): [^"]*" style="--i:(\d+)%"', page)
    bounded = [(int(position), int(share)) for position, _, share in shades[:6]]
    assert bounded == [(0, 100), (1, 50), (2, 0), (3, 100), (4, 25), (5, 0)]
    titles = re.findall(r'title="position (\d), ([^"]*)"', page)[:6]
    assert says(titles[1][1], 2, 4, 5)  # layers that hold it, of how many, first dropped after
    assert says(titles[2][1], 0, 4, 3)
    assert titles[5][0] == "5"
    assert re.search(r"\d", titles[5][1]) is None, "it was never read"


def test_the_first_token_that_differs_is_marked_in_both_texts(page):
    marked = re.findall(r'class="parts[^"]*">([^<]*)<', page)
    assert marked == ["y", "w"]


def test_a_token_that_ends_the_text_is_shown_by_its_name(page):
    assert 'class="end">&lt;end&gt;</span>' in page


def test_the_sentences_say_what_the_rows_say():
    state, written, held, beside = generate_headlines(summarize(run_of(made_rows())))
    assert says(state, "tova", 2, "3.0 KiB", 6, "7.0 KiB", 2.3)
    assert says(written, 3, 3)
    assert says(held, 5, 2, 1)  # tokens that were read, held by all layers, by none
    assert says(beside, 1)


def test_without_a_second_text_nothing_is_said_of_it():
    rows = made_rows(policies=("tova",))
    assert len(generate_headlines(summarize(run_of(rows)))) == 3
    page = page_of(rows)
    assert "parts" not in page.split("<body>")[1]


def test_the_order_of_the_rows_means_nothing(page):
    assert page_of(made_rows()[::-1]) == page


def test_of_a_long_prompt_the_last_tokens_are_shown():
    text = Texts(run_of(made_rows()).rows)("tova", 0)
    long = Text([text.prompt[0]] * 5 + [text.prompt[2]] * PROMPT_SHOWN, text.answer)
    shown = shaded(long, None, cut=len(long.prompt) - PROMPT_SHOWN, num_layers=LAYERS)
    assert "… 5 tokens before" in shown
    assert "&lt;b&gt;" not in shown
    assert shown.count(">c</span>") == PROMPT_SHOWN


@pytest.mark.parametrize(
    ("count", "said"),
    [(1023, "1023 B"), (1024, "1.0 KiB"), (3 * 2**20, "3.0 MiB"), (200 * 2**30, "200 GiB")],
)
def test_bytes_are_told_in_the_unit_that_suits_them(count, said):
    assert size(count) == said


@pytest.mark.parametrize("lacking", [("full", 1), ("tova", 0)])
def test_a_run_that_was_cut_off_within_a_text_is_one_line(lacking):
    rows = [row | {"prompt": prompt} for prompt in (0, 1) for row in made_rows()]
    summarize(run_of(rows))
    kept = [r for r in rows if (r["policy"], r["prompt"]) != lacking or r["kind"] == "prompt"]
    with pytest.raises(BadInput, match="Expected what {} wrote after prompt {}".format(*lacking)):
        summarize(run_of(kept))
