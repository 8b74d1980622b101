"""The retention page on rows made by hand: sentences, figures, text, markup."""

import itertools
import json
import re

import numpy as np
import pytest
from studies.collapse.test_page import Reader
from studies.retention.made_retention import SINK, TOVA, made_cell_of, made_rows, run_of
from wording import says

from glassesjax.cache.obstacles import OBSTACLES
from glassesjax.cache.replay import retained
from glassesjax.cache.retention import mean_lifetime
from glassesjax.errors import BadInput
from glassesjax.files import to_json
from glassesjax.studies.retention.cells import (
    class_ratio,
    paper_slots,
    rank_correlation,
    read_cells,
)
from glassesjax.studies.retention.figures import coarse, maps_figure
from glassesjax.studies.retention.page import retention_page
from glassesjax.studies.retention.records import CLASS_NAMES, CLASS_TITLES, ROWS
from glassesjax.studies.retention.run import result
from glassesjax.studies.retention.sentences import cell_sentences, headline, retention_headlines
from glassesjax.studies.retention.summary import (
    cell_summary,
    class_pairs,
    paper_correlation,
    summarize,
)
from glassesjax.studies.retention.words import PAPER_SLOTS, PAPER_STEPS
from glassesjax.tasks.word_classes import CLASSES

BOTH = np.concatenate([TOVA, SINK]), SINK[[0, 0]]  # two decisions a layer


def page_of(rows, **changes):
    whole = result(run_of(rows, **changes))
    return retention_page(whole.run, whole.summary)


def lines_of(rows, **changes):
    return retention_headlines(summarize(run_of(rows, **changes)))


def lines_on(cell):
    return cell_sentences(cell_summary(cell))


@pytest.fixture(scope="module")
def page():
    return page_of(made_rows(cells=(("tova", 3), ("tova-head", 3))))


def test_the_page_is_whole_and_stands_alone(page):
    reader = Reader(page)
    assert reader.open == []
    assert len(reader.ids) == len(set(reader.ids))
    outside = [link for link in reader.links if not link.startswith("data:image/png;base64,")]
    assert all(link.startswith("#") and link[1:] in reader.ids for link in outside)
    assert not reader.tags & {"script", "link", "img", "iframe", "a"}
    assert "http" not in page.replace("http://www.w3.org", "")


def test_what_comes_from_data_is_escaped_and_white_space_shows(page):
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<i>␣</i>&lt;b&gt;</span>" in page
    assert "<i>⏎</i>\n</span>" in page


def test_the_same_rows_give_the_same_page(page):
    assert page_of(made_rows(cells=(("tova", 3), ("tova-head", 3)))) == page
    assert "quantized to about 4 bits" in page
    assert "quantized" not in page_of(made_rows(), weights="toy seed 0")


def test_the_sentences_by_hand():
    said = lines_on(made_cell_of())
    # Of three held, TOVA's stream has 3, 3 and 2 recent ones, the sink's always 2.
    assert all(text.startswith("tova, 3 slots: ") for text in said)
    assert says(said[0], "78%", 3, "67%", "89%")
    # It lives 4 and 6 steps; the five after it 4 4 3 2 1 and 3 3 3 2 1.
    assert says(said[1], 1, 2, 5, 5, 2.6, 3)  # layers, of how many, steps; tokens after it, theirs
    # After steps 3, 4 and 5: {1,2,3} and {0,2,3}, {2,3,4} and {0,3,4}, {2,4,5} and {0,4,5}.
    assert says(said[-1], "50%", "50%", "67%", "33%")
    assert len(said) == 3  # no class has ten tokens


def test_the_text_says_which_class_and_how_many_layers(page):
    assert 'title="0, first token: 5 steps, held by 50%"' in page
    assert 'title="1, determiner: 3.5 steps, held by 0.0%"' in page
    assert 'title="4, newline: 2 steps, held by 100%"' in page


def marked_window(length, slots):
    """A window but for marks and line ends, which are all kept: none of ten tokens is another."""
    forgotten = np.full(length, length, np.int32)
    others = [at for at in range(length) if at % 6 not in (3, 4)]
    for step, position in zip(range(slots, length), others, strict=False):
        forgotten[position] = step
    return forgotten[None]


def test_classes_are_multiples_of_the_mean_with_intervals_over_blocks():
    length, slots = 1024, 512
    cell = made_cell_of((("tova", slots),), (marked_window(length, slots),))
    mean = mean_lifetime(slots, length)
    marks = np.mean([length - at for at in range(3, length, 6)]) / mean
    (line,) = [text for text in lines_on(cell) if "longer than the mean" in text]
    longer, shorter = line.partition(" live ")[2].partition(" (multiples")[0].split("; shorter ")
    assert f"determiner {class_ratio(cell, 'determiner').value:.2f} (0." in shorter
    found = class_ratio(cell, "sentence end")
    assert found.value == pytest.approx(marks)
    # Its ends are steps of tokens at the text's end, which are few: the interval is wide.
    assert 1 < found.low < marks < found.high
    assert longer.startswith(f"newline {class_ratio(cell, 'newline').value:.2f} (")
    assert f"sentence end {marks:.2f} ({found.low:.2f} to {found.high:.2f})" in longer
    pairs = class_pairs(cell)
    # Half of the text is the paper's 2048 of 4096.
    assert pairs["sentence end"] == (pytest.approx(marks), 1677 / 1537)
    assert pairs["other word"][1] == pytest.approx(
        np.mean([PAPER_STEPS[tag][3] for tag in CLASSES[-3].tags]) / 1537
    )
    whole = paper_correlation(cell)
    assert whole.low <= whole.value <= whole.high
    assert any("rank correlation is" in text for text in lines_on(cell))


def test_a_short_text_tells_no_class_from_another():
    cell = made_cell_of((("tova", 60),), (marked_window(120, 60),))
    said = " ".join(lines_on(cell))
    assert "no class is shown to live longer than others: 2 blocks of 64 tokens" in said
    assert "rank correlation" not in said
    assert np.isnan(paper_correlation(cell).low)


def test_a_window_tells_no_class_from_another():
    """All tokens live alike, but for the text's end: what differs is where a class stands."""
    window = np.minimum(np.arange(1024) + 64, 1024).astype(np.int32)[None]
    cell = made_cell_of((("window", 64),), (window,))
    (line,) = [text for text in lines_on(cell) if "longer than the mean" in text]
    assert "longer than the mean live none; shorter none" in line


def test_on_random_digits_nothing_is_ranked():
    rows = made_rows((("tova", 512),), (marked_window(1024, 512),))
    for obstacle in ("random_digits", "random_weights"):
        first, *lines = lines_of(rows, ranking_obstacle=obstacle)
        assert re.match("Nothing can be ranked here: random (weights on random )?digits: ", first)
        assert not any("longer" in text or "rank correlation" in text for text in lines)
        assert "Nothing can be ranked here" in page_of(rows, ranking_obstacle=obstacle)


OLD = {
    "word_class": "class", "cached": "held", "first_cached": "first_held", "evicted": "forgotten",
    "cached_somewhere": "held_somewhere", "cached_everywhere": "held_everywhere",
    "mean_first_steps": "first_steps", "first_cached_share": "first_held",
}  # fmt: skip


def as_before(row, **shared):
    """A row in the words of schema 1."""
    old = {OLD.get(name, name): value for name, value in row.items()}
    if "evicted" in row:
        old["forgotten"] = ",".join(map(str, row["evicted"]))
    if "word_class" in row:
        old["class"] = CLASS_TITLES[row["word_class"]]
    lacking = {
        "class": ["standard_error"],
        "layer": ["overlap_next", "overlap"],
        "summary": ["overlap", "text_perplexity"],
    }
    missing = {name: None for name in lacking.get(row["kind"], ()) if name not in old}
    return {**old, **missing, "item": "any", "width": 16, **shared}


@pytest.mark.parametrize("evicted", [(TOVA, SINK), (TOVA,), BOTH, (np.full((1, 6), 6),) * 2])
def test_rows_of_schema_1_are_those_of_today(evicted):
    shared = {"layers": len(evicted), "prompt_tokens": 6, "rankable": True, "text": "random digits"}
    rows = [json.loads(to_json(row)) for row in made_rows(evicted=evicted)]
    for row in rows:
        # Rows of before they said why nothing can be ranked, and of since then.
        for said in ({}, {"ranking_obstacle": OBSTACLES["random_digits"]}):
            constants, new = ROWS.upgraded(as_before(row, **shared, **said))
            assert sorted(new) == sorted(row)
            assert new == row
            assert constants == {
                "model_dim": 16, "num_layers": len(evicted), "prompt_tokens": 6,
                "text": "random_digits", "ranking_obstacle": "random_digits",
            }  # fmt: skip
    layer = next(row for row in rows if row["kind"] == "layer")
    _, damaged = ROWS.upgraded(as_before(layer) | {"forgotten": "3,x"})
    with pytest.raises(BadInput, match="list of whole number as evicted in a row, got '3,x'"):
        ROWS.read(damaged)


def test_a_perplexity_beyond_float64_is_none_that_does_not_apply():
    *_, row = made_rows(text_perplexity=np.inf)
    old = as_before(row, layers=2, prompt_tokens=6, text="ferry") | {"text_perplexity": None}
    assert ROWS.upgraded(old)[1]["text_perplexity"] is None
    assert "text_perplexity" not in ROWS.upgraded({**old, "text": "random digits"})[1]


def test_each_class_has_a_name_of_its_own():
    assert all(name.isidentifier() for name in CLASS_TITLES)
    assert len(CLASS_TITLES) == len(CLASS_NAMES) == len(CLASSES)


def test_a_text_that_the_model_may_know_is_said():
    for perplexity, known in ((3.55, True), (46.3, False), (None, False)):
        rows = made_rows(text_perplexity=perplexity)
        assert ("by heart" in lines_of(rows)[0]) == known


def test_the_headline_by_hand():
    line = headline(summarize(run_of(made_rows())))
    assert says(line, "78%", 1, 2, "layers", "tova", 3)
    assert headline(summarize(run_of(made_rows(finite=False)))).startswith("not finite, in ")


def test_a_text_that_fits_is_told_so():
    whole = np.full((1, 6), 6, np.int32)
    rows = made_rows((("tova", 6),), (whole,))
    [said] = lines_of(rows)
    assert says(said, "tova, 6 slots", 6)
    assert "%" not in said
    assert said.partition(": ")[2][1:] in page_of(rows)


def test_a_cell_that_was_cut_off_is_left_out():
    rows = made_rows(cells=(("tova", 3), ("h2o", 3)))
    assert [cell.policy for cell in read_cells(run_of(rows[:-1]))] == ["tova"]
    with pytest.raises(BadInput, match="got none that is whole among 4"):
        read_cells(run_of(rows[:4]))


def test_head_wise_decisions_are_averaged_by_layer():
    cell = made_cell_of((("tova-head", 3),), BOTH)
    assert cell.decisions == "key-value heads"
    assert cell.first_steps.tolist() == [5.0, 6.0]
    assert [layer.shape for layer in cell.evicted()] == [(2, 6), (2, 6)]
    assert says(lines_on(cell)[1], 3, "4 key-value heads")


@pytest.mark.parametrize("most", [1, 4, 6, 100])
def test_a_coarse_map_is_the_mean_over_blocks(most):
    both = np.concatenate([TOVA, SINK])
    held = retained(both).mean(axis=0)
    edges = np.linspace(0, 6, min(6, most) + 1).astype(int)
    blocks = [slice(a, b) for a, b in itertools.pairwise(edges)]
    wanted = [[held[rows, columns].mean() for columns in blocks] for rows in blocks]
    np.testing.assert_allclose(coarse(both, most), wanted, rtol=8 * 2.0**-53, atol=0)


def test_the_maps_hold_each_layer_once():
    figure = maps_figure(made_cell_of())
    assert len(figure.axes) == 1
    titles = [text.get_text() for text in figure.axes[0].texts]
    assert titles == ["layer 0, 89% recent", "layer 1, 67% recent"]
    image = np.ma.filled(figure.axes[0].images[0].get_array(), np.nan)
    assert np.nansum(image) == retained(TOVA).sum() + retained(SINK).sum()


def test_the_papers_column_is_the_same_share_of_the_text():
    column = lambda slots, length: paper_slots(made_cell(slots, length), PAPER_SLOTS)
    assert [column(64, 1024), column(256, 1024), column(300, 1024)] == [256, 1024, 1024]
    assert [column(8, 1024), column(1000, 1024)] == [None, None]


def made_cell(slots, length):
    window = np.minimum(np.arange(length) + slots, length).astype(np.int32)[None]
    return made_cell_of((("window", slots),), (window,))


def test_rank_correlation_by_hand():
    assert rank_correlation([1.0, 2.0, 3.0], [5.0, 6.0, 70.0]) == pytest.approx(1)
    assert rank_correlation([1.0, 2.0, 3.0], [3.0, 2.0, 1.0]) == pytest.approx(-1)
    # Ranks 0 1 2 3 against 0 1.5 1.5 3: 4.5 over the root of 5 times 4.5.
    assert rank_correlation([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 2.0, 9.0]) == pytest.approx(
        4.5 / 22.5**0.5
    )
    assert np.isnan(rank_correlation([1.0, 2.0], [1.0, 2.0]))
    assert np.isnan(rank_correlation([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]))


def test_the_papers_table_names_our_tags():
    assert {tag for row in CLASSES for tag in row.tags} | {"average"} == set(PAPER_STEPS)
    assert all(len(steps) == len(PAPER_SLOTS) for steps in PAPER_STEPS.values())
    # Its averages follow from slots and length: texts of 4096 tokens, whole steps.
    averages = [round(mean_lifetime(slots, 4096)) for slots in PAPER_SLOTS]
    assert list(PAPER_STEPS["average"]) == averages


def test_figures_do_not_write_a_path_for_each_token(page):
    assert len(re.findall("<path", page)) < 1500


def test_rows_of_a_diverged_model_are_drawn_and_said_to_be_its():
    page = page_of(made_rows(finite=False))
    assert Reader(page).open == []
    assert "<svg" in page
    assert "Not finite, so that what is kept is no choice" in page
    assert not re.search(r"\bnan\b", page)
