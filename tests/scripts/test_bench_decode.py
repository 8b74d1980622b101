"""The benchmark's own small parts: names of weights, the simplest loop, what it complains about."""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glassesjax.cache import policy, replay
from glassesjax.model import (
    Decoder,
    DecoderConfig,
    GatedMlp,
    RMSNorm,
    Rotary,
    build_decoder,
    flat_parameters,
)

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
from decode_clients import SAME, agrees, our_arrays, peer_run, their_arrays, wrong
from decode_runs import plain_logits, plain_weights

TEXT = np.asarray([1, 4, 2, 2, 0, 5, 3], np.int32)


def config(style):
    return DecoderConfig(
        vocab_size=6,
        num_layers=2,
        num_heads=4,
        num_kv_heads=2,
        model_dim=8,
        head_dim=4,
        positions=Rotary(style=style),
        norm=RMSNorm(),
        mlp=GatedMlp(dim=12),
        tied=False,
    )


@pytest.fixture(scope="module")
def decoder():
    return Decoder(config("interleaved"), key=jax.random.key(3), dtype=jnp.float64)


@pytest.fixture(scope="module")
def wanted(decoder):
    return np.asarray(replay(decoder, TEXT, policy("full")).logits)


class Echo:
    """A peer with answers of one's own."""

    def __init__(self, *, moved=0.0, held=0):
        self.moved, self.held, self.decoder = moved, held, None

    def logits(self, model, text, slots=None):
        own = replay(self.decoder, np.asarray(text, np.int32), policy("full")).logits
        return np.asarray(own) + self.moved

    def ask(self, do, **job):
        return {"seconds": 1.0, "held": self.held}


def test_names_of_weights_there_and_back():
    decoder = Decoder(config("half"), key=jax.random.key(4), dtype=jnp.float32)
    back, ours = our_arrays(their_arrays(decoder), 2), flat_parameters(decoder)
    assert set(back) == set(ours)
    for name, array in ours.items():
        np.testing.assert_array_equal(back[name], array)


def test_halves_turn_as_pairs_did(decoder, wanted):
    """Rows change their order; the model does not."""
    theirs = our_arrays(their_arrays(decoder), 2)
    key = flat_parameters(decoder)["blocks.attention.key"]
    order = [0, 2, 1, 3, 4, 6, 5, 7]  # neighbors (0, 1), (2, 3) of a head become 0, 2 | 1, 3
    np.testing.assert_array_equal(
        theirs["blocks.attention.key"], np.float32(np.asarray(key))[:, order]
    )
    halves = build_decoder(config("half"), theirs)
    found = np.asarray(replay(halves, TEXT, policy("full")).logits)
    scale = float(np.max(np.abs(wanted)))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=SAME * scale)  # float32 against float64


def test_the_simplest_loop_is_the_decoder(decoder, wanted):
    """Sums of at most 12 terms in two layers, in another order: 1000 roundoffs are plenty."""
    weights, shape = plain_weights(decoder), (2, len(TEXT), 2, 4)
    state = jnp.zeros(shape), jnp.zeros(shape), jnp.asarray(0, jnp.int32)
    step, rows = (
        jax.jit(lambda state, token: plain_logits(decoder.config, weights, state, token)),
        [],
    )
    for token in TEXT:
        state, scores = step(state, jnp.asarray(token))
        rows.append(np.asarray(scores))
    scale = float(np.max(np.abs(wanted)))
    np.testing.assert_allclose(np.stack(rows), wanted, rtol=0, atol=1000 * 2.0**-53 * scale)


@pytest.mark.parametrize(("moved", "complains"), [(0.0, False), (1.0, True), (np.nan, True)])
def test_other_logits_are_complained_about(decoder, moved, complains):
    peer = Echo(moved=moved)
    peer.decoder = decoder
    line = wrong(agrees(decoder, {"transformers, full": peer}))
    assert bool(line) == complains
    assert line.startswith("transformers, full, same weights" if complains else "")


@pytest.mark.parametrize("held", [8, 9])
def test_a_peer_that_holds_its_slots_is_timed(held):
    assert peer_run(Echo(held=held), 32, 1, 4, 8)() == 1.0


@pytest.mark.parametrize("held", [7, 10, 36])
def test_a_peer_that_holds_another_number_is_not(held):
    with pytest.raises(SystemExit, match=f"got {held}"):
        peer_run(Echo(held=held), 32, 1, 4, 8)()
