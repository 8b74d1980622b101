"""Rotary scaling of published families: fixed points, limits, and the formulas by hand."""

import math

import numpy as np
import pytest

from glassesjax.model.rope_scaling import (
    frequencies,
    llama3_divisors,
    longrope_attention_factor,
    yarn_attention_factor,
    yarn_divisors,
)

LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_length": 8192}


def test_llama3_keeps_fast_pairs_and_divides_slow_ones():
    found = llama3_divisors(128, 500_000.0, **LLAMA3)
    turns = [8192 * f / (2 * math.pi) for f in frequencies(128, 500_000.0)]
    assert len(found) == 64
    assert [d for d, t in zip(found, turns, strict=True) if t > 4] == [1.0] * sum(
        t > 4 for t in turns
    )
    assert {d for d, t in zip(found, turns, strict=True) if t < 1} == {8.0}
    between = [(d, t) for d, t in zip(found, turns, strict=True) if 1 <= t <= 4]
    assert between  # the ramp is reached
    for divisor, turn in between:
        assert 1 / divisor == pytest.approx((1 - (turn - 1) / 3) / 8 + (turn - 1) / 3, rel=1e-15)


def test_yarn_ramps_over_the_pairs():
    # dim(32) = 64 ln(4096 / 64 pi) / (2 ln 1e4) = 10.47.. and dim(1) = 22.51..: lo 10, hi 23
    found = np.array(yarn_divisors(64, 10_000.0, factor=4.0, original_length=4096))
    ramp = np.clip((np.arange(32) - 10) / 13, 0, 1)
    np.testing.assert_allclose(1 / found, 1 - ramp + ramp / 4, rtol=1e-15)
    smooth = np.array(yarn_divisors(64, 10_000.0, factor=4.0, original_length=4096, truncate=False))
    low, high = (64 * math.log(4096 / (2 * math.pi * r)) / (2 * math.log(1e4)) for r in (32, 1))
    ramp = np.clip((np.arange(32) - low) / (high - low), 0, 1)
    np.testing.assert_allclose(1 / smooth, 1 - ramp + ramp / 4, rtol=1e-14)
    assert not np.allclose(found, smooth, rtol=1e-3)


def test_a_ramp_of_no_width_is_a_step():
    # All pairs turn so seldom that both ends are cut to 0.
    found = yarn_divisors(4, 1e9, factor=3.0, original_length=8, beta_fast=32.0, beta_slow=16.0)
    assert found == (1.0, 3.0)


def test_factors():
    assert yarn_attention_factor(4.0) == pytest.approx(0.1 * math.log(4) + 1, rel=1e-15)
    assert yarn_attention_factor(1.0) == yarn_attention_factor(0.5) == 1
    quotient = (0.1 * 0.7 * math.log(40) + 1) / (0.1 * 0.5 * math.log(40) + 1)
    assert yarn_attention_factor(40.0, 0.7, 0.5) == pytest.approx(quotient, rel=1e-15)
    assert yarn_attention_factor(40.0, 0.7) == yarn_attention_factor(40.0)
    assert longrope_attention_factor(32.0, 4096) == pytest.approx(math.sqrt(1 + 5 / 12), rel=1e-15)
    assert longrope_attention_factor(1.0, 4096) == 1
