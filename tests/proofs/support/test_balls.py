"""Balls: ends rounded outward, norms enclosed from both sides, GELU's Lipschitz constants."""

import ast
import math
from fractions import Fraction
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import proofs_numeric
from glassesjax.theory.softmax import total_variation
from glassesjax.trace.constants import GELU_EXACT_LIPSCHITZ, GELU_LIPSCHITZ

flint = pytest.importorskip("flint")
balls = pytest.importorskip("proofs_numeric.support.balls")

arb = flint.arb
U = 2.0**-53  # unit roundoff of float64


@pytest.fixture(autouse=True)
def precision():
    with flint.ctx.workprec(balls.PRECISION):
        yield


def holds(ball, value, roundoff):
    """Whether the ball holds a point within a float's counted roundoff."""
    return arb(float(value), roundoff).overlaps(ball)


def fraction(ball):
    """An exact ball as a rational number."""
    mantissa, exponent = ball.man_exp()
    return Fraction(int(mantissa)) * Fraction(2) ** int(exponent)


def test_floats_are_taken_as_exact():
    (ball,) = balls.enclose([0.1])
    assert ball.is_exact()
    assert fraction(ball) == Fraction(0.1)


@pytest.mark.parametrize("value", [Fraction(1, 3), Fraction(-2, 7), Fraction(10) ** 30 / 3])
def test_ends_are_the_neighboring_floats(value):
    ball = arb(value.numerator) / value.denominator
    lower, upper = balls.lower(ball), balls.upper(ball)
    assert Fraction(lower) < value < Fraction(upper)
    assert math.nextafter(lower, math.inf) == upper


def test_ends_beyond_the_floats_stay_outside():
    huge = arb(10) ** 400
    assert balls.upper(huge) == math.inf
    assert balls.lower(huge) == float(np.finfo(np.float64).max)
    assert (balls.lower(1 / huge), balls.upper(1 / huge)) == (0.0, 5e-324)
    assert math.isnan(balls.upper(arb.nan()))
    assert math.isnan(balls.lower(arb.nan()))


def test_the_maximum_of_overlapping_balls_holds_every_maximum():
    found = balls.greatest(np.array([arb(0, 1), arb(0.5, 0.25)]))
    assert found.contains(arb(0.25))  # both at their lower ends but one
    assert found.contains(arb(1))
    assert not found > arb(0.5)


@pytest.mark.parametrize("scale", [1.0, 30.0, 700.0])
def test_softmax_and_distance_hold_the_floats(scale):
    x, y = scale * np.random.default_rng(0).normal(size=(2, 9))
    p, q = (balls.softmax(balls.enclose(row)) for row in (x, y))
    floats = [jax.nn.softmax(jnp.asarray(row)) for row in (x, y)]
    # A shift, whose rounding counts as often as the logit is large, an exponential, a sum.
    roundoff = (9 + 8 + 2 * scale * 4) * U
    assert all(holds(ball, value, roundoff) for ball, value in zip(p, floats[0], strict=True))
    distance = balls.total_variation(p, q)
    assert holds(distance, total_variation(*floats), 2 * roundoff + 9 * U)
    assert distance.rad() < arb(2) ** -200


def test_norms_by_hand():
    matrix = balls.enclose([[3.0, 4.0], [0.0, 0.0]])
    assert [float(balls.operator_norm(matrix, norm)) for norm in (1, "inf")] == [4.0, 7.0]
    assert balls.operator_norm(matrix, 2).contains(arb(5))
    row = balls.enclose([3.0, -4.0])
    assert [float(balls.vector_norm(row, norm)) for norm in (1, 2, "inf")] == [7.0, 5.0, 4.0]


@pytest.mark.parametrize("shape", [(4, 4), (2, 5), (5, 2), (1, 1)])
def test_the_spectral_norm_is_enclosed_and_no_smaller_bound_is_accepted(shape):
    matrix = np.random.default_rng(1).normal(size=shape)
    enclosed, expected = balls.enclose(matrix), np.linalg.norm(matrix, 2)
    found = balls.operator_norm(enclosed, 2)
    assert holds(found, expected, 64 * U * expected)
    assert balls.upper(found) <= expected * (1 + 2.0**-39)
    assert balls.is_norm_bound(enclosed, found.upper())
    # The lower end is attained by a vector, so that nothing below it can be a bound.
    assert not balls.is_norm_bound(enclosed, found.lower() * (1 - arb(2) ** -60))


def test_a_bound_has_to_hold_for_all_matrices_of_a_ball():
    wide = balls.enclose(np.eye(2)) + np.full((2, 2), arb(0, 0.25))
    assert not balls.is_norm_bound(wide, arb(1.4))  # 1.5 for all entries at their upper ends
    assert balls.upper(balls.operator_norm(wide, 2)) >= 1.5


def test_norms_of_zero_and_of_what_is_not_a_number():
    zero = balls.enclose(np.zeros((3, 3)))
    assert float(balls.operator_norm(zero, 2)) == 0
    assert balls.upper(balls.vector_norm(np.array([arb(0, 0.5)]), 2)) >= 0.5
    unknown = balls.enclose([[math.nan, 1.0], [0.0, 1.0]])
    assert all(math.isnan(balls.upper(balls.operator_norm(unknown, n))) for n in (1, 2, "inf"))


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        ([[2.0, 1.0], [1.0, 1.0]], True),
        ([[1.0, 1.0], [1.0, 1.0]], False),  # singular: certainty is not to be had
        ([[1.0, 2.0], [2.0, 1.0]], False),
        ([[math.nan, 0.0], [0.0, 1.0]], False),
    ],
)
def test_definiteness(matrix, expected):
    assert balls.is_positive_definite(balls.enclose(matrix)) is expected


@pytest.mark.parametrize("kind", ["gelu", "gelu_exact"])
def test_gelu_and_its_slope_hold_the_floats(kind):
    points = np.linspace(-6, 6, 49)
    value = lambda x: jax.nn.gelu(x, approximate=kind == "gelu")
    values, slopes = jax.vmap(jax.value_and_grad(value))(jnp.asarray(points))
    for point, *floats in zip(points, values, slopes, strict=True):
        found = balls.gelu_taylor(arb(point), kind)
        # A dozen operations on numbers of at most 6 + 0.05 * 6^3 < 32.
        assert all(holds(*pair, 12 * 32 * U) for pair in zip(found, floats, strict=True))


@pytest.mark.parametrize(
    ("kind", "constant"), [("gelu", GELU_LIPSCHITZ), ("gelu_exact", GELU_EXACT_LIPSCHITZ)]
)
def test_the_library_s_lipschitz_constants_of_gelu_are_proved(kind, constant):
    found = balls.gelu_lipschitz(kind)
    assert found < arb(constant)
    assert balls.lower(found) > constant - 1e-7  # the tanh form's was rounded up by 3e-8
    around = np.linspace(-10, 10, 2001)
    slopes = [abs(balls.gelu_taylor(arb(point), kind)[1]) for point in around]
    assert all(slope < found.upper() for slope in slopes)
    assert any(slope > found.lower() - 1e-4 for slope in slopes)  # spacing 0.01, curvature one


def test_precision_is_left_as_it_was():
    @balls.in_balls
    def failing():
        yield flint.ctx.prec
        raise ArithmeticError

    with flint.ctx.workprec(77):
        with pytest.raises(ArithmeticError):
            failing()
        assert flint.ctx.prec == 77


def test_nothing_else_imports_balls_before_a_certificate_is_asked_for():
    enclosures = {"enclosures", "follow_up_enclosures", "squashing_enclosures"}
    ours = {"balls", "ball_decoder", *enclosures}
    for path in Path(proofs_numeric.__file__).parent.rglob("*.py"):
        if path.stem in ours:
            continue
        for node in ast.parse(path.read_text()).body:  # of the module, not of its functions
            names = [alias.name for alias in getattr(node, "names", [])]
            imported = {part for name in names for part in name.split(".")}
            imported |= set((getattr(node, "module", None) or "").split("."))
            assert not imported & {"flint", *ours}, path.name
