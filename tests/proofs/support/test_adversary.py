import jax.numpy as jnp
import numpy as np
import pytest

from proofs_numeric.support.adversary import ascend


def hill(point):
    """One at (3, -2), and less everywhere else."""
    return 1 / (1 + jnp.square(point["x"] - 3) + jnp.sum(jnp.square(point["y"] + 2)))


def cliff(x):
    """Grows up to one, and is not a number beyond."""
    return jnp.where(x > 1, jnp.nan, jnp.exp(x))


def nowhere(x):
    return x * jnp.nan


def starts(*values):
    return {"x": jnp.asarray(values), "y": jnp.asarray(values)[:, None]}


def test_the_top_of_a_hill_is_found_from_any_start():
    found = ascend(hill, starts(0.0, 10.0), steps=400)
    # The ratio falls with the squared distance: 1e-6 says that both are within 1e-3 of the top.
    assert 1 - 1e-6 <= float(found.ratio) <= 1
    np.testing.assert_allclose(float(found.instance["x"]), 3, atol=1e-3)
    np.testing.assert_allclose(found.instance["y"], [-2], atol=1e-3)


def test_the_best_instance_on_the_way_is_kept_with_its_ratio():
    found = ascend(hill, starts(3.0, 40.0), steps=3)
    x, y = float(found.instance["x"]), float(found.instance["y"][0])
    # One logarithm and one exponential between them, each within a few units in the last place.
    expected = 1 / (1 + (x - 3) ** 2 + (y + 2) ** 2)
    assert float(found.ratio) == pytest.approx(expected, rel=16 * 2.0**-53, abs=0)
    assert float(found.ratio) > 1 / 26  # that of the better start


def test_what_is_not_a_number_counts_for_nothing():
    found = ascend(cliff, jnp.asarray([0.5, 2.0]), steps=50)
    assert 0.9 < float(found.instance) <= 1  # climbed up to the edge, in steps of 0.05
    assert float(found.ratio) == pytest.approx(
        np.exp(float(found.instance)), rel=16 * 2.0**-53, abs=0
    )
    assert float(ascend(nowhere, jnp.asarray([0.0, 1.0]), steps=5).ratio) == 0
