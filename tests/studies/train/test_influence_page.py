"""Influence by position and ratios: the numbers of the rows, and nothing where there are none."""

import dataclasses

from studies.collapse.test_page import findings
from studies.train.made_train import ACCURACIES, counted, influences, run_of, step, training
from wording import says

from glassesjax.studies.train.cells import influences_of
from glassesjax.studies.train.run import result
from glassesjax.studies.train.study import violations
from glassesjax.studies.train.summary import summary_of

COPY = "copy_at, positions rotary, remedy none"
COUNT = "count_mixed, positions none, remedy none"

TWO = training(influences(16, 0.5), COPY)
ONE = training(influences(32, None), COPY, num_layers=1)


def values(cell, field):
    return [getattr(row, field) for row in cell.positions]


def test_cells_put_positions_in_order():
    [first], [second] = influences_of([TWO]), influences_of([ONE])
    assert values(first, "position") == [0, 1, 2]
    assert values(first, "accuracy") == list(ACCURACIES)
    order = first.row.rollout
    assert (order.spearman, order.low, order.high) == (0.5, 0.25, 0.625)
    assert second.row.rollout is None
    names = (f"{COPY}, 2 layers, seed 0", f"{COPY}, 1 layer, seed 0")
    assert (first.decoder, second.decoder) == names


def test_cells_of_a_sweep_stay_apart():
    """They may share positions, layers, seed and length, and differ in what the cell names."""
    causal = training(influences(16, 0.5), "copy_at, mask causal")
    window = training(influences(16, 0.25, first=1.0), "copy_at, mask window-4")
    first, second = influences_of([causal, window])
    assert values(first, "influence") == [3, 2, 1]
    assert values(second, "influence") == [1, 1, 1]
    assert (first.decoder, second.decoder) == (
        "copy_at, mask causal, 2 layers, seed 0",
        "copy_at, mask window-4, 2 layers, seed 0",
    )


def lines_of(rows):
    return violations(summary_of([training(rows, COUNT)]))


def test_what_contradicts_the_statement_is_named():
    """The exit status of ``train`` and ``sweep`` is 1 where there is a line."""
    ratio, pairs = counted(0.648, 4e-6)
    assert lines_of([ratio, pairs]) == []
    _, apart = counted(0.648, 4e-6, within=False)
    apart = dataclasses.replace(apart, max_difference=0.5)
    beyond, _ = counted(0.75, None, applies=True, beyond=True)
    first, second = lines_of([apart, beyond])
    about = f"{COUNT}, 2 layers, seed 0"
    assert says(first, about, 2, "0.50", "4.0 \N{MULTIPLICATION SIGN} 10⁻⁶")
    assert says(second, about, "75.00%", "67.34%")
    by_rounding = dataclasses.replace(beyond, exceeds_beyond_roundoff=False)
    unknown = dataclasses.replace(beyond, exceeds_beyond_roundoff=None)
    free = [dataclasses.replace(row, applies=False) for row in (apart, beyond)]
    assert lines_of([by_rounding, unknown, *free]) == []


def test_findings_and_folds_are_of_what_was_measured(undrawn):
    page = lambda rows: result(run_of(rows)).files()["index.html"]
    ordered = page([*influences(16, 0.5), *influences(8, None)])
    assert findings(ordered) == ["0.50"]
    fold = ordered.partition("Influence by position")[2].partition("</details>")[0]
    assert fold.count("<tr>") == 3
    assert fold.count("no order") == 4
    assert fold.count("<figure>") == 2
    ratio = page(counted(0.648, 4e-6))
    assert findings(ratio) == ["65%"]
    assert "0.6480" in ratio
    assert "not more" in ratio
    assert "more than the ratio" in page(counted(0.99, None))
    assert "Influence by position" not in ratio
    assert "Counts against the ratio" not in page([step(0, 1, 1.0)])


def test_contradictions_come_first(undrawn):
    beyond, _ = counted(0.75, None, applies=True, beyond=True)
    assert findings(result(run_of([beyond])).files()["index.html"])[0] == "1"
