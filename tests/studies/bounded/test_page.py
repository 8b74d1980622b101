"""The bounded page on rows whose every number is known."""

import re

import pytest
from studies.collapse.made_rows import PROVENANCE
from studies.collapse.test_page import Reader
from wording import says

from glassesjax.report.canvas import to_svg
from glassesjax.studies.bounded.figures import collapse_bounded_figure, heard_figure
from glassesjax.studies.bounded.page import bounded_page
from glassesjax.studies.bounded.panels import panels
from glassesjax.studies.bounded.sentences import (
    bounded_headlines,
    evicted_share,
    held_shares,
    leads,
    loudest_dropped,
)

SHARED = {"study": "bounded", "model": "toy", "layers": 3, "width": 64, "dtype": "float64"}
SHARED |= {"weights": "toy seed 0", "seed": 0, "positions": "none"}


def runs(policy, slots, gaps, least=None):
    """Distances by length; zero is equal."""
    head = {**SHARED, "kind": "collapse", "policy": policy, "slots": slots, "family": "ones_bos"}
    return [
        {
            **head,
            "length": n,
            "norm": "l2",
            "distance": gap,
            "resolution": 1e-15,
            "equal": gap == 0,
            "equal_from": least,
            "prompt_tokens": n + 1,
        }
        for n, gap in gaps.items()
    ]


def heard(policy, shares, held):
    head = {**SHARED, "kind": "influence", "policy": policy, "slots": 2, "family": None}
    head |= {"length": None, "norm": None, "spectral": None, "log10_repaired": None}
    return [
        {
            **head,
            "position": position,
            "token_text": "abcd"[position],
            "squared_share": share,
            "frobenius": share,
            "pi": share,
            "held_layers": layers,
            "reaches": share > 0,
        }
        for position, (share, layers) in enumerate(zip(shares, held, strict=True))
    ]


ROWS = [
    *runs("full", 9, {1: 1.0, 4: 0.25, 8: 0.125}),
    *runs("window", 2, {1: 1.0, 4: 0.0, 8: 0.0}, least=4),
    *heard("tova", (0.0, 0.25, 0.5, 0.25), (0, 0, 1, 3)),
]
SETTINGS = {"prompt": "<script>alert(1)</script>"}


@pytest.fixture(scope="module")
def page():
    return bounded_page(ROWS, SETTINGS, PROVENANCE)


def test_the_page_is_whole_and_stands_alone(page):
    reader = Reader(page)
    assert reader.open == []
    assert len(reader.ids) == len(set(reader.ids))
    assert not reader.tags & {"script", "link", "img", "iframe", "a"}
    assert set(re.findall(r"url\((.)", page)) <= {"#"}
    assert "http" not in page.replace("http://www.w3.org", "")
    assert "&lt;script&gt;" in page
    assert page.count("<svg") == 2


def test_sentences_say_what_the_rows_say():
    runs_said, heard_said = bounded_headlines(ROWS)
    assert says(runs_said, "full", 0.12, 8)
    assert says(runs_said, "window", 2, 4, 4)  # slots, equal from, must be from
    assert says(heard_said, 2, 4, "25.0%")  # tokens in no layer, of how many, their share
    assert says(heard_said, "0.0%", "25.0%")  # of the first token and of the last


def test_influence_by_how_many_layers_still_hold_a_token(page):
    mine = [row for row in ROWS if row["kind"] == "influence"]
    assert held_shares(mine) == [(2, 0.25), (0, 0.0), (1, 0.5), (0, 0.0), (1, 0.25)]
    assert [row["position"] for row in loudest_dropped(mine)] == [1]
    assert says(bounded_headlines(ROWS)[1], "'b'", 1, "25.0%")


def test_the_most_influence_is_named_only_beyond_sampling_error():
    rows = [{"frobenius": value, "standard_error": 0.3} for value in (2.0, 1.1)]
    assert leads(rows)  # 0.9 against twice 0.42
    assert not leads([rows[0], rows[1] | {"frobenius": 1.2}])
    assert leads([{"frobenius": 2.0, "standard_error": None}, {"frobenius": 1.9}])  # exact
    assert not leads([{"frobenius": 2.0}, {"frobenius": 2.0}])
    assert leads(rows[:1])
    assert not leads([])


def test_what_cannot_be_is_told_at_the_end():
    runs = [row for row in ROWS if row["kind"] == "collapse"]
    broken = [{**row, "equal": False} for row in runs]
    _, first, second = bounded_headlines(broken)
    assert says(first, 2, 4)  # slots and length
    assert says(second, 2, 8)


def test_the_same_rows_give_the_same_figures_and_each_kind_stands_alone(page):
    assert bounded_page(ROWS, SETTINGS, PROVENANCE) == page
    collapse = [row for row in ROWS if row["kind"] == "collapse"]
    influence = [row for row in ROWS if row["kind"] == "influence"]
    assert bounded_page(collapse, SETTINGS, PROVENANCE).count("<svg") == 1
    assert bounded_page(influence, SETTINGS, PROVENANCE).count("<svg") == 1
    assert "window at 2" in to_svg(collapse_bounded_figure(collapse), "a")
    assert "none, tova at 2" in to_svg(heard_figure(influence), "b")
    with pytest.raises(ValueError, match="run the study first"):
        bounded_page([], SETTINGS, PROVENANCE)


def test_rows_of_a_diverged_model_are_drawn_and_said_to_be_its():
    lost = dict.fromkeys(("distance", "resolution", "equal", "frobenius", "squared_share", "pi"))
    rows = [row | {name: lost[name] for name in lost if name in row} for row in ROWS]
    rows = [{**row, "finite": False} for row in rows]
    page = bounded_page(rows, SETTINGS, PROVENANCE)
    assert Reader(page).open == []
    assert page.count("<svg") == 2
    assert page.count("is not finite, in 3 of 3 lengths") == 2
    assert "not finite, in 4 of 4" in page


def test_rows_of_earlier_versions_get_shares_of_squares():
    old = [
        {name: value for name, value in row.items() if name != "squared_share"}
        for row in heard("tova", (1.0, 2.0, 2.0, 4.0), (0, 0, 1, 3))
    ]
    (mine,) = panels(old, "influence").values()
    assert [row["squared_share"] for row in mine] == [0.04, 0.16, 0.16, 0.64]
    assert evicted_share(mine) == 0.2
