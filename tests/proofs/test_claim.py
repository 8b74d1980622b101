import math

import pytest

from proofs_numeric.claim import Claim, Hypothesis, Measurement

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("distance", "allowed", "measured", "met"),
    [
        (0.0, 0.0, True, True),
        (1e-16, 0.0, True, False),
        (1e-16, 1e-16, True, True),
        (INF, 0.0, True, False),
        (NAN, INF, False, False),
    ],
)
def test_a_hypothesis_is_met_within_rounding_and_never_by_nan(distance, allowed, measured, met):
    found = Hypothesis(name="some", distance=distance, allowed=allowed)
    assert (found.measured, found.met) == (measured, met)


@pytest.mark.parametrize(
    ("ends", "within"),
    [
        ({"measured": 1.0, "bound": 1.0}, True),
        ({"measured": 1.25, "bound": 1.0}, False),
        ({"measured": 1.25, "bound": 1.0, "roundoff": 0.25}, True),
        ({"measured": 0.5, "bound": 1.0, "floor": 0.75}, False),  # a loose bound is caught
        ({"measured": 0.5, "bound": 1.0, "floor": 0.75, "roundoff": 0.25}, True),
        ({"measured": -INF, "bound": 0.0}, True),
        ({"measured": NAN, "bound": 1.0}, False),
        ({"measured": 1.0, "bound": NAN}, False),
        ({"measured": 1.0, "bound": INF}, False),  # says nothing
        ({"measured": 1.0, "bound": 1.0, "floor": NAN}, False),
        ({"measured": 1.0, "bound": 1.0, "roundoff": NAN}, False),
    ],
)
def test_an_inequality_holds_between_its_ends_and_never_for_nan(ends, within):
    found = Measurement(setting="", **ends)
    assert found.within == within
    assert found.verdict == ("holds" if within else "violated")


@pytest.mark.parametrize("measured", [0.5, 2.0, NAN])
@pytest.mark.parametrize("distance", [1.0, NAN])
def test_outside_the_hypotheses_nothing_holds_and_nothing_is_violated(measured, distance):
    some = (Hypothesis(name="met", distance=0.0), Hypothesis(name="not", distance=distance))
    found = Measurement(setting="", measured=measured, bound=1.0, hypotheses=some)
    assert found.verdict == "not_applicable"


def test_an_equality_has_two_ends():
    make = lambda found: Measurement.equality(
        setting="", measured=found, expected=2.0, roundoff=0.5, size=3
    )
    verdicts = [make(found).verdict for found in (1.25, 1.5, 2.5, 2.75)]
    assert verdicts == ["violated", "holds", "holds", "violated"]
    assert make(2.0).size == 3


@pytest.mark.parametrize(
    ("measured", "bound", "tightness"),
    [(1.0, 4.0, 0.25), (0.0, 0.0, None), (1.0, INF, None), (1.0, NAN, None), (1.0, -1.0, None)],
)
def test_tightness_is_measured_over_a_bound_that_is_positive(measured, bound, tightness):
    assert Measurement(setting="", measured=measured, bound=bound).tightness == tightness


def test_a_decorated_part_is_the_same_as_a_named_one():
    words = {"name": "made", "title": "", "source": "", "statement": ""}
    fields = {"ladder": "measure", "certified": "certify"}
    for part in ("ladder", "adversary", "counter_case", "certified"):
        claim, function = Claim(**words), lambda *suite: ()
        assert claim.part(part)(function) is function
        assert getattr(claim, fields.get(part, part)) is function
        assert claim.certify is None or part == "certified"


def test_without_ladder_and_counter_case_a_claim_measures_nothing():
    claim = Claim(name="made", title="", source="", statement="")
    assert [*claim.measure("quick"), *claim.counter_case()] == []
