"""The bounded page on rows whose every number is known: answers, table, figures."""

import re

import numpy as np
import pytest
from studies.bounded.made_bounded import made_distances, made_tokens, result_of, run_of
from studies.collapse.test_page import Reader, answer, findings
from wording import says

from glassesjax.report.chart import COLORS, drawing
from glassesjax.runs.record import to_row
from glassesjax.studies.bounded.panels import token_panels
from glassesjax.studies.bounded.records import ROWS as SCHEMA
from glassesjax.studies.bounded.study import STUDY
from glassesjax.studies.bounded.summary import leads

RUNS = [
    *made_distances("full", 9, {1: 1.0, 4: 0.25, 8: 0.125}),
    *made_distances("window", 2, {1: 1.0, 4: 0.0, 8: 0.0}, least=4),
]
TEXT = made_tokens("tova", (0.0, 0.25, 0.5, 0.25), (0, 0, 1, 3))
ROWS = [*RUNS, *TEXT]


def page_of(rows):
    return result_of(rows).files()["index.html"]


def lost(row):
    """A row of a model that is not finite."""
    names = ("distance", "resolution", "frobenius", "spectral", "squared_share", "rollout")
    new = row | {name: None for name in names if name in row} | {"finite": False}
    return {name: value for name, value in new.items() if name != "equal"}


@pytest.fixture(scope="module")
def page():
    return page_of(ROWS)


def test_the_page_is_whole_and_stands_alone(page):
    reader = Reader(page)
    assert reader.open == []
    assert len(reader.ids) == len(set(reader.ids))
    assert not reader.tags & {"link", "img", "iframe", "a"}
    assert set(re.findall(r"url\((.)", page)) <= {"#"}
    assert "http" not in page.replace("http://www.w3.org", "")
    assert "&lt;script&gt;alert(1)" in page
    assert page_of(ROWS) == page


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        (ROWS, "With 2 slots, evicted tokens keep up to 25% of the influence; those without a path"
         " keep none"),
        (made_tokens("tova", (0.0, 1.0), (0, 3)), "evicted tokens have no influence left"),
        (made_tokens("tova", (0.5, 0.5), (1, 3)), "No token is evicted"),
        (made_tokens("full", (0.5, 0.5), (3, 3)), "No token is evicted"),
        (RUNS, "end in equal representations in 1 of 2 cases"),
        (RUNS[:3], "end in different representations"),
        ([*map(lost, ROWS)], "The model is not finite in 10 of 10 rows"),
        ([row | {"equal": False} for row in RUNS], "cannot be: window at 2, none: runs of 4 must"),
    ],
    ids=["kept", "none", "not evicted", "full", "runs", "one run", "not finite", "violated"],
)  # fmt: skip
def test_the_first_figure_is_titled_by_the_answer(rows, text):
    page = page_of(rows)
    assert Reader(page).open == []
    assert text in answer(page)
    assert not re.search(r"\bnan\b", " ".join(Reader(page).text))


def test_findings_are_numbers_of_the_summary(page):
    summary = result_of(ROWS).summary
    assert (summary.keeping, summary.caches, summary.without_path, summary.tokens) == (1, 1, 1, 4)
    assert (summary.fewest_slots, summary.most_slots) == (2, 2)
    assert summary.most == summary.least == (("none", "tova", 2, ""), 2, 0.25)
    assert findings(page) == ["1 of 4", "1 of 2"]
    broken = page_of([row | {"equal": False} for row in RUNS])
    fold = broken.partition('<details class="fold"><summary>Measured, and cannot be')[2]
    listed = re.findall("<li>(.*?)</li>", fold.partition("</details>")[0])
    summary = result_of([row | {"equal": False} for row in RUNS]).summary
    assert listed == STUDY.violations(summary)
    assert len(listed) == 2


def test_each_cache_is_a_record_of_the_table(page):
    records = re.findall(r"<tbody data-positions.*?</tbody>", page, re.DOTALL)
    assert len(records) == 3
    tova, full, window = (" ".join(" ".join(Reader(each).text).split()) for each in records)
    assert says(full, "full", 9, 8, 0.12)  # not equal at the longest length
    assert says(tova, "tova", 2, "2 of 4", "25%", 1, "50%", "25%", "0.0%", "25%")
    assert says(tova, "“b” at 1: 25%")
    assert says(window, "window", 2, 4, "must from 4")


def test_several_encodings_are_filtered():
    page = page_of([*ROWS, *(row | {"positions": "rotary"} for row in ROWS)])
    assert page.count('data-filter="positions:') == 3
    assert len(re.findall(r'<tbody data-positions="rotary"', page)) == 3


def test_influence_by_how_many_layers_still_have_a_token():
    (text,) = result_of(ROWS).summary.texts
    assert text.by_layers == [(2, 0.25), (0, 0.0), (1, 0.5), (0, 0.0), (1, 0.25)]
    assert [token.position for token in text.largest] == [1]


def test_figures_show_what_the_rows_have():
    figures = result_of(ROWS).figures
    assert [*figures] == ["kept", "distance-none-ones_bos", "tokens-none-tova-2"]
    kept = figures["kept"]()
    assert [bar.get_width() for bar in kept.axes[0].patches] == [50, 25]  # evicted, and they keep
    assert [label.get_text() for label in kept.axes[0].get_yticklabels()] == ["tova at 2"]
    distance = figures["distance-none-ones_bos"]()
    assert [mark.series for mark in distance.marks] == ["full-9"] * 3 + ["window-2"] * 3
    axes = distance.axes[0]
    (ring,) = [line for line in axes.lines if line.get_markerfacecolor() == COLORS["paper"]]
    assert np.asarray(ring.get_xdata()).tolist() == [4, 8]
    assert [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == ":"] == [4]
    dots = figures["tokens-none-tova-2"]().axes[0].lines[1:]
    assert [np.asarray(line.get_xdata()).tolist() for line in dots] == [[2, 3], [0, 1]]
    assert set(result_of(RUNS).figures) == {"distance-none-ones_bos"}
    assert set(result_of(TEXT).figures) == {"kept", "tokens-none-tova-2"}


def test_figures_repeat():
    first, again = (drawing(result_of(ROWS).figures["kept"](), "a") for _ in range(2))
    assert first == again


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


def test_a_share_that_the_first_versions_had_is_in_no_record():
    """It differs from token to token: each row would have a record of its own."""
    for share in (0.25, 0.75):
        constants, _ = SCHEMA.upgraded({"kind": "influence", "influence_share": share, "width": 4})
        assert constants == {"model_dim": 4}


def test_a_rounded_pass_has_a_page_without_a_bound():
    text = [{name: row[name] for name in row if name != "log10_repaired"} for row in TEXT]
    page = result_of([*RUNS, *text], rounding="simulated bf16 attn_exp").files()["index.html"]
    assert Reader(page).open == []
    words = " ".join(Reader(page).text)
    for wanted in ("No bound on influence is stated", "simulated bf16 attn_exp"):
        assert wanted in words
    assert "No bound on influence" not in page_of(ROWS)
