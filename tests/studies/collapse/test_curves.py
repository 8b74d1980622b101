import math

import pytest
from studies.collapse.made_rows import NORMS, RESOLUTION, made_rows, made_run, run_of

from glassesjax.studies.collapse.curves import Curves, Panel, finite, holds_from

PANEL = Panel("rotary", "ones_bos", "bf16")


@pytest.mark.parametrize(
    ("claims", "start"),
    [
        ([], None),
        ([(1, True), (2, False)], None),
        ([(1, True), (2, False), (4, True), (8, True)], 4),
        ([(1, True), (2, True)], 1),
    ],
)
def test_a_claim_holds_from_the_length_after_its_last_failure(claims, start):
    assert holds_from(claims) == start


def test_curves_are_found_by_name_with_lengths_ascending():
    curves = Curves(run_of(made_rows()[::-1]))
    assert [row.length for row in curves(PANEL, "own")] == [1, 2, 4, 8, 16, 32]
    assert {row.mode for row in curves(PANEL, "own")} == {"native"}
    assert {row.mode for row in curves(PANEL, "signal")} == {"reference"}
    assert curves(PANEL._replace(family="absent"), "signal") == []


def test_the_finest_format_has_the_smallest_unit_roundoff():
    curves = Curves(made_run(formats=("bf16", "f32", "e4m3fn")))
    assert curves.finest("rotary", "ones_bos") == Panel("rotary", "ones_bos", "f32")
    assert curves.finest("rotary", "absent") is None


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("times", "resolved"), [(1, False), (1.01, True), (0, True)])
def test_a_signal_within_the_rounding_of_float64_is_not_resolved(times, resolved, norm):
    curves = Curves(made_run(signal=lambda n: times * RESOLUTION))
    points = curves.points(PANEL, "signal", norm)
    assert {point.resolved for point in points} == {resolved}
    assert any(point.drawable for point in points) == (times > 1)


def test_the_resolution_is_read_and_not_made_up():
    rows = made_rows()
    for row in rows:
        row["resolution"] = {4: 0.25, 8: 0.5, 16: None}.get(row["length"], 0.0)
    curves = Curves(run_of(rows))
    kept = [p.length for p in curves.points(PANEL, "signal") if not p.resolved]
    assert kept == [4, 8, 16]  # at it, below it, and where it is not finite
    assert all(p.resolved for p in curves.points(PANEL, "own"))  # theirs is the format's noise


def test_the_fit_rests_on_resolved_distances_only():
    power = lambda n: n**-1.5 if n < 16 else RESOLUTION / 2
    fit = Curves(made_run(signal=power)).fit(PANEL)
    assert (fit.first, fit.last, fit.points) == (1, 8, 4)
    # Four logarithms of exact powers of two: each is rounded once, sums and quotient a few times.
    assert math.isclose(fit.exponent, -1.5, rel_tol=32 * 2.0**-53)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_finite_number_is_none(value):
    assert finite(value) is None
    assert finite(-0.5) == -0.5
