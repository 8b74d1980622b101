"""Absorption by the first token: rates, bounds and their equality cases, and where they fail."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from squashing_reference import fractions, last_row, plus_identity, random_causal, window

from glassesjax.theory.absorption import (
    first_weight_floor,
    is_simple_one,
    repeated_layer_bound,
    second_modulus,
    transient_radius,
    triangular_spectrum,
    unabsorbed_bound,
    unabsorbed_mass,
    uniform_unabsorbed_bound,
)
from glassesjax.theory.closed_forms import uniform_unabsorbed
from glassesjax.theory.masked_rollouts import window_two_rollout
from glassesjax.theory.squashing import attention_rollout, path_bound

U = 2.0**-53  # unit roundoff of float64


def uniform(n):
    return jnp.array(np.tril(np.ones((n, n))) / np.arange(1, n + 1)[:, None])


def stack(weights, layers):
    return jnp.broadcast_to(weights, (layers, *weights.shape))


def test_the_spectrum_is_the_diagonal():
    weights = random_causal(np.random.default_rng(0), 6, 6)
    found = np.sort(triangular_spectrum(jnp.array(weights)))
    # LAPACK finds a triangular matrix in Schur form: it reads off the diagonal.
    np.testing.assert_array_equal(found, np.sort(np.linalg.eigvals(weights).real))
    np.testing.assert_array_equal(triangular_spectrum(uniform(4)), 1 / np.arange(1.0, 5))
    assert second_modulus(uniform(4)) == 0.5
    assert transient_radius(uniform(4), jnp.array(0.5)) == 0.75
    assert transient_radius(uniform(4), jnp.array(0.25)) == 0.875


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_products_of_stochastic_triangular_matrices_are_such(layers):
    weights = random_causal(np.random.default_rng(layers), layers, 5, 5)
    product = np.linalg.multi_dot([*weights, np.eye(5)])
    assert (np.triu(product, 1) == 0).all()
    np.testing.assert_allclose(product.sum(axis=-1), 1, rtol=layers * 8 * U)


def test_one_is_simple_exactly_if_no_later_token_looks_at_itself_alone():
    chain = jnp.array(np.eye(4)[[0, 0, 1, 2]])  # one weight a row: the printed condition fails
    assert is_simple_one(chain)
    assert second_modulus(chain) == 0
    assert not is_simple_one(jnp.eye(4))
    assert second_modulus(jnp.eye(4)) == 1
    assert is_simple_one(uniform(4))
    assert not is_simple_one(uniform(4).at[2, 2].set(jnp.nan))


def test_underflow_makes_one_a_multiple_eigenvalue():
    # Exact softmax cannot: the first weight of the second row is exp(-20), below half of 2^-24.
    logits = jnp.array([[0.0, -jnp.inf], [0.0, 20.0]])
    assert is_simple_one(jax.nn.softmax(logits))
    assert not is_simple_one(jax.nn.softmax(logits.astype(jnp.float16)))


def test_the_radius_is_the_rate_of_absorption():
    unabsorbed = [float(uniform_unabsorbed(12, layers)) for layers in (400, 401)]
    # The next eigenvalue is 2/3, with a coefficient C(11, 2) / 11 = 5: (8/9)^400 is 4e-21.
    assert unabsorbed[1] / unabsorbed[0] == pytest.approx(0.75, rel=8 * U, abs=0)


def test_a_window_of_two_is_not_diagonalizable():
    n = 6
    mixed = np.array(plus_identity(window(n, 2), Fraction(1, 2), Fraction(1, 2)), float)
    np.testing.assert_array_equal(np.diag(mixed)[1:], 0.75)
    # All of rank but one: a single eigenvector for the eigenvalue 3/4 of multiplicity n - 1.
    assert np.linalg.matrix_rank(mixed - 0.75 * np.eye(n)) == n - 1
    weights = jnp.array(np.array(window(n, 2), float))
    found = repeated_layer_bound(weights, 40)
    np.testing.assert_allclose(found, np.array(window_two_rollout(n, 40), float), rtol=40 * 8 * U)
    assert transient_radius(weights, jnp.array(0.5)) == 0.75


@pytest.mark.parametrize("seed", range(12))
def test_unabsorbed_mass_is_exact_and_bounded_in_any_order(seed):
    layers, n, rng = 4, 5, np.random.default_rng(seed)
    weights, shares = random_causal(rng, layers, n, n), rng.uniform(size=layers)
    exact = [Fraction(float(share)) for share in shares]
    mixed = [
        plus_identity(fractions(w), share, 1 - share)
        for w, share in zip(weights, exact, strict=True)
    ]
    flipped = jnp.array(weights[::-1]), jnp.array(shares[::-1])
    weights, shares = jnp.array(weights), jnp.array(shares)
    roundoff = layers * (n + 6) * U
    mass = unabsorbed_mass(weights, shares)
    assert float(mass) == pytest.approx(float(sum(last_row(mixed, n)[1:])), rel=roundoff, abs=0)
    bound = unabsorbed_bound(first_weight_floor(weights), shares)
    for ordered in ((weights, shares), flipped):
        assert unabsorbed_mass(*ordered) <= float(bound) * (1 + 2 * roundoff)


@pytest.mark.parametrize("n", [2, 5])
def test_looking_at_the_first_token_or_oneself_attains_the_bound(n):
    layers = 400
    floors = np.linspace(0.5, 1 - 2.0**-10, layers)
    first = np.eye(n)[0]
    weights = jnp.array([(1 - floor) * np.eye(n) + floor * first for floor in floors])
    floors, shares = jnp.array(floors), jnp.array(np.linspace(0.5, 1, layers))
    np.testing.assert_allclose(first_weight_floor(weights), floors, rtol=U)
    mass, bound = unabsorbed_mass(weights, shares), unabsorbed_bound(floors, shares)
    # Not lost to cancellation, though one minus the first share is zero in float64.
    assert 0 < mass < 1e-197
    assert 1 - attention_rollout(weights, shares)[0] <= layers * (n + 6) * U
    # Where 1 - share floor cancels, down to 2^-10, its error of one rounding grows by 2^10.
    assert float(mass) == pytest.approx(float(bound), rel=layers * (n + 6 + 2**10) * U, abs=0)


def test_mass_does_not_grow_with_depth_below_but_may_above():
    weights, shares = random_causal(np.random.default_rng(5), 6, 4, 4), np.zeros((7, 6))
    for depth in range(7):
        shares[depth, 6 - depth :] = 0.5  # a share of zero is no layer
    below = jax.vmap(unabsorbed_mass, (None, 0))(jnp.array(weights), jnp.array(shares))
    assert below[0] == 1
    assert (np.diff(below) <= 6 * 10 * U).all()
    # Token 3 goes to the first; under a layer that sends it to token 2, which stays, it does not.
    layers = jnp.array(np.eye(3)[[[0, 1, 0], [0, 1, 1]]])
    assert unabsorbed_mass(layers, jnp.array([1.0, 0.0])) == 0
    assert unabsorbed_mass(layers, jnp.ones(2)) == 1


def test_the_uniform_bound_holds_and_is_attained():
    for layers in (0, 1, 7, 40):
        for n in (1, 2, 3, 17):
            assert uniform_unabsorbed(n, layers) <= uniform_unabsorbed_bound(n, layers) * (
                1 + 50 * U
            )
        assert uniform_unabsorbed_bound(2, layers) == pytest.approx(
            float(uniform_unabsorbed(2, layers)), rel=50 * U, abs=0
        )
    # Otherwise in the limit of depth: the next term is (n - 2) / 2 (8/9)^L of the first.
    deep = float(uniform_unabsorbed(10, 400)) / uniform_unabsorbed_bound(10, 400)
    assert deep == pytest.approx(1, rel=500 * U, abs=0)
    with pytest.raises(ValueError, match="got length=0 and layers=3"):
        uniform_unabsorbed_bound(0, 3)


@pytest.mark.parametrize(
    ("exponent", "first"), [(0.5, 1.000), (1.0, 0.787), (2.0, 0.0175)], ids=str
)
def test_collapse_needs_shares_whose_sum_diverges(exponent, first):
    # One layer at a time in float64: the weights of 5000 layers would not fit a small machine.
    n, row = 64, np.eye(64)[-1]
    weights = np.asarray(uniform(n))
    shares = np.arange(2.0, 5002.0) ** -exponent
    for share in shares:
        row = share * (row @ weights) + (1 - share) * row
    assert row[0] == pytest.approx(first, abs=6e-4)  # the digits given
    some = jnp.array(shares[:50])
    mass = unabsorbed_mass(stack(uniform(n), 50), some)
    assert float(mass) <= float(unabsorbed_bound(jnp.full(50, 1 / n), some))


def test_the_proposition_is_the_bound_of_the_theorem_with_its_constants():
    layers, weights = 6, jnp.array(random_causal(np.random.default_rng(9), 5, 5))
    ones = jnp.ones(layers)
    general = path_bound(stack(weights, layers), ones, ones, jnp.array(4.0**layers), ones)
    found = repeated_layer_bound(weights, layers)
    np.testing.assert_allclose(found, general, rtol=2 * layers * 12 * U)
    # Linear MLPs attain it, also at the first token.
    linear = lambda resid: (resid + weights @ resid) * 2
    last = lambda resid: (linear(linear(resid)) / 16)[-1]
    np.testing.assert_allclose(
        jax.jit(jax.jacrev(last))(jnp.ones(5)), repeated_layer_bound(weights, 2), rtol=48 * U
    )
    deep = repeated_layer_bound(uniform(5), 500)
    np.testing.assert_allclose(deep, [1, 0, 0, 0, 0], rtol=500 * 12 * U, atol=5 * 0.75**500)
    # A token that only looks at itself is never absorbed.
    assert repeated_layer_bound(jnp.eye(3), 500)[-1] == 1
    with pytest.raises(ValueError, match="non-negative layers, got -1"):
        repeated_layer_bound(weights, -1)


@pytest.mark.parametrize(
    ("n", "layers", "printed"),
    [
        (10, 12, "0.15466838"),
        (10, 32, "8.38262984e-4"),
        (100, 12, "0.43292756"),
        (100, 32, "6.56317294e-3"),
        (1000, 12, "0.70473309"),
        (1000, 32, "0.03145703"),
        (1000, 80, "9.86104051e-8"),
    ],
)
def test_uniform_attention_exactly_and_by_a_product(n, layers, printed):
    exact = float(uniform_unabsorbed(n, layers))
    last_digit = 10.0 ** -(len(printed.partition("e")[0]) - 2)
    exponent = int(printed.partition("e")[2] or 0)
    assert abs(exact - float(printed)) <= 0.51 * last_digit * 10.0**exponent
    # Each layer may lose (n + 3) u in the worst case, 9e-12 in all; sums by blocks lose far less.
    assert float(np.asarray(repeated_layer_bound(uniform(n), layers))[1:].sum()) == pytest.approx(
        exact, rel=1e-12, abs=0
    )


def test_one_token_is_absorbed_from_the_start():
    one, share = jnp.ones((1, 1)), jnp.array(0.5)
    assert second_modulus(one) == 0
    assert transient_radius(one, share) == 0
    assert is_simple_one(one)
    assert first_weight_floor(one) == 1
    assert unabsorbed_mass(one[None], share[None]) == 0
    assert repeated_layer_bound(one, 3) == 1
    assert np.isnan(unabsorbed_mass(jnp.full((1, 2, 2), jnp.nan), share[None]))


def test_batches_of_heads():
    heads = random_causal(np.random.default_rng(3), 2, 3, 4, 4)
    shares = np.full((2, 3), 0.25)
    for function, args in (
        (second_modulus, (heads,)),
        (first_weight_floor, (heads,)),
        (is_simple_one, (heads,)),
        (transient_radius, (heads, shares)),
    ):
        found = np.asarray(function(*map(jnp.array, args)))
        assert found.shape == (2, 3)
        assert found[1, 2] == function(*(jnp.array(arg[1, 2]) for arg in args))
