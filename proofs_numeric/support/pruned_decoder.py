"""The paper's decoder under forgetting: its last row, and who is dropped when."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from glassesjax.theory.pruned import held_pairs, pruned_weights
from proofs_numeric.support import paper_decoder
from proofs_numeric.support.paper_decoder import PaperDecoder

LENGTH, LAYERS = paper_decoder.sizes("quick")


class Pruned(NamedTuple):
    """A decoder of the paper, and the step at which each layer dropped each token."""

    decoder: PaperDecoder
    forgotten: Any  # layers seq


def last_row(case: Pruned, resid: Float[Array, "seq d"]) -> tuple[Array, Array]:
    """The last representation, and the logits of all pairs.

    Args:
      case: Decoder, and the steps of forgetting.
      resid: Inputs.

    Returns:
      The representation; logits of each layer, query and key.
    """
    decoder = case.decoder

    def layer(resid: Array, each: tuple) -> tuple[Array, Array]:
        query, key, linear, down, up, beta1, beta2, forgotten = each
        x = resid / beta1
        logits = (x @ query.T) @ (x @ key.T).T
        weights = pruned_weights(logits, held_pairs(forgotten))
        held = jax.lax.stop_gradient(weights)
        mid = resid + (held + decoder.moves * (weights - held)) @ x
        inner = mid / beta2
        return mid + inner @ linear.T + jnp.sin(inner @ up.T) @ down.T, logits

    names = ("query", "key", "linear", "down", "up", "beta1", "beta2")
    layers = tuple(getattr(decoder, name) for name in names)
    after, logits = jax.lax.scan(layer, resid, (*layers, case.forgotten))
    return after[-1] / decoder.beta3, logits


def forget(policy: str, slots: int, seed: int) -> np.ndarray:
    """When each layer drops each token; the statement holds for any order whatever.

    Args:
      policy: ``window``, ``random`` (any held token, the newest included), or ``sink``, which
        keeps the first token and a window.
      slots: Capacity.
      seed: Of the random one.

    Returns:
      Steps, the length where a token is held to the end.
    """
    random, steps = np.random.default_rng(seed), np.full((LAYERS, LENGTH), LENGTH, np.int32)
    for layer in range(LAYERS):
        held: list[int] = []
        for step in range(LENGTH):
            held.append(step)
            if len(held) > slots:
                among = {"window": 0, "sink": 1, "random": int(random.integers(len(held)))}
                steps[layer, held.pop(among[policy])] = step
    return steps
