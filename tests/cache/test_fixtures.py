"""Small cases worked out by hand: whom each policy drops, and when."""

import dataclasses
import math

import jax.numpy as jnp
import numpy as np
import pytest
from cache.made_models import CONFIGS, held_after, log_rows, told

from glassesjax.cache import KVCache, advance, empty_state, logits, policy, replay
from glassesjax.cache.budget import state_bytes
from glassesjax.cache.position_ids import compress_gap
from glassesjax.cache.slots import evict
from glassesjax.model import DecoderConfig


def run(model, slots, rule):
    """What the one layer of a ``told`` decoder holds after each step, and the representations."""
    length = model.outer.config.vocab_size
    state = empty_state(model.outer.config, rule, slots, jnp.float64)
    tokens = jnp.arange(length, dtype=jnp.int32)
    state, y, (dropped,) = advance(model, state, tokens, rule)
    return [step if rule.head_wise else step[0] for step in held_after([dropped], length)], y, state


# The paper's Figure 2: a state of five.
FIGURE_2 = [
    {0: 1},
    {0: 1, 1: 1},
    {0: 1, 1: 1, 2: 1},
    {0: 1, 1: 1, 2: 1, 3: 1},
    {0: 0.2, 1: 0.1, 2: 0.1, 3: 0.2, 4: 0.4},
    {0: 0.2, 1: 0.05, 2: 0.1, 3: 0.1, 4: 0.2, 5: 0.35},
    {0: 0.15, 2: 0.15, 3: 0.1, 4: 0.05, 5: 0.25, 6: 0.3},
    {0: 0.15, 2: 0.15, 3: 0.1, 5: 0.15, 6: 0.2, 7: 0.25},
    {0: 0.2, 2: 0.15, 5: 0.15, 6: 0.1, 7: 0.15, 8: 0.25},
]


def test_figure_2_of_the_paper():
    held, _, _ = run(told(log_rows(FIGURE_2)), 5, policy("tova"))
    assert held[4] == [0, 1, 2, 3, 4]
    assert held[5:] == [[0, 2, 3, 4, 5], [0, 2, 3, 5, 6], [0, 2, 5, 6, 7], [0, 2, 5, 7, 8]]


STREAM = [[1], [1, 4], [1, 5, 2], [1, 4, 2, 3], [3, 1, 2, 4, 3], [9, 9, 3, 1, 2, 5]]


@pytest.mark.parametrize(
    ("name", "dropped", "kept"),
    [
        ("window", [0, 1, 2], [3, 4, 5]),
        ("window+1", [1, 2, 3], [0, 4, 5]),
        ("h2o-layer@2", [0, 2, 3], [1, 4, 5]),
        ("tova", [0, 1, 3], [2, 4, 5]),
    ],
)
def test_four_policies_on_one_stream(name, dropped, kept):
    rule = policy(name)
    held, _, state = run(told(log_rows(STREAM)), 3, rule)
    gone = [set(before) | {step} for step, before in zip(range(3, 6), held[2:], strict=False)]
    assert [(g - set(h)).pop() for g, h in zip(gone, held[3:], strict=True)] == dropped
    assert held[-1] == kept
    if name == "h2o-layer@2":
        cache = state.layers[0]
        mass = {int(p): float(m) for p, m in zip(cache.position[0], cache.mass[0], strict=True)}
        # To the four digits that were written down.
        assert [round(mass[p], 4) for p in kept] == [2.4544, 0.4176, 0.2941]


def last_row(rows):
    """Logits of two heads for the last of three tokens; the others see all alike."""
    full = np.zeros((2, 3, 3))
    full[:, 2] = rows
    return full


HEADS = [[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]]


def test_a_layer_decides_by_the_mean_of_its_heads_and_a_head_by_its_own():
    model = told(last_row(np.log(HEADS)))
    held, _, _ = run(model, 2, policy("tova"))
    assert held[-1] == [0, 2]  # means .4, .25, .35
    held, _, _ = run(model, 2, policy("tova-head"))
    assert held[-1] == [[0, 1], [1, 2]]


def test_probabilities_are_averaged_not_logits():
    rows = [[10, 0, 9], [0, 1, 0]]
    held, _, state = run(told(last_row(rows)), 2, policy("tova"))
    assert held[-1] == [0, 1]  # the mean logit is least for token 1
    weights = [[math.exp(x) / sum(map(math.exp, row)) for x in row] for row in rows]
    means = np.mean(weights, axis=0)
    np.testing.assert_allclose(means, [0.4715, 0.2881, 0.2404], atol=5e-5)  # four digits
    # One key more than slots was seen: the state of three masses told what it was.
    *_, state = run(told(last_row(rows)), 3, policy("tova"))
    uniform = [1 + 1 / 2, 1 / 2, 0]
    np.testing.assert_allclose(state.layers[0].mass[0, :3], means + uniform, rtol=16 * 2.0**-53)


def full_cache(position, weight):
    """A full state of one decision, its current token written, and what that token attends to."""
    count = len(position)
    nothing = jnp.zeros((1, count, 2))
    position = jnp.array([position], jnp.int32)
    return KVCache(nothing, nothing, position, jnp.zeros((1, count))), jnp.array([weight])


@pytest.mark.parametrize("position", [[0, 1, 2, 3], [3, 2, 1, 0], [2, 3, 0, 1]])
@pytest.mark.parametrize("name", ["window", "tova", "h2o@1", "h2o_mean@1"])
def test_ties_go_to_the_smallest_position_wherever_it_is_stored(name, position):
    # For the mean of masses the older must have received more to be equal: four times and so on.
    weight = [4.0 - p if name == "h2o_mean@1" else 0.25 for p in position]
    cache, paid = full_cache(position, weight)
    cache, gone = evict(cache, paid, jnp.int32(3), policy(name), jnp.bool(True))
    assert gone.tolist() == [0]
    assert sorted(cache.position[0].tolist()) == [-1, 1, 2, 3]


def test_the_newest_token_may_be_dropped_at_once_and_was_seen():
    rows = [[1], [1, 1], [1, 1, 1], [0.3, 0.3, 0.3, 0.1]]
    held, y, _ = run(told(log_rows(rows)), 3, policy("tova"))
    assert held[3] == held[2] == [0, 1, 2]
    added = np.array(y[3]) - np.eye(4)[3]  # what attention added to the token's own vector
    np.testing.assert_allclose(added, rows[3], rtol=0, atol=8 * 2.0**-53)


def test_one_slot_keeps_the_larger_of_two():
    rows = [{0: 1}, {0: 0.6, 1: 0.4}, {0: 0.3, 2: 0.7}, {2: 0.9, 3: 0.1}, {2: 0.4, 4: 0.6}]
    held, _, _ = run(told(log_rows(rows)), 1, policy("tova"))
    assert held == [[0], [0], [2], [2], [4]]


def test_gaps_are_compressed_as_in_the_paper():
    gaps = compress_gap(jnp.array([1.0, 10.0, 11.0, 100.0, 4096.0]))
    np.testing.assert_allclose(gaps, [1, 10, 0.8746, 1.5272, 2.1184], atol=5e-5)  # four digits


def test_bytes_of_a_state():
    # LLaMA-2-7B: 32 layers of 32 heads of 128 in 16 bits, 0.268 GB for 512 tokens.
    config = DecoderConfig(vocab_size=32_000, num_layers=32, num_heads=32, model_dim=4096)
    slot = 2 * 32 * 128 * 2
    small = 4 + 4  # a position and a mass
    found = state_bytes(config, policy("tova"), 512, jnp.float16)
    assert found == 32 * 513 * (slot + small)
    assert round(32 * 512 * slot / 1e9, 3) == 0.268


@pytest.mark.parametrize("name", ["tova", "tova-head"])
@pytest.mark.parametrize("slots", [5, (3, 8)])
def test_bytes_are_those_of_the_arrays(name, slots):
    config, rule = CONFIGS["half"], policy(name)
    state = empty_state(config, rule, slots, jnp.bfloat16)
    held = sum(array.nbytes for cache in state.layers for array in cache)
    assert held == state_bytes(config, rule, slots, jnp.bfloat16)


def test_lifetimes():
    tokens = jnp.arange(6, dtype=jnp.int32)
    (steps,) = replay(told(log_rows(STREAM)), tokens, policy("tova"), slots=3).evicted_at
    assert steps[0].tolist() == [3, 4, 6, 5, 6, 6]
    lives = steps[0] - np.arange(6) + 1  # the step of birth and that of eviction both count
    assert lives[[0, 1, 3]].tolist() == [4, 4, 3]


def test_a_decay_forgets_old_attention():
    # Token 0 got much long ago, token 1 a little now: the sum keeps 0, half of it at a time 1.
    rows = [[1], [0.9, 0.1], [0.05, 0.5, 0.45], [0.05, 0.5, 0.25, 0.2]]
    held = {}
    for decay in (1.0, 0.25):
        rule = dataclasses.replace(policy("h2o-layer@2"), decay=decay)
        held[decay] = run(told(log_rows(rows)), 3, rule)[0][-1]
    # Masses of 0 and 1: 2 and 1.1; with decay 0.25 (((1 .25 + .9) .25 + .05) .25 + .05), and so on.
    assert held == {1.0: [0, 2, 3], 0.25: [1, 2, 3]}


def test_values_of_hand_made_models_are_what_they_seem():
    model = told(log_rows(STREAM))
    _, y, _ = run(model, 6, policy("full"))
    for step, row in enumerate(STREAM):
        seen = np.pad(np.array(row) / sum(row), (0, 5 - step))
        np.testing.assert_allclose(y[step], seen + np.eye(6)[step], rtol=0, atol=8 * 2.0**-53)
    assert logits(model, y).shape == (6, 6)
