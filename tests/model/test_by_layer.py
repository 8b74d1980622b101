"""Positions and masks that differ by layer: in the cache, the derivatives, bounds and files."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from made_decoders import made, passed

from glassesjax.cache import Unrolled, advance, empty_state, policy, replay, unroll
from glassesjax.model import (
    Alibi,
    Causal,
    DecoderConfig,
    Layout,
    Learned,
    MaskByLayer,
    NoPositions,
    PositionsByLayer,
    Rotary,
    Sinusoidal,
    Window,
)
from glassesjax.model.stored import load_decoder, save_decoder
from glassesjax.model.stored_config import config_of, config_record
from glassesjax.theory.blocks import repaired_block_bound, repaired_bound, repaired_rollout
from glassesjax.trace import exact_influence
from glassesjax.trace.heads import attention_rows, layer_heads
from glassesjax.trace.rollout import block_stack

PLAIN = {"positions": Rotary(), "mask": Causal()}
TOKENS = jnp.asarray([1, 4, 2, 2, 3, 0, 1, 4], jnp.int32)
U = 2.0**-53
# A window in two layers of three, two bases and one layer without rotation: Gemma 3 and SmolLM3.
POSITIONS = PositionsByLayer(layers=(Rotary(base=10.0), NoPositions(), Rotary(base=1000.0)))
MASK = MaskByLayer(layers=(Window(width=3), Causal(), Window(width=3)))
CONFIG = DecoderConfig(
    vocab_size=5, num_layers=3, num_heads=2, model_dim=8, positions=POSITIONS, mask=MASK
)


def decoder_of(**switches):
    return made(dataclasses.replace(CONFIG, **switches), jax.random.key(0), jnp.float64)


def same(ours, wanted, ulps=512):
    np.testing.assert_allclose(ours, wanted, rtol=0, atol=ulps * U * np.max(np.abs(wanted)))


@jax.jit
def logits_of(decoder):
    return decoder.logits(decoder(TOKENS)[0])


def test_equal_layers_are_the_plain_decoder():
    plain = decoder_of(positions=Rotary(), mask=Window(width=3))
    equal = decoder_of(
        positions=PositionsByLayer(layers=(Rotary(),) * 3),
        mask=MaskByLayer(layers=(Window(width=3),) * 3),
    )
    same(logits_of(equal), logits_of(plain))
    same(
        exact_influence(equal, TOKENS, layers=(0,)).frobenius,
        exact_influence(plain, TOKENS, layers=(0,)).frobenius,
    )


def test_each_layer_has_its_own_of_either():
    logits = logits_of(decoder_of())
    for layers in ((2, 1, 0), (0, 1, 0)):
        moved = PositionsByLayer(layers=tuple(POSITIONS.layers[layer] for layer in layers))
        assert np.max(np.abs(logits_of(decoder_of(positions=moved)) - logits)) > 1e-3
    moved = MaskByLayer(layers=(Causal(), Window(width=3), Window(width=3)))
    assert np.max(np.abs(logits_of(decoder_of(mask=moved)) - logits)) > 1e-3


def test_a_cache_of_all_tokens_reads_what_the_pass_reads():
    decoder = decoder_of()
    for mode in ("exact", "one_shot"):
        read = replay(decoder, TOKENS, policy("full"), slots=len(TOKENS), mode=mode)
        same(read.logits, logits_of(decoder))
    # Each token may be read in a call of its own, and the order of the layers stays.
    one_by_one = replay(decoder, TOKENS, policy("full"), slots=len(TOKENS), chunk=1)
    same(one_by_one.logits, logits_of(decoder))


def test_the_derivative_is_that_of_the_pass():
    decoder = decoder_of()
    measured = jax.jit(lambda d: exact_influence(d, TOKENS, layers=(0, 1)).frobenius)(decoder)
    resid = passed(decoder, TOKENS)[1].resid

    @functools.partial(jax.jit, static_argnames="start")
    def norms(decoder, resid, start):
        jacobian = jax.jacrev(lambda x: decoder.represent(x, start=start)[0][-1])(resid)
        return jnp.sqrt(jnp.sum(jnp.square(jacobian), axis=(0, 2)))

    for start in (0, 1):
        same(measured[start], norms(decoder, resid[start], start=start), ulps=4096)


@jax.jit
def block_bounds(stack, turns):
    """The bound of the first layer."""
    first = jax.tree.map(lambda x: x[0], (stack.heads, stack.constants))
    return repaired_block_bound(*first, turns)


def test_bounds_hold_with_the_turns_of_each_layer():
    decoder = decoder_of()
    stack = jax.jit(block_stack)(decoder, TOKENS)
    # The middle layer does not turn; those around it turn by their own base.
    assert stack.turns.shape == (3, len(TOKENS), 4, 4)
    np.testing.assert_array_equal(stack.turns[1], np.broadcast_to(np.eye(4), (len(TOKENS), 4, 4)))
    sharp = jax.jit(lambda d: exact_influence(d, TOKENS, layers=(0,), spectral=(0,)).spectral)
    bound = np.asarray(repaired_bound(stack))
    assert np.all(np.asarray(sharp(decoder))[0] <= bound * (1 + 1e-9))
    rolled = repaired_rollout(stack)
    same(np.exp(rolled.log_gain) * rolled.profile[0], bound, ulps=4096)
    # The first layer is that of a plain decoder with its base, whose bound needs its turns.
    plain = jax.jit(block_stack)(decoder_of(positions=Rotary(base=10.0)), TOKENS)
    first = block_bounds(plain, plain.turns[0])
    same(block_bounds(stack, stack.turns[0]), first)
    assert not np.allclose(block_bounds(stack, stack.turns[2]), first)


def test_rows_on_demand_are_those_of_the_pass():
    decoder = decoder_of()
    trace = passed(decoder, TOKENS)[1]
    every = jnp.arange(len(TOKENS), dtype=jnp.int32)
    rows = jax.jit(
        lambda layers, resid: jax.vmap(
            lambda block, x: attention_rows(layer_heads(block, x), every)[1]
        )(layers, resid)
    )
    same(rows(decoder.layers, trace.resid), trace.attn_weights, ulps=64)


def test_a_scan_over_blocks_without_their_numbers_is_refused():
    decoder = decoder_of()
    block = jax.tree.map(lambda weight: weight[0], decoder.blocks)
    with pytest.raises(ValueError, match=r"Expected a layer of PositionsByLayer.*decoder\.layers"):
        block(decoder.enter(TOKENS), Layout.line(len(TOKENS)))


def test_training_moves_the_weights_alone():
    gradient = jax.grad(lambda decoder: jnp.sum(logits_of(decoder)[:, 0]))(decoder_of())
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(gradient))
    assert jax.tree.structure(gradient) == jax.tree.structure(decoder_of())


def test_a_file_names_each_layer(tmp_path):
    assert config_of(config_record(CONFIG)) == CONFIG
    path, decoder = tmp_path / "model.safetensors", decoder_of()
    save_decoder(path, decoder, tuple("abcde"), {})
    read = load_decoder(path)[0]
    assert read.config == CONFIG
    np.testing.assert_array_equal(logits_of(read), logits_of(decoder))


def test_a_text_is_read_with_a_cache_of_fewer_layers():
    """Shapes of a state are those of its own layers: the perplexity study warms up with one."""
    model, tova = unroll(decoder_of()), policy("tova")
    one = Unrolled(model.outer, model.blocks[:1])
    state = empty_state(
        dataclasses.replace(CONFIG, num_layers=1, **PLAIN), tova, 4, model.outer.dtype
    )
    read, _, _ = advance(one, state, TOKENS, tova)
    assert int(read.seen) == len(TOKENS)


@pytest.mark.parametrize("kind", [MaskByLayer, PositionsByLayer])
def test_entries_are_of_their_class_and_lists_become_tuples(kind):
    right, wrong = (Causal(), Rotary()) if kind is MaskByLayer else (Rotary(), Causal())
    listed = kind(layers=(right, right))
    object.__setattr__(listed, "layers", [right, right])  # past the checks that only tests have
    listed.__post_init__()
    assert listed == kind(layers=(right, right))
    assert hash(listed)
    object.__setattr__(listed, "layers", (right, wrong))
    with pytest.raises(ValueError, match=f"{kind.__name__}.layers"):
        listed.__post_init__()


def test_a_foreign_record_that_nests_layers_is_refused():
    record = {"switch": "Causal"}
    for _ in range(2000):
        record = {"switch": "MaskByLayer", "layers": [record]}
    with pytest.raises(ValueError, match=r"config\.mask\.layers of what one layer has, got MaskBy"):
        config_of({**config_record(CONFIG), "mask": record})


@pytest.mark.parametrize(
    ("switches", "text"),
    [
        ({"mask": MaskByLayer(layers=(Causal(),))}, "one entry .* each layer, got 1 for num_lay"),
        ({"positions": PositionsByLayer(layers=(POSITIONS,) * 3)}, "got a PositionsByLayer in one"),
        ({"positions": PositionsByLayer(layers=(Learned(),) * 3)}, "positions of a layer, got Lea"),
        ({"positions": PositionsByLayer(layers=(Sinusoidal(),) * 3)}, "layer, got Sinusoidal"),
        (
            {"positions": PositionsByLayer(layers=(Alibi(slopes=(1.0,)),) * 3)},
            "one slope per head",
        ),
    ],
    ids=["few", "nested", "learned", "added", "slopes"],
)
def test_layers_that_do_not_fit_are_refused(switches, text):
    with pytest.raises(ValueError, match=text):
        dataclasses.replace(CONFIG, **switches)
