"""Every policy goes through the same tests: what a state may hold, whoever decides."""

import dataclasses
import functools
import importlib
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cache.made_models import CONFIGS, drawn, text_of
from cache.test_against_reference import CUT, EXACT
from hypothesis import given, settings
from hypothesis import strategies as st

from glassesjax.cache import (
    POLICIES,
    KVCache,
    Policy,
    advance,
    distinct_policies,
    empty_state,
    policy,
    unroll,
)
from glassesjax.cache.slots import EMPTY, evict, write
from glassesjax.errors import BadInput

# The package exports the function of the same name.
ADVANCE = importlib.import_module("glassesjax.cache.advance")
SLOTS, HALF, GROUPS = 6, 10, 2
LENGTH = 2 * HALF


def newest_first(candidates):
    """A policy of one's own, as CONTRIBUTING says: it drops the newest that it may drop."""
    return -candidates.position.astype(candidates.weight.dtype)


class Row(NamedTuple):
    """A policy, and what it promises."""

    policy: Policy
    newest: bool = False  # the newest token is held after each step


# A new policy is one row here.
TABLE = [
    Row(policy("window"), newest=True),
    Row(policy("window+2"), newest=True),
    Row(policy("h2o"), newest=True),
    Row(policy("h2o-layer"), newest=True),
    Row(policy("h2o+1@2"), newest=True),
    Row(policy("h2o@6"), newest=True),
    Row(policy("h2o_mean"), newest=True),
    Row(policy("h2o_mean-layer@3"), newest=True),
    Row(policy("h2o@0~0.5")),
    Row(policy("tova@half"), newest=True),
    Row(policy("tova")),
    Row(policy("tova+2")),
    Row(policy("tova@1"), newest=True),
    Row(policy("tova-head")),
    Row(policy("tova-head+1@3"), newest=True),
    Row(Policy(name="newest_first", score=newest_first)),
]
ROWS = pytest.mark.parametrize("row", TABLE, ids=lambda row: str(row.policy))
# What only numbers tell from these is slow where they make no difference and each is a program.
KINDS = {"window", "h2o", "h2o_mean", "h2o@0~0.5", "tova+2", "tova-head", "newest_first"}
KIND_ROWS = pytest.mark.parametrize(
    "row",
    [pytest.param(r, marks=[pytest.mark.slow] * (str(r.policy) not in KINDS)) for r in TABLE],
    ids=lambda row: str(row.policy),
)


def test_no_policy_is_left_out():
    assert {row.policy.name for row in TABLE} >= {n for n, p in POLICIES.items() if p.bounded}
    compared = {policy(case.policy).name for case in (*EXACT, *CUT)}  # with lists of tokens
    assert compared >= POLICIES.keys()


write_one = jax.jit(write)
forget_one = jax.jit(evict, static_argnums=3)


def all_alike(candidates):
    """A score that is the same for all."""
    return jnp.ones_like(candidates.weight)


def groups_of(rule):
    return GROUPS if rule.head_wise else 1


def nothing(rule, slots=SLOTS):
    """An empty state without keys worth the name: the tests give the attention themselves."""
    groups = groups_of(rule)
    empty = np.full((groups, slots + 1), EMPTY, np.int32)
    buffer = np.zeros((GROUPS, slots + 1, 1))
    return KVCache(*map(jnp.asarray, (buffer, buffer, empty, np.zeros((groups, slots + 1)))))


def paid_by(cache, row):
    """Attention of one query: a row of weights by position, over what is held."""
    held = cache.position != EMPTY
    weight = jnp.where(held, jnp.take_along_axis(row, jnp.maximum(cache.position, 0), 1), 0)
    return weight / jnp.sum(weight, axis=-1, keepdims=True)


def stream(cache, weights, first, rule):
    """The same, a stretch at a time: one compiled function serves all tests."""
    parts = []
    for start in range(0, len(weights), HALF):
        now = np.int32(first + start)
        cache, part = stretch(cache, weights[start : start + HALF], now, rule)
        parts.append(part)
    return cache, jax.tree.map(lambda *x: np.concatenate(x), *parts)


@functools.partial(jax.jit, static_argnames="rule")
def stretch(cache, weights, first, rule):
    """Positions after each step, and whom it dropped, for weights ``[step, group, position]``."""
    new = jnp.zeros((GROUPS, 1))

    def one(cache, step):
        row, now = step
        cache = write(cache, new, new, now)
        cache, gone = evict(cache, paid_by(cache, row), now, rule, jnp.bool(True))
        return cache, (cache.position, cache.mass, gone)

    now = first + jnp.arange(len(weights), dtype=jnp.int32)
    return jax.lax.scan(one, cache, (weights, now))


def drawn_weights(rule, seed, coarse=False):
    """Random attention; coarse weights are whole numbers: many are equal, sums exact."""
    rng = np.random.default_rng(seed)
    shape = (LENGTH, groups_of(rule), LENGTH)
    return 1.0 + rng.integers(0, 3, shape) if coarse else rng.exponential(size=shape)


def held_sets(positions):
    """For each decision, the set after each step; a repeated position would show in its size."""
    runs = np.asarray(positions).transpose(1, 0, 2)
    return [[[int(p) for p in step if p != EMPTY] for step in run] for run in runs]


@ROWS
@settings(max_examples=25, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1), coarse=st.booleans())
def test_what_a_state_may_hold(row, seed, coarse):
    rule = row.policy
    weights = drawn_weights(rule, seed, coarse)
    _, (positions, mass, gone) = stream(nothing(rule), weights, 0, rule)
    assert np.all(np.asarray(mass)[np.asarray(positions) == EMPTY] == 0)
    for group, run in enumerate(held_sets(positions)):
        before = set()
        for step, listed in enumerate(run):
            held, recent = set(listed), rule.protected(SLOTS)
            assert len(listed) == len(held) == min(step + 1, SLOTS)
            left = (before | {step}) - held  # so nothing comes back, and at most one goes
            assert left == ({int(gone[step, group])} - {EMPTY})
            assert held >= set(range(min(rule.sinks, step + 1)))
            assert held >= set(range(max(step + 1 - recent, 0), step + 1))
            assert step in held or not row.newest
            before = held


@ROWS
def test_the_promise_about_the_newest_is_no_more_than_the_policy_keeps(row):
    rule, lost = row.policy, False
    for seed in range(20):
        _, (positions, *_) = stream(nothing(rule), drawn_weights(rule, seed), 0, rule)
        runs = held_sets(positions)
        lost |= any(step not in held for run in runs for step, held in enumerate(run))
    assert lost != row.newest


@ROWS
@settings(max_examples=10, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1), coarse=st.booleans())
def test_where_a_token_is_stored_means_nothing(row, seed, coarse):
    rule = row.policy
    weights = drawn_weights(rule, seed, coarse)
    cache, _ = stream(nothing(rule), weights[:HALF], 0, rule)
    order = np.random.default_rng(seed + 1).permutation(SLOTS + 1)
    shuffled = jax.tree.map(lambda x: jnp.asarray(np.asarray(x)[:, order]), cache)
    runs = [stream(c, weights[HALF:], HALF, rule) for c in (cache, shuffled)]
    (_, (positions, _, gone)), (_, (others, _, other_gone)) = runs
    np.testing.assert_array_equal(gone, other_gone)
    np.testing.assert_array_equal(np.sort(positions), np.sort(others))


@ROWS
def test_equal_scores_drop_the_smallest_position_that_may_go(row):
    rule = row.policy
    for order in ([0, 1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1, 0], [3, 6, 0, 2, 5, 1, 4]):
        position = np.tile(np.array(order, np.int32), (groups_of(rule), 1))
        even = np.full(position.shape, 1 / 8)  # exact, and equal for all
        cache = nothing(rule)._replace(position=position)
        same = dataclasses.replace(rule, score=all_alike)
        _, gone = forget_one(cache, even, np.int32(6), same, np.bool(True))
        assert gone.tolist() == [rule.sinks] * groups_of(rule)


@KIND_ROWS
def test_a_step_that_only_fills_changes_nothing(row):
    rule = row.policy
    for steps in (0, HALF):
        cache = nothing(rule)
        if steps:
            cache, _ = stream(cache, drawn_weights(rule, 1)[:steps], 0, rule)
        new, now = np.zeros((GROUPS, 1)), np.int32(steps)
        filled = write_one(cache, new, new, now)
        even = np.full(filled.position.shape, 1 / 8)
        after, gone = forget_one(filled, even, now, rule, np.bool(False))
        assert np.all(np.asarray(gone) == EMPTY)
        np.testing.assert_array_equal(after.position, cache.position)
        np.testing.assert_array_equal(after.mass, cache.mass)


@ROWS
def test_what_is_not_a_number_stays_bounded(row):
    rule = row.policy
    weights = drawn_weights(rule, 2)
    weights[8] = np.nan
    _, (positions, *_) = stream(nothing(rule), weights, 0, rule)
    for run in held_sets(positions):
        for step, held in enumerate(run):
            assert len(set(held)) == len(held) == min(step + 1, SLOTS)
            assert set(held) >= set(range(min(rule.sinks, step + 1)))


@pytest.fixture(scope="module")
def decoder():
    return drawn(CONFIGS["half"], seed=1)


@pytest.fixture(scope="module")
def full(decoder):
    """Tokens, and what the decoder says of them without any cache."""
    tokens = jnp.asarray(text_of(1, SLOTS))
    return tokens, jax.jit(lambda decoder: decoder(tokens)[0])(decoder)


WRONG = np.array([5, 99, 6, 0, 0, 0], np.int32)  # there is no token 99


def assert_it_shows(y, state):
    """From the wrong token on nothing is a number, and the state stays full."""
    y = np.asarray(y)
    assert np.all(np.isfinite(y[0]))
    assert np.all(np.isnan(y[1:3]))
    held = [np.count_nonzero(np.asarray(c.position[0]) != EMPTY) for c in state.layers]
    assert held == [SLOTS, SLOTS]


@KIND_ROWS
def test_a_state_that_holds_all_is_the_decoder_and_what_is_not_a_number_shows(
    row, decoder, full, monkeypatch
):
    tokens, wanted = full
    model, rule = unroll(decoder), row.policy
    state = empty_state(decoder.config, rule, SLOTS, jnp.float64)
    state, y, dropped = advance(model, state, tokens, rule)
    # The same sums in another order: a few roundings in each of two layers, norms included.
    np.testing.assert_allclose(y, wanted, rtol=0, atol=256 * 2.0**-53 * np.max(np.abs(wanted)))
    assert all(np.all(np.asarray(gone.position) == EMPTY) for gone in dropped)
    with pytest.raises(ValueError, match="got 99 at index 1"):
        advance(model, state, jnp.asarray(WRONG), rule)
    # As under a trace, where nobody can look.
    monkeypatch.setattr(ADVANCE, "checked_tokens", lambda *_: None)
    state, y, _ = advance(model, state, jnp.asarray(WRONG), rule, length=jnp.int32(3))
    assert_it_shows(y, state)


def test_under_a_trace_a_wrong_token_is_not_refused(decoder, full):
    model, rule = unroll(decoder), policy("tova")
    state = empty_state(decoder.config, rule, SLOTS, jnp.float64)
    state, _, _ = advance(model, state, full[0], rule)
    read = jax.vmap(lambda tokens: advance(model, state, tokens, rule, length=jnp.int32(3)))
    state, y, _ = jax.tree.map(lambda leaf: leaf[0], read(WRONG[None]))
    assert_it_shows(y, state)


def test_a_function_and_a_row_are_a_new_policy(monkeypatch):
    row = Policy(name="newest_first", score=newest_first)
    monkeypatch.setitem(POLICIES, row.name, row)
    rule = policy("newest_first-head+2@1")
    assert rule == dataclasses.replace(row, head_wise=True, sinks=2, recent=1)
    assert str(rule) == "newest_first-head+2@1"
    _, (positions, *_) = stream(nothing(rule), drawn_weights(rule, 3), 0, rule)
    # It keeps the first, and the newest only because it must.
    assert all(set(run[-1]) == {0, 1, 2, 3, 4, LENGTH - 1} for run in held_sets(positions))


NAMES = ["full", "window", "window+4", "h2o", "h2o@32", "h2o-layer+1@2", "h2o_mean", "tova@1"]


@pytest.mark.parametrize("name", [*NAMES, "tova", "tova-head", "tova+4", "h2o@0", "h2o_mean-layer"])
def test_names_are_read_as_they_are_written(name):
    assert str(policy(name)) == name
    assert policy(str(policy(name))) == policy(name)


def test_a_policy_prints_all_but_its_spacing_and_is_read_back():
    values = {
        "head_wise": (False, True),
        "sinks": (0, 1, 12),
        "recent": (None, 0, 1, 30),
        "decay": (1.0, 0.99, 1 / 3, 1e-7),
    }
    fields = {field.name for field in dataclasses.fields(Policy)}
    assert fields == {*values, "name", "score", "bounded", "position_ids"}
    made = []
    for row, *each in itertools.product(POLICIES.values(), *values.values()):
        rule = dataclasses.replace(row, **dict(zip(values, each, strict=True)))
        if row.bounded:
            made.append(str(rule))
            # In a window all heads drop the same: the plain name reads as the layer's.
            alike = {"head_wise": False} if rule.name == "window" else {}
            assert policy(str(rule)) == dataclasses.replace(rule, **alike)
        else:
            assert policy(str(rule)) == row  # what drops nothing keeps all, whatever is said
    assert len(set(made)) == len(made)
    own = Policy(name="mine", score=newest_first, recent=None, decay=0.5)
    assert str(own) == "mine@half~0.5"


def test_h2o_without_room_for_the_much_attended_is_a_window():
    for seed in range(5):
        runs = []
        for name in (f"h2o-layer@{SLOTS}", f"h2o_mean-layer@{SLOTS}", "window"):
            rule = policy(name)
            runs.append(stream(nothing(rule), drawn_weights(rule, seed), 0, rule)[1])
        position, mass, gone = runs[-1]
        for other in runs[:-1]:
            np.testing.assert_array_equal(other[0], position)
            # Programs of their own: a weight has LENGTH roundings or fewer, as has a sum of them.
            np.testing.assert_allclose(other[1], mass, rtol=4 * LENGTH * 2.0**-53)
            np.testing.assert_array_equal(other[2], gone)


def test_what_a_name_says():
    rule = policy("tova-head+4@1")
    assert (rule.name, rule.head_wise, rule.sinks, rule.recent) == ("tova", True, 4, 1)
    assert [policy("h2o").protected(slots) for slots in (1, 2, 8, 9)] == [1, 1, 4, 4]
    assert policy("h2o@3").protected(8) == 3
    assert policy("tova@0") == policy("tova") == policy("tova~1") == policy("tova~1.0")
    assert policy("tova@half").protected(8) == 4
    assert policy("h2o@half") == policy("h2o")
    assert policy("h2o-head+1@2~0.9").decay == 0.9


def test_h2o_decides_by_head_and_tova_by_layer_and_every_name_takes_either():
    by_head = {name: policy(name).head_wise for name in POLICIES}
    assert by_head == {
        "full": False, "window": False, "h2o": True, "h2o_mean": True, "tova": False,
    }  # fmt: skip
    for name in ("h2o", "h2o_mean", "tova"):
        assert policy(f"{name}-head").head_wise
        assert not policy(f"{name}-layer").head_wise
    # One policy has one name in rows, whichever alias was asked for.
    ones = {"h2o-head": "h2o", "h2o_mean-head+1": "h2o_mean+1", "tova-layer@1": "tova@1"}
    ones |= {"h2o@half": "h2o", "tova~1.0": "tova"}
    # What drops by time drops the same token in every head.
    ones |= {f"{name}{end}": name for name in ("full", "window") for end in ("-head", "-layer")}
    for alias, name in ones.items():
        assert (str(policy(alias)), policy(alias)) == (name, policy(name))
    assert [str(policy(name)) for name in ("h2o-layer", "tova-head")] == ["h2o-layer", "tova-head"]


def test_two_names_of_one_policy_are_refused():
    assert distinct_policies(("h2o-head", "tova-layer", "h2o-layer")) == (
        "h2o",
        "tova",
        "h2o-layer",
    )
    assert distinct_policies(("short", "window-head"), beside=("short",)) == ("short", "window")
    for names, text in (
        (("h2o", "h2o-head"), "got h2o and h2o-head, which are one policy"),
        (("tova-layer", "window", "tova"), "got tova-layer and tova"),
        (("full", "full-layer"), "got full and full-layer"),
        ((), "got none"),
        (("tovo",), "did you mean 'tova'"),
    ):
        with pytest.raises(BadInput, match=text):
            distinct_policies(names)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("tovo", "did you mean 'tova'"),
        ("windw+4", "did you mean 'window[+]4'"),
        ("h20-head", "did you mean 'h2o-head'"),
        ("tova-heads", "got 'tova-heads'"),
        ("tova-head-layer", "got 'tova-head-layer'"),
        ("qqq", "NAME out of full, window, h2o, h2o_mean, tova, got 'qqq': see --help"),
        ("tova+", "got 'tova[+]'"),
        ("tova@1+4", "got 'tova@1[+]4'"),
        ("h20~0.5", "did you mean 'h2o~0.5'"),
        ("h2o~0.5@1", r"\[@RECENT\]\[~DECAY\] with NAME out of .*got 'h2o~0.5@1'"),
        ("h2o~", "got 'h2o~'"),
        ("h2o@some", "got 'h2o@some'"),
        ("h2o~0", "decay over 0 and at most 1, got 0.0"),
        ("h2o~1.5", "decay over 0 and at most 1, got 1.5"),
        ("full~0.5", "Expected plain full"),
        ("TOVA", "NAME out of"),
        ("full+2", "Expected plain full, which drops nothing, .*got 'full[+]2'"),
    ],
)
def test_a_wrong_name_is_answered_with_the_nearest(name, text):
    with pytest.raises(BadInput, match=text):
        policy(name)


@pytest.mark.parametrize(
    ("name", "slots", "text"),
    [
        ("tova", 0, "at least 1 slots for tova.*got 0: use more slots or protect fewer"),
        ("full", 0, "at least 1 slots for full"),
        ("window+4", 4, "at least 5 slots for window[+]4.*4 first and 0 newest.*got 4"),
        ("h2o@9", 8, "at least 9 slots for h2o@9.*0 first and 9 newest.*got 8"),
        ("h2o+5", 8, "at least 9 slots for h2o[+]5.*5 first and 4 newest.*got 8"),
        ("tova", -1, "at least 1 slots"),
    ],
)
def test_a_capacity_that_the_policy_cannot_work_with(name, slots, text):
    with pytest.raises(BadInput, match=text):
        empty_state(CONFIGS["half"], policy(name), slots)


@pytest.mark.parametrize(
    ("name", "slots"), [("tova", 1), ("window+4", 5), ("h2o@8", 8), ("h2o", 1)]
)
def test_the_smallest_capacity_that_it_can_work_with(name, slots):
    empty_state(CONFIGS["half"], policy(name), slots)


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("sinks", -1, "Policy.sinks at least 0, got -1"),
        ("recent", -1, "Policy.recent at least 0, got -1"),
        ("decay", 0.0, "Policy.decay over 0 and at most 1, got 0.0"),
        ("decay", 1.5, "Policy.decay over 0 and at most 1, got 1.5"),
        ("decay", float("nan"), "Policy.decay to be a number, got nan"),
    ],
)
def test_a_policy_that_makes_no_sense(field, value, text):
    with pytest.raises(BadInput, match=text):
        dataclasses.replace(policy("tova"), **{field: value})
