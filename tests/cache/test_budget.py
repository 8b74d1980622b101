"""Budgets in tokens, shares and bytes are counted exactly, and never more than was given."""

import jax.numpy as jnp
import numpy as np
import pytest
from cache.made_models import CONFIGS

from glassesjax.cache import check_context, empty_state, policy, resolve_slots, state_bytes
from glassesjax.cache.policies import Policy, fifo_score
from glassesjax.errors import BadInput
from glassesjax.model import DecoderConfig

CONFIG, TOVA, NARROW = CONFIGS["half"], policy("tova"), jnp.bfloat16


def slots_of(budget, rule=TOVA, length=10_000):
    return resolve_slots(budget, CONFIG, rule, length=length, dtype=NARROW)


@pytest.mark.parametrize("budget", ["1", "256", "20000"])
def test_tokens_are_tokens(budget):
    assert slots_of(budget) == int(budget)


@pytest.mark.parametrize(
    ("budget", "length", "slots"),
    [
        ("0.57%", 10_000, 57),  # 56.99... as a product of floats
        ("12.5%", 16, 2),
        ("12.5%", 23, 2),
        ("12.5%", 24, 3),
        ("100%", 7, 7),
        ("250%", 10, 25),
        ("0.1%", 1999, 1),
    ],
)
def test_a_share_is_rounded_down_and_no_further(budget, length, slots):
    assert slots_of(budget, length=length) == slots


# Where a product of floats falls short, and at one in twenty beside, to the end.
SHORT = [n for n in range(1, 10_001) if int(n / 100 * 100) != n or n % 20 == 1]


@pytest.mark.parametrize(
    "every", [SHORT, pytest.param(range(1, 10_001), marks=pytest.mark.slow)], ids=["short", "all"]
)
def test_every_whole_share_is_exact(every):
    for hundredths in every:
        assert slots_of(f"{hundredths / 100:.2f}%") == hundredths


@pytest.mark.parametrize("rule", [TOVA, policy("tova-head")], ids=str)
@pytest.mark.parametrize(
    "budget", ["400B", "1000B", "1KiB", "1.5KiB", "0.3MiB", "2MiB", "0.001GiB"]
)
def test_bytes_hold_the_state_and_not_one_slot_more(budget, rule):
    units = {"GiB": 2**30, "MiB": 2**20, "KiB": 2**10, "B": 1}
    unit = next(unit for unit in units if budget.endswith(unit))
    thousandths = round(float(budget.removesuffix(unit)) * 1000) * units[unit]
    slots = slots_of(budget, rule)
    assert 1000 * state_bytes(CONFIG, rule, slots, NARROW) <= thousandths
    assert thousandths < 1000 * state_bytes(CONFIG, rule, slots + 1, NARROW)


def test_a_budget_of_just_so_many_bytes_and_of_one_less():
    exact = state_bytes(CONFIG, TOVA, 6, NARROW)
    assert slots_of(f"{exact}B") == 6
    assert slots_of(f"{exact - 1}B") == 5


def test_what_drops_nothing_takes_the_whole_length():
    assert slots_of("4", policy("full"), length=99) == 99


@pytest.mark.parametrize("budget", ["", "-4", "4.5", "12,5%", "%", "2MB", "2 MiB", "1e3", "2mib"])
def test_a_budget_that_is_none_of_the_three(budget):
    with pytest.raises(BadInput, match=r"tokens \(256\), a share .* or bytes \(2MiB\), got"):
        slots_of(budget)


@pytest.mark.parametrize("budget", ["0", "0.001%", "100B"])
def test_too_little_for_the_policy(budget):
    with pytest.raises(BadInput, match=r"at least 1 slots for tova.*got 0"):
        slots_of(budget)


def test_numbers_of_numpy_are_numbers_of_slots():
    for slots in (np.int64(5), (np.int64(3), np.int32(8))):
        state = empty_state(CONFIG, TOVA, slots, NARROW)
        held = sum(array.nbytes for cache in state.layers for array in cache)
        assert held == state_bytes(CONFIG, TOVA, slots, NARROW)
        assert type(state_bytes(CONFIG, TOVA, slots, NARROW)) is int


def test_another_number_of_budgets_than_layers_is_refused_by_both():
    for count in (empty_state, state_bytes):
        with pytest.raises(BadInput, match="one number of slots, or 2, one a layer, got 3"):
            count(CONFIG, TOVA, (4, 4, 4), NARROW)


def test_more_tokens_than_the_context():
    config = DecoderConfig(vocab_size=7, max_length=32)
    check_context(config, TOVA, 32)
    with pytest.raises(BadInput, match=r"at most 32 tokens, .*, got 33: use fewer\.$"):
        check_context(config, TOVA, 33)
    with pytest.raises(BadInput, match=r"use fewer, or --position-ids compressed\.$"):
        check_context(config, TOVA, 33, hint="--position-ids compressed")
    moved = Policy(name="window", score=fifo_score, position_ids="compressed")
    check_context(config, moved, 33)
    check_context(CONFIG, TOVA, 10**6)  # it has no context to leave
