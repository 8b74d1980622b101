"""The bounded page on rows whose every number is known."""

import re

import pytest
from studies.bounded.made_bounded import made_distances, made_tokens, result_of, run_of
from studies.collapse.test_page import Reader
from wording import says

from glassesjax.report.canvas import to_svg
from glassesjax.runs.record import to_row
from glassesjax.studies.bounded.page import bounded_page
from glassesjax.studies.bounded.panels import token_panels
from glassesjax.studies.bounded.records import ROWS as SCHEMA
from glassesjax.studies.bounded.sentences import bounded_headlines
from glassesjax.studies.bounded.summary import leads


def page_of(rows):
    result = result_of(rows)
    return bounded_page(result.run, result.summary)


def lines_of(rows):
    return bounded_headlines(result_of(rows).summary)


ROWS = [
    *made_distances("full", 9, {1: 1.0, 4: 0.25, 8: 0.125}),
    *made_distances("window", 2, {1: 1.0, 4: 0.0, 8: 0.0}, least=4),
    *made_tokens("tova", (0.0, 0.25, 0.5, 0.25), (0, 0, 1, 3)),
]


@pytest.fixture(scope="module")
def page():
    return page_of(ROWS)


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
    runs_said, heard_said = lines_of(ROWS)
    assert says(runs_said, "full", 0.12, 8)
    assert says(runs_said, "window", 2, 4, 4)  # slots, equal from, must be from
    assert says(heard_said, 2, 4, "25.0%")  # tokens in no layer, of how many, their share
    assert says(heard_said, "0.0%", "25.0%")  # of the first token and of the last


def test_influence_by_how_many_layers_still_hold_a_token(page):
    (text,) = result_of(ROWS).summary.texts
    assert text.by_layers == [(2, 0.25), (0, 0.0), (1, 0.5), (0, 0.0), (1, 0.25)]
    assert [token.position for token in text.largest] == [1]
    assert says(lines_of(ROWS)[1], "'b'", 1, "25.0%")


def test_the_most_influence_is_named_only_beyond_sampling_error():
    def first(*norms, error=None):
        beside = {} if error is None else {"standard_error": error}
        each = made_tokens("tova", norms, (0,) * len(norms))
        return leads([SCHEMA.read({**row, **beside}) for row in each])

    assert first(2.0, 1.1, error=0.3)  # 0.9 against twice 0.42
    assert not first(2.0, 1.2, error=0.3)
    assert not first(2.0, 1.1, error=float("nan"))
    assert first(2.0, 1.9)  # exact
    assert not first(2.0, 2.0)
    assert first(2.0)
    assert not first()


def test_what_cannot_be_is_told_at_the_end():
    runs = [row for row in ROWS if row["kind"] == "collapse"]
    broken = [{**row, "equal": False} for row in runs]
    _, first, second = lines_of(broken)
    assert says(first, 2, 4)  # slots and length
    assert says(second, 2, 8)


def test_the_same_rows_give_the_same_figures_and_each_kind_stands_alone(page):
    assert page_of(ROWS) == page
    collapse = [row for row in ROWS if row["kind"] == "collapse"]
    influence = [row for row in ROWS if row["kind"] == "influence"]
    assert page_of(collapse).count("<svg") == 1
    assert page_of(influence).count("<svg") == 1
    assert "window at 2" in to_svg(result_of(collapse).figures["collapse"](), "a")
    assert "none, tova at 2" in to_svg(result_of(influence).figures["influence"](), "b")
    assert set(result_of(collapse).figures) == {"collapse"}
    assert set(result_of(influence).figures) == {"influence"}


def test_rows_of_a_diverged_model_are_drawn_and_said_to_be_its():
    names = ("distance", "resolution", "frobenius", "spectral", "squared_share", "rollout")
    lost = dict.fromkeys(names)
    rows = [row | {name: lost[name] for name in lost if name in row} for row in ROWS]
    rows = [
        {name: row[name] for name in row if name != "equal"} | {"finite": False} for row in rows
    ]
    page = page_of(rows)
    assert Reader(page).open == []
    assert page.count("<svg") == 2
    assert page.count("is not finite, in 3 of 3 lengths") == 2
    assert "not finite, in 4 of 4" in page


def test_rows_of_earlier_versions_get_shares_of_squares():
    newer = {"along", "input_norm"}
    old = [
        {name: row[name] for name in row if name not in newer and "squared_share" not in name}
        for row in made_tokens("tova", (1.0, 2.0, 2.0, 4.0), (0, 0, 1, 3))
    ]
    (mine,) = token_panels(run_of(old).rows).values()
    assert [token.share for token in mine] == [0.04, 0.16, 0.16, 0.64]
    (text,) = result_of(old).summary.texts
    assert text.evicted == (2, 0.2)


def test_rows_of_schema_1_become_the_same_records():
    before = {"cached_layers": "held_layers", "last_cached": "last_held", "rollout": "pi"}
    absent = dict.fromkeys(("family", "length", "norm", "position", "equal_from"))
    errors = dict.fromkeys(("standard_error", "along_standard_error"))
    for row in ROWS:
        old = {"method": "exact", "probes": None, "width": 64, "layers": 3, **absent, **errors}
        old |= {before.get(name, name): value for name, value in row.items()}
        constants, new = SCHEMA.upgraded(old)
        assert new == to_row(SCHEMA.read(new)) == row
        assert constants == {"method": "exact", "model_dim": 64, "num_layers": 3}


def test_the_headline_counts_collapses_and_what_evicted_tokens_carry():
    line = result_of(ROWS).headline
    assert says(line, 1, 2, "tova", 2, "25.0%")


def test_a_share_that_the_first_versions_had_is_in_no_record():
    """It differs from token to token: each row would have a record of its own."""
    for share in (0.25, 0.75):
        constants, _ = SCHEMA.upgraded({"kind": "influence", "influence_share": share, "width": 4})
        assert constants == {"model_dim": 4}
