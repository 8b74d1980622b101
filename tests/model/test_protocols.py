"""Positions and masks of one's own: a class each, in pass, cache and derivatives."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from made_decoders import made, passed

from glassesjax.cache import policy, replay
from glassesjax.errors import BadInput
from glassesjax.model import Alibi, Causal, DecoderConfig, MaskByLayer, Rotary, Window
from glassesjax.model.config import Mask, Positions
from glassesjax.model.stored import save_decoder
from glassesjax.trace import exact_influence, printed_bound
from glassesjax.trace.attention import attention_statistics

TOKENS = jnp.asarray([1, 4, 2, 2, 3, 0, 1, 4], jnp.int32)
U = 2.0**-53


@dataclasses.dataclass(frozen=True, kw_only=True)
class Turned(Positions):
    """Rotary positions once more, which say nothing but how they turn."""

    def turn(self, x, position):
        return Rotary().turn(x, position)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sloped(Positions):
    """ALiBi once more, with its bias alone."""

    def bias(self, num_heads, query, key, dtype):
        return Alibi().bias(num_heads, query, key, dtype)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dilated(Mask):
    """Every other token before it: no stretch of keys."""

    causal: ClassVar[bool] = True

    def sees(self, query, key):
        return (key <= query) & ((query - key) % 2 == 0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Near(Mask):
    """A window of three once more."""

    causal: ClassVar[bool] = True

    def sees(self, query, key):
        return (key <= query) & (query - key < 3)

    def receptive_field(self, position, length):
        return (position - 2).clip(0), position


def decoder_of(**switches):
    config = DecoderConfig(vocab_size=5, num_layers=2, num_heads=2, model_dim=8, **switches)
    return made(config, jax.random.key(0), jnp.float64)


TWINS = [
    ({"positions": Turned()}, {"positions": Rotary()}),
    ({"positions": Sloped()}, {"positions": Alibi()}),
    ({"mask": Near()}, {"mask": Window(width=3)}),
]


@jax.jit
def instruments(decoder):
    """Logits of a pass, and the derivatives."""
    influence = exact_influence(decoder, TOKENS, layers=(0,))
    return decoder.logits(decoder(TOKENS)[0]), influence.frobenius


def cached(decoder, kept="tova", slots=4):
    return replay(decoder, TOKENS, policy(kept), slots=slots).logits


@pytest.mark.parametrize(("own", "known"), TWINS, ids=["turn", "bias", "mask"])
def test_a_class_of_ones_own_is_the_built_in_one_of_the_same_methods(own, known):
    for mine, theirs in zip(
        *map(instruments, map(lambda s: decoder_of(**s), (own, known))), strict=True
    ):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=64 * U * np.max(np.abs(theirs)))


def test_a_mask_with_gaps_hides_what_it_does_not_see():
    decoder = decoder_of(mask=Dilated())
    weights = np.asarray(passed(decoder, TOKENS)[1].attn_weights)
    place = np.arange(len(TOKENS))
    hidden = (place[:, None] - place) % 2 == 1
    assert np.all(weights[..., hidden] == 0)
    logits, influence = instruments(decoder)
    assert np.array_equal(np.asarray(influence).ravel() > 0, place % 2 == 1)  # as the last token
    held = cached(decoder, "full", len(TOKENS))
    np.testing.assert_allclose(held, logits, rtol=0, atol=256 * U * np.max(np.abs(logits)))
    assert np.max(np.abs(cached(decoder_of(mask=Causal()), "full", len(TOKENS)) - logits)) > 1e-3


@pytest.mark.parametrize(
    ("switches", "text"),
    [
        ({"positions": Sloped()}, "positions with a method linear_bias.* got Sloped"),
        ({"mask": Dilated()}, "mask with a method receptive_field.* got Dilated"),
    ],
    ids=["bias", "mask"],
)
def test_an_instrument_names_the_method_that_it_needs(switches, text):
    decoder = decoder_of(**switches)
    for run in (attention_statistics, printed_bound):
        with pytest.raises(BadInput, match=text):
            jax.eval_shape(run, decoder, TOKENS)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wide(Near):
    """A window of three whose field has four keys."""

    def receptive_field(self, position, length):
        return (position - 3).clip(0), position


@pytest.mark.parametrize("mask", [Wide(), MaskByLayer(layers=(Near(), Wide()))], ids=str)
def test_a_receptive_field_that_is_not_what_a_mask_sees_is_refused(mask):
    with pytest.raises(BadInput, match=r"its receptive_field, got Wide\(\) at positions 3 and 0"):
        jax.eval_shape(attention_statistics, decoder_of(mask=mask), TOKENS)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Traced(Near):
    """A window of three in JAX's own functions."""

    def sees(self, query, key):
        return jnp.logical_and(key <= query, query - key < 3)


def test_a_mask_in_functions_of_jax_is_the_same():
    ours, theirs = (
        attention_statistics(decoder_of(mask=mask), TOKENS) for mask in (Traced(), Near())
    )
    for mine, known in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(mine, known)


def test_no_file_can_name_a_class_of_ones_own(tmp_path):
    decoder = decoder_of(positions=Turned())
    with pytest.raises(ValueError, match=r"Expected a kind that files can name, .* got Turned"):
        save_decoder(tmp_path / "own.safetensors", decoder, tuple("abcde"), {})
    assert not list(tmp_path.iterdir())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ahead(Mask):
    """A mask that says it is causal and shows one later token."""

    causal: ClassVar[bool] = True

    def sees(self, query, key):
        return key <= query + 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Past(Mask):
    """A mask that hides each token from itself."""

    def sees(self, query, key):
        return key < query


@pytest.mark.parametrize(
    ("mask", "text"),
    [
        (Ahead(), r"a causal mask to hide later tokens, got Ahead\(\) at positions 0 and 1"),
        (Past(), r"a token to see itself, got Past\(\) at positions 0 and 0"),
        (Mask(), "a mask with a method sees, .*, got Mask"),
    ],
    ids=["later", "itself", "none"],
)
def test_a_mask_that_is_not_what_it_says_is_refused(mask, text):
    with pytest.raises(ValueError, match=text):
        decoder_of(mask=mask)
