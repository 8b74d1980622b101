"""Token numbers that are none are refused where they come in; traced ones give NaN."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glassesjax.cache import advance, empty_state, policy, prefill, replay, unroll
from glassesjax.cache.generate import generate
from glassesjax.model import Decoder, DecoderConfig, checked_tokens
from glassesjax.model.tokenizer import SymbolTokenizer
from glassesjax.trace.attention import attention_statistics
from glassesjax.trace.certificate import certificate_rows
from glassesjax.trace.collapse import last_representations
from glassesjax.trace.influence import estimated_influence, exact_influence
from glassesjax.trace.rollout import block_stack, printed_bound, rollout
from glassesjax.trace.token_influence import token_influence

CONFIG = DecoderConfig(vocab_size=5, num_layers=1, model_dim=8)
FULL = policy("full")


@pytest.fixture(scope="module")
def decoder():
    return Decoder(CONFIG, key=jax.random.key(0))


def listed(tokens):
    return tuple(np.asarray(tokens).tolist())


BORDERS = {
    "enter": lambda decoder, tokens: decoder.enter(tokens),
    "call": lambda decoder, tokens: decoder(tokens),
    "last_representations": lambda decoder, tokens: last_representations(decoder, [listed(tokens)]),
    "exact_influence": exact_influence,
    "estimated_influence": lambda decoder, tokens: estimated_influence(
        decoder, tokens, key=jax.random.key(1)
    ),
    "rollout": rollout,
    "printed_bound": printed_bound,
    "block_stack": block_stack,
    "token_influence": lambda decoder, tokens: token_influence(
        decoder, tokens, jnp.asarray(1, jnp.int32)
    ),
    "attention_statistics": attention_statistics,
    "certificate_rows": lambda decoder, tokens: certificate_rows(decoder, tokens, 2),
    "prefill": lambda decoder, tokens: list(prefill(unroll(decoder), tokens, FULL)),
    "replay": lambda decoder, tokens: replay(decoder, tokens, FULL),
    "advance": lambda decoder, tokens: advance(
        unroll(decoder), empty_state(CONFIG, FULL, 4, jnp.float32), tokens, FULL
    ),
    "generate": lambda decoder, tokens: list(
        generate(unroll(decoder), [listed(tokens)], FULL, slots=8, max_tokens=1)
    ),
}


@pytest.mark.parametrize("name", BORDERS)
@pytest.mark.parametrize("wrong", [5, -1])
def test_a_token_outside_the_vocabulary_is_refused_at_every_border(decoder, name, wrong):
    tokens = jnp.asarray([1, wrong, 2], jnp.int32)
    with pytest.raises(ValueError, match=rf"numbers from 0 to 4, got {wrong} at index 1"):
        BORDERS[name](decoder, tokens)


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        ((1, True), "got True"),
        ([np.bool_(False)], "got .*False"),
        ([[True, 1]], "got True"),
        ([[0, 1], [1, True]], "got True"),
        (((0, 1), (np.bool_(True), 1)), "got .*True"),
        ([[[1]], [[False]]], "got False"),
        ([np.array([1, 0]), np.array([True, False])], "got array.*True"),
        ([jnp.asarray(True), 1], "got .*True"),
        (np.array([True, False]), "values of type bool"),
        (np.array([0.0, 1.0]), "values of type float64"),
        ((1, 2.5), "values of type float64"),
        (np.array([2**32 + 1]), f"got {2**32 + 1} at index 0"),
        ((2**32 + 1,), f"got {2**32 + 1} at index 0"),
        (np.array([[0, 1], [7, 2]]), "got 7 at index 2"),
    ],
)
def test_what_is_no_token_is_named(tokens, text):
    with pytest.raises(ValueError, match=text):
        checked_tokens(tokens, 5)


def test_tokens_come_back_as_they_were():
    for tokens in ((0, 4), [], np.array([0, 4], np.int32), jnp.asarray([0, 4], jnp.uint8)):
        assert checked_tokens(tokens, 5) is tokens
    assert checked_tokens(np.array([0, 4]), 5).dtype == np.int32


def test_truth_values_in_a_prompt_are_refused(decoder):
    with pytest.raises(ValueError, match="got True: give integers"):
        last_representations(decoder, [(1, True)])
    with pytest.raises(ValueError, match="got True: give integers"):
        list(generate(unroll(decoder), [(1, True)], FULL, slots=8, max_tokens=1))


def test_a_symbol_that_is_not_there_is_no_other():
    tokenizer = SymbolTokenizer(("a", "b"))
    assert tokenizer.token_text(1) == "b"
    assert tokenizer.token_bytes(1) == b"b"
    for wrong in (-1, 2, True):
        for read in (tokenizer.token_text, tokenizer.token_bytes):
            with pytest.raises(ValueError, match="numbers from 0 to 1"):
                read(wrong)


def test_traced_tokens_give_nan_and_from_this_call_on(decoder):
    wrong = jnp.asarray([1, 7, 2], jnp.int32)
    y = jax.jit(lambda tokens: decoder(tokens)[0])(wrong)
    assert jnp.isnan(y).all()  # a weight of zero times NaN: earlier rows, too
    model, state = unroll(decoder), empty_state(CONFIG, FULL, 4, jnp.float32)
    read = jax.jit(lambda state, token: advance(model, state, token, FULL)[:2])
    seen = []
    for token in wrong:
        state, y = read(state, token[None])
        seen.append(bool(jnp.isnan(y).any()))
    assert seen == [False, True, True]
