"""Shapes and types of every call are checked where ``SHAPES`` is set, and nowhere else."""

import os

import jax.numpy as jnp
import numpy as np
from jaxtyping import TypeCheckError

from glassesjax.precision.bits import times_power


def checks_a_call():
    """Whether a function without borders of its own minds the dtype of an exponent."""
    try:
        times_power(jnp.asarray(np.float32(3)), jnp.asarray(np.float32(2)))
    except TypeCheckError:
        return True
    except Exception:  # what the bits themselves make of it
        return False
    return False


def test_the_hook_is_there_where_it_is_wanted():
    assert checks_a_call() == bool(os.environ.get("SHAPES"))
