"""The retention page on rows made by hand: its answer, numbers, figures, text, markup."""

import dataclasses
import itertools
import json
import re

import numpy as np
import pytest
from studies.collapse.test_page import Reader, answer, findings
from studies.retention.made_retention import SINK, TOVA, made_cell_of, made_rows, run_of

from glassesjax.cache.obstacles import OBSTACLES
from glassesjax.cache.replay import retained
from glassesjax.cache.retention import mean_lifetime
from glassesjax.errors import BadInput
from glassesjax.files import to_json
from glassesjax.report.maps import coarse
from glassesjax.studies.retention.cells import (
    class_ratio,
    paper_slots,
    read_cells,
)
from glassesjax.studies.retention.charts import (
    BARS,
    block_counts,
    block_edges,
    classes_chart,
    depth_chart,
    early_chart,
    layers_chart,
    positions_chart,
)
from glassesjax.studies.retention.page import token_values, values
from glassesjax.studies.retention.paper import PAPER_SLOTS, PAPER_STEPS
from glassesjax.studies.retention.records import CLASS_NAMES, CLASS_TITLES, ROWS
from glassesjax.studies.retention.run import result
from glassesjax.studies.retention.summary import (
    cell_summary,
    class_pairs,
    paper_correlation,
    summarize,
)
from glassesjax.tasks.word_classes import CLASSES

BOTH = np.concatenate([TOVA, SINK]), SINK[[0, 0]]  # two decisions a layer


def page_of(rows, **changes):
    return result(run_of(rows, **changes)).files()["index.html"]


def fits():
    return made_rows((("tova", 6),), (np.full((1, 6), 6, np.int32),))


@pytest.fixture(scope="module")
def page():
    return page_of(made_rows(cells=(("tova", 3), ("tova-head", 3))))


def test_the_page_is_whole_and_stands_alone(page):
    reader = Reader(page)
    assert reader.open == []
    assert len(reader.ids) == len(set(reader.ids))
    outside = [link for link in reader.links if not link.startswith("data:image/png;base64,")]
    assert all(link.startswith("#") and link[1:] in reader.ids for link in outside)
    assert not reader.tags & {"link", "img", "iframe", "a"}
    assert "http" not in page.replace("http://www.w3.org", "")


def test_what_comes_from_data_is_escaped_and_white_space_shows(page):
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "> &lt;b&gt;</span>" in page
    assert ">⏎\n</span>" in page


def test_the_same_rows_give_the_same_page(page):
    assert page_of(made_rows(cells=(("tova", 3), ("tova-head", 3)))) == page
    assert "quantized to about 4 bits" in page
    assert "quantized" not in page_of(made_rows(), weights="toy seed 0")


def test_the_numbers_by_hand():
    whole = summarize(run_of(made_rows()))
    (cell,) = whole.cells
    # Of three cached, TOVA's stream has 3, 3 and 2 recent ones, the sink's always 2.
    assert (cell.recent_share, cell.recent_least, cell.recent_most) == pytest.approx(
        (7 / 9, 2 / 3, 8 / 9)
    )
    # The first lives 4 and 6 steps; the five after it 4 4 3 2 1 and 3 3 3 2 1.
    assert (cell.first_cached, cell.decisions, cell.first_steps) == (1, 2, 5)
    assert (cell.early_tokens, cell.early_steps) == (5, pytest.approx(2.6))
    # After steps 3, 4 and 5: {1,2,3} and {0,2,3}, {2,3,4} and {0,3,4}, {2,4,5} and {0,4,5}.
    assert (cell.overlap, cell.overlap_next) == (0.5, 0.5)
    assert (cell.cached_somewhere, cell.cached_everywhere) == pytest.approx((2 / 3, 1 / 3))
    assert (whole.evicting, whole.least_recent) == (1, cell)
    assert (whole.keep_first, whole.evict_first, whole.kept_least) == ([], [], None)
    assert (whole.first_least, whole.first_most) == (0.5, 0.5)


def test_policies_by_what_becomes_of_the_first_token():
    cells = (("a", 3), ("b", 3))
    rows = [*made_rows(cells[:1], (SINK,)), *made_rows(cells[1:], (TOVA,))]
    whole = summarize(run_of(rows))
    assert (whole.keep_first, whole.evict_first) == (["a"], ["b"])
    assert (whole.kept_least, whole.first_least) == (1, 0)
    assert (whole.recent_least, whole.recent_most) == pytest.approx((2 / 3, 8 / 9))


MANY = (("tova", 3), ("h2o", 3))


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        (made_rows(), "78% of what tova caches is among the last 3 positions; 1 of 2 layers keep"),
        (made_rows(MANY), "78% of what is cached is recent; the first token stays in 50% of"),
        (made_rows(MANY, (SINK,)), "stays in 100% of decisions with tova and h2o"),
        (made_rows(MANY, (TOVA,)), "stays nowhere with tova and h2o"),
        (fits(), "All 6 tokens fit into the cache: nothing is evicted"),
        (made_rows(finite=False), "The model is not finite in 15 of 15 rows"),
        (made_rows(MANY)[:-1], "(cut off: h2o not whole)"),
    ],
    ids=["one", "several", "kept", "evicted", "fits", "not finite", "cut off"],
)
def test_the_first_figure_is_titled_by_the_answer(rows, text):
    run = run_of(rows)
    policies = list(dict.fromkeys(row["policy"] for row in rows))
    page = result(dataclasses.replace(run, settings={**run.settings, "policies": policies})).files()
    assert text in answer(page["index.html"])
    assert Reader(page["index.html"]).open == []


def test_findings_are_numbers_of_the_summary():
    assert findings(page_of(made_rows())) == ["67% to 89%", "5.0 steps", "1", "50%"]
    assert findings(page_of(fits())) == []
    assert findings(page_of(made_rows(text_perplexity=3.55)))[-1] == "3.55"


def test_each_policy_and_size_is_a_record_and_so_is_each_class_of_it(page):
    assert re.findall(r'<tbody data-policy="([^"]+)"', page) == ["tova", "tova-head"]
    classes = len(made_cell_of().classes)
    assert re.findall(r'<tbody data-cell="([^"]+)"', page).count("tova-3") == classes


def test_the_text_has_a_ground_for_each_cell(page):
    assert 'style="--0:50%;--1:50%"' in page
    assert page.count('type="radio"') == 2
    first, second, *_ = token_values([made_cell_of()])
    assert [*first] == ["position", "word_class", "tova-3", "tova-3_steps"]
    assert [*first.values()] == [0, "first token", 0.5, 5]
    assert [*second.values()] == [1, "determiner", 0, 3.5]


def marked_window(length, slots):
    """A window but for marks and line ends, which are all kept: none of ten tokens is another."""
    evicted_at = np.full(length, length, np.int32)
    others = [at for at in range(length) if at % 6 not in (3, 4)]
    for step, position in zip(range(slots, length), others, strict=False):
        evicted_at[position] = step
    return evicted_at[None]


def test_classes_are_multiples_of_the_mean_with_intervals_over_blocks():
    length, slots = 1024, 512
    cell = made_cell_of((("tova", slots),), (marked_window(length, slots),))
    mean = mean_lifetime(slots, length)
    marks = np.mean([length - at for at in range(3, length, 6)]) / mean
    own = cell_summary(cell)
    ratio = class_ratio(cell, "sentence end")
    assert ratio.value == pytest.approx(marks)
    # Its ends are steps of tokens at the text's end, which are few: the interval is wide.
    assert 1 < ratio.low < marks < ratio.high
    assert set(own.longer) == {"newline", "sentence end"}
    assert "determiner" in own.shorter
    assert len(own.longer) + len(own.shorter) + own.tied_classes == own.classes_compared
    (shown,) = [each for each in own.classes if each.title == "sentence end"]
    assert (shown.over_mean, shown.interval) == (pytest.approx(marks), ratio)
    pairs = class_pairs(cell)
    # Half of the text is the paper's 2048 of 4096.
    assert pairs["sentence end"] == (pytest.approx(marks), 1677 / 1537)
    assert pairs["other word"][1] == pytest.approx(
        np.mean([PAPER_STEPS[tag][3] for tag in CLASSES[-3].tags]) / 1537
    )
    whole = paper_correlation(cell)
    assert whole.low <= whole.value <= whole.high
    assert own.paper_correlation == whole


def test_a_short_text_tells_no_class_from_another():
    rows = made_rows((("tova", 60),), (marked_window(120, 60),))
    own = summarize(run_of(rows)).cells[0]
    assert (own.blocks, own.classes_compared, own.longer, own.shorter) == (2, 0, [], [])
    assert np.isnan(own.paper_correlation.low)
    assert findings(page_of(rows))[2] == "2"


def test_two_classes_have_no_order():
    (cell,) = read_cells(run_of(made_rows((("tova", 512),), (marked_window(1024, 512),))))
    names = list(class_pairs(cell))
    assert np.isfinite(paper_correlation(cell).value)
    for count, ordered in ((3, True), (2, False), (0, False)):
        some = cell._replace(classes={name: cell.classes[name] for name in names[:count]})
        assert bool(np.isfinite(paper_correlation(some).value)) == ordered


def test_a_window_tells_no_class_from_another():
    """All tokens live alike, but for the text's end: what differs is where a class stands."""
    window = np.minimum(np.arange(1024) + 64, 1024).astype(np.int32)[None]
    rows = made_rows((("window", 64),), (window,))
    own = summarize(run_of(rows)).cells[0]
    assert (own.longer, own.shorter) == ([], [])
    assert own.tied_classes == own.classes_compared > 0
    assert findings(page_of(rows))[2] == f"0 of {own.classes_compared}"


def test_on_random_digits_nothing_is_ranked():
    rows = made_rows((("tova", 512),), (marked_window(1024, 512),))
    for obstacle in ("random_digits", "random_weights"):
        (own,) = summarize(run_of(rows, ranking_obstacle=obstacle)).cells
        assert (own.classes_compared, own.paper_correlation) == (0, None)
        page = page_of(rows, ranking_obstacle=obstacle)
        assert findings(page)[2] == "0"
        assert OBSTACLES[obstacle] in page


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
        assert summarize(run_of(rows)).known_text == known


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
    own = cell_summary(cell)
    assert (own.first_cached, own.decisions, own.deciders) == (3, 4, "key-value heads")


@pytest.mark.parametrize("most", [1, 4, 6, 100])
def test_a_coarse_map_is_the_mean_over_blocks(most):
    both = np.concatenate([TOVA, SINK])
    held = retained(both).mean(axis=0)
    edges = np.linspace(0, 6, min(6, most) + 1).astype(int)
    blocks = [slice(a, b) for a, b in itertools.pairwise(edges)]
    wanted = [[held[rows, columns].mean() for columns in blocks] for rows in blocks]
    np.testing.assert_allclose(coarse(both, most), wanted, rtol=8 * 2.0**-53, atol=0)


def test_blocks_leave_the_first_token_by_itself():
    assert block_edges(5).tolist() == [0, 1, 2, 3, 4, 5]
    assert block_edges(1).tolist() == [0, 1]
    assert block_edges(2 * BARS + 1).tolist() == [0, *range(1, 2 * BARS + 2, 2)]
    assert block_counts(made_cell_of(), None) == [1, 0, 1, 0, 2, 2]
    assert block_counts(made_cell_of(), 0) == [0, 0, 1, 0, 1, 1]


@pytest.mark.parametrize("narrow", [False, True])
def test_each_cell_has_a_strip_of_all_positions(narrow):
    chart = positions_chart([made_cell_of(), made_cell_of((("tova", 3),), (SINK,))], narrow=narrow)
    assert len(chart.axes) == 2
    marks = [mark for mark in chart.marks if mark.axes is chart.axes[1]]
    assert [mark.text for mark in marks] == ["0 1", "1 2", "2 3", "3 4", "4 5", "5 6"]
    assert {mark.row for mark in marks} == {"tova-3"}
    assert chart.touches().count('class="drawn') == 2
    band = chart.axes[0].patches[0].get_extents()
    assert chart.axes[0].transData.inverted().transform(band)[:, 0] == pytest.approx([3, 6])


def test_the_image_of_layers_is_what_they_cache_at_the_end():
    (image,) = depth_chart(made_cell_of()).axes[0].images
    opacity = np.asarray(image.get_array())[..., 3]
    np.testing.assert_array_equal(opacity, [[0, 0, 1, 0, 1, 1], [1, 0, 0, 0, 1, 1]])


def test_lines_by_layer_and_position_have_a_series_a_cell():
    cell = made_cell_of()
    for field, known in (("recent", [8 / 9, 6 / 9]), ("first", [4, 6])):
        chart = layers_chart([cell], field)
        assert chart.axes[0].lines[-1].get_ydata() == pytest.approx(known)
        assert chart.marks[0].text.startswith("layer 0\ntova 3: ")
        assert len(chart.marks) == 2
    assert len(layers_chart([cell], "overlap").marks) == 1  # the last layer has no next one
    assert len(early_chart([cell]).marks) == 6


def test_each_class_can_be_touched():
    own = cell_summary(made_cell_of((("tova", 64),), (marked_window(128, 64),)))
    shown = [each for each in own.classes if each.tokens > 1]
    assert len(classes_chart(own).marks) == len(shown) == len(own.classes) - 1


def test_the_data_are_those_of_all_layers_and_of_each():
    every, *layers = values([made_cell_of()])
    assert (every["layer"], every["cell"], every["deciders"]) == ("all", "tova-3", 2)
    assert every["recent"] == pytest.approx(7 / 9)
    assert (every["first"], every["overlap"], every["cached"]) == (5, 0.5, "1;;1;;2;2")
    numbers = [(row["layer"], row["deciders"], row["first"]) for row in layers]
    assert numbers == [(0, 1, 4), (1, 1, 6)]
    assert [row["cached"] for row in layers] == [";;1;;1;1", "1;;;;1;1"]
    assert layers[-1]["overlap"] is None  # the last layer has no next one


def test_the_papers_column_is_the_same_share_of_the_text():
    column = lambda slots, length: paper_slots(made_cell(slots, length), PAPER_SLOTS)
    assert [column(64, 1024), column(256, 1024), column(300, 1024)] == [256, 1024, 1024]
    assert [column(8, 1024), column(1000, 1024)] == [None, None]


def made_cell(slots, length):
    window = np.minimum(np.arange(length) + slots, length).astype(np.int32)[None]
    return made_cell_of((("window", slots),), (window,))


def test_the_papers_table_names_our_tags():
    assert {tag for row in CLASSES for tag in row.tags} | {"average"} == set(PAPER_STEPS)
    assert all(len(steps) == len(PAPER_SLOTS) for steps in PAPER_STEPS.values())
    # Its averages follow from slots and length: texts of 4096 tokens, whole steps.
    averages = [round(mean_lifetime(slots, 4096)) for slots in PAPER_SLOTS]
    assert list(PAPER_STEPS["average"]) == averages
