"""The dense pass under a policy: a replay's representations, its derivatives and their bound."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cache.made_models import CONFIGS, drawn, text_of
from reference import UNIT_ROUNDOFF

from glassesjax.cache import policy
from glassesjax.cache.policies import Policy, fifo_score
from glassesjax.cache.pruned import last_seen, probe, pruned_pass, read
from glassesjax.errors import BadInput
from glassesjax.model.attention import Attention
from glassesjax.model.tiling import Tiling
from glassesjax.theory.blocks import repaired_bound, repaired_rollout
from glassesjax.theory.pruned import paths_left, retained_pairs
from glassesjax.trace import block_stack, estimated_influence, exact_influence, rollout

LENGTH, SLOTS = 16, 5
TOKENS = jnp.asarray(text_of(3, LENGTH))
# Relative to y, whose coordinates are of size one: sums of some tens of terms in another order,
# through two layers whose logits are of a few units.
ALLOWED = 64 * UNIT_ROUNDOFF["float64"]


@pytest.fixture(scope="module")
def decoder():
    return drawn(CONFIGS["half"], 3)


@pytest.fixture(scope="module")
def resid(decoder):
    return jax.jit(lambda decoder: decoder.enter(TOKENS))(decoder)


def reading(decoder, name, tokens=TOKENS, **options):
    slots = len(tokens) if name == "full" else SLOTS
    return read(decoder, tokens, policy(name), slots=slots, **options)


@pytest.fixture(scope="module")
def tova(decoder):
    return reading(decoder, "tova-head", chunk=LENGTH)


def apart(first, second):
    return np.max(np.abs(np.asarray(first) - np.asarray(second)))


@pytest.mark.parametrize(
    "name",
    [
        "full",
        pytest.param("window", marks=pytest.mark.slow),
        "window+2",
        "h2o",
        pytest.param("h2o_mean@2", marks=pytest.mark.slow),
        "tova@1",
    ],
)
def test_the_dense_pass_is_the_replay(decoder, resid, name):
    said = reading(decoder, name, chunk=LENGTH)
    y, trace = pruned_pass(decoder, resid, said.evicted_at)
    assert apart(y, said.y) <= ALLOWED * np.max(np.abs(said.y))
    if name == "full":
        own, _ = jax.jit(lambda decoder, resid: decoder.represent(resid))(decoder, resid)
        np.testing.assert_array_equal(y, own)
    # Weights stand where the token is held, and nowhere else.
    for layer, steps in enumerate(said.evicted_at):
        seen = np.asarray(retained_pairs(jnp.asarray(steps)))
        shown = np.asarray(trace.attn_weights[layer]) > 0
        np.testing.assert_array_equal(shown, np.repeat(seen, len(shown) // len(seen), axis=0))


def test_rows_in_blocks_see_what_all_rows_see(decoder, resid, tova, monkeypatch):
    until, calls = last_seen(tova.evicted_at), []
    every, _ = jax.jit(lambda d, x: d.represent(x, until=until))(decoder, resid)
    # Two stretches of nine and seven rows: three blocks; two and a row that is left over.
    tiling = Tiling(attention_rows=3, attention_stretches=2)
    monkeypatch.setattr("glassesjax.model.attention.TILING", tiling)
    seen = Attention.seen
    counted = lambda self, rows, layout: (
        calls.append(len(rows.position)) or seen(self, rows, layout)
    )
    monkeypatch.setattr(Attention, "seen", counted)
    y, _ = jax.jit(lambda d, x: d.represent(x, until=until))(decoder, resid)
    assert calls == [3, 3, 1]
    assert apart(y, every) <= ALLOWED * np.max(np.abs(every))


def test_heads_that_decide_apart_and_prompts_that_are_cut(decoder, resid, tova):
    y, _ = pruned_pass(decoder, resid, tova.evicted_at)
    assert apart(y, tova.y) <= ALLOWED * np.max(np.abs(y))
    assert not np.array_equal(*tova.evicted_at[0])
    said = reading(decoder, "tova", mode="chunked", chunk=6)
    y, _ = pruned_pass(decoder, resid, said.evicted_at)
    assert apart(y, said.y) <= ALLOWED * np.max(np.abs(y))


def test_a_try_is_the_last_token_of_its_own_prompt(decoder, tova):
    tried, after = jnp.asarray([7, 8, 9], jnp.int32), jnp.asarray([1, 6, 14], jnp.int32)
    line, tails = probe(decoder, TOKENS, tried, after, tova.evicted_at)
    assert apart(line, tova.y) <= ALLOWED * np.max(np.abs(line))
    for token, count, y in zip(tried, after, tails, strict=True):
        prompt = jnp.concatenate([TOKENS[: int(count)], token[None]])
        own = reading(decoder, "tova-head", prompt, chunk=LENGTH)  # filled up: compiled once
        assert apart(own.y[-1], y) <= ALLOWED * np.max(np.abs(y))
    with pytest.raises(BadInput, match="prefixes of 1 to 16 tokens"):
        probe(decoder, TOKENS, tried[:1], jnp.asarray([17], jnp.int32), tova.evicted_at)


def test_moved_positions_are_refused(decoder, resid, tova):
    moved = Policy(name="window", score=fifo_score, position_ids="consecutive")
    with pytest.raises(BadInput, match="original position ids"):
        pruned_pass(decoder, resid, tova.evicted_at, policy=moved)


@pytest.fixture(scope="module")
def jacobian(decoder, resid, tova):
    """Of the last representation, by the plainest means."""
    until = last_seen(tova.evicted_at)
    last = lambda resid: decoder.represent(resid, until=until)[0][-1]
    return np.asarray(jax.jit(jax.jacrev(last))(resid)).transpose(1, 0, 2)


def test_influence_is_that_of_the_dense_pass(decoder, tova, jacobian):
    until = last_seen(tova.evicted_at)
    found = exact_influence(decoder, TOKENS, layers=(0,), until=until)
    exact = np.linalg.norm(jacobian, axis=(1, 2))
    # Some hundred products of sums of some tens of terms, in two orders.
    np.testing.assert_allclose(found.frobenius[0], exact, rtol=1e-11, atol=1e-13 * exact.max())


@pytest.mark.slow  # both methods go back through the same pass
def test_estimates_are_of_the_dense_pass(decoder, tova, jacobian):
    until, exact = last_seen(tova.evicted_at), np.linalg.norm(jacobian, axis=(1, 2))
    options = {"key": jax.random.key(0), "probes": 64}
    guessed = estimated_influence(decoder, TOKENS, until=until, **options)
    error = np.abs(guessed.frobenius[0] - exact)
    # Six standard errors, which are estimates themselves.
    assert np.all(error <= 6 * np.asarray(guessed.standard_error[0]) + 1e-13 * exact.max())


def test_where_no_path_is_left_the_derivative_is_zero(decoder, resid, tova, jacobian):
    most = jnp.asarray(np.stack([steps.max(axis=0) for steps in tova.evicted_at]))
    left = np.asarray(paths_left(retained_pairs(most)))
    norms = np.linalg.norm(jacobian, axis=(1, 2))
    assert np.all(norms[~left[0]] == 0)
    window = reading(decoder, "window", chunk=LENGTH)
    until = last_seen(window.evicted_at)
    last = jax.jit(jax.jacrev(lambda x: decoder.represent(x, until=until)[0][-1]))(resid)
    far = np.abs(np.asarray(last)).max(axis=(0, 2)) > 0
    # Two layers of five slots: ten tokens back, and not one more.
    assert far.tolist() == [back <= 10 for back in range(LENGTH - 1, -1, -1)]


bound_of = jax.jit(repaired_bound)
stack_of = jax.jit(lambda decoder, until: block_stack(decoder, TOKENS, until=until))


def test_the_repaired_bound_holds_for_pruned_attention(decoder, tova, jacobian):
    until = last_seen(tova.evicted_at)
    bound = np.asarray(bound_of(stack_of(decoder, until)))
    norms = np.linalg.norm(jacobian, 2, axis=(1, 2))
    assert np.all(norms <= bound * (1 + 1e-9))
    # Full attention's bound is of another pass.
    never = jnp.asarray(np.full_like(until, LENGTH))
    assert not np.allclose(bound_of(stack_of(decoder, never)), bound)


@pytest.mark.slow  # blocks of rows know of no state: they take its rows of attention
def test_the_repaired_bound_by_blocks_is_the_same(decoder, tova):
    stack = stack_of(decoder, last_seen(tova.evicted_at))
    rolled = jax.jit(lambda stack: repaired_rollout(stack, rows=4))(stack)
    again = np.exp(rolled.log_gain) * rolled.profile[0]
    np.testing.assert_allclose(again, bound_of(stack), rtol=1e-9)


def test_the_rollout_of_a_window_ends_where_it_hears_no_more(decoder):
    until = last_seen(reading(decoder, "window", chunk=LENGTH).evicted_at)
    pi = np.asarray(jax.jit(lambda d: rollout(d, TOKENS, until=until))(decoder).profile[0])
    assert ((pi > 0) == (np.arange(LENGTH) >= LENGTH - 1 - 2 * SLOTS)).all()
    np.testing.assert_allclose(pi.sum(), 1, rtol=1e-12)
