"""The paper's decoder with an eviction policy: its last row, and the eviction steps."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from glassesjax.theory.pruned import pruned_weights, retained_pairs
from proofs_numeric.support import paper_decoder
from proofs_numeric.support.paper_decoder import PaperDecoder

LENGTH, LAYERS = paper_decoder.sizes("quick")


class Pruned(NamedTuple):
    """A decoder of the paper, and the step at which each layer evicted each token."""

    decoder: PaperDecoder
    evicted_at: Any  # layers seq


def last_row(case: Pruned, resid: Float[Array, "seq d"]) -> tuple[Array, Array]:
    """The last representation for given inputs, and the logits of each layer, query and key."""
    decoder = case.decoder

    def layer(resid: Array, each: tuple) -> tuple[Array, Array]:
        query, key, linear, down, up, beta1, beta2, evicted_at = each
        x = resid / beta1
        logits = (x @ query.T) @ (x @ key.T).T  # (seq, seq)
        weights = pruned_weights(logits, retained_pairs(evicted_at))
        constant = jax.lax.stop_gradient(weights)
        # As in paper_decoder: with moves = 0 the weights' derivative is left out.
        mid = resid + (constant + decoder.moves * (weights - constant)) @ x
        inner = mid / beta2
        return mid + inner @ linear.T + jnp.sin(inner @ up.T) @ down.T, logits

    names = ("query", "key", "linear", "down", "up", "beta1", "beta2")
    layers = tuple(getattr(decoder, name) for name in names)
    after, logits = jax.lax.scan(layer, resid, (*layers, case.evicted_at))
    return after[-1] / decoder.beta3, logits


def evict(policy: str, slots: int, seed: int) -> np.ndarray:
    """Eviction steps of each layer and token; the statement holds for any order.

    Args:
      policy: ``window``, ``random`` (any cached token, the newest included), or ``sink``, which
        keeps the first token and a window.
      slots: Capacity.
      seed: Of the random one.

    Returns:
      Steps; the length where a token is never evicted.
    """
    random, steps = np.random.default_rng(seed), np.full((LAYERS, LENGTH), LENGTH, np.int32)
    for layer in range(LAYERS):
        cached: list[int] = []  # oldest first: index 0 is the window's, 1 what a sink leaves
        for step in range(LENGTH):
            cached.append(step)
            if len(cached) > slots:
                among = {"window": 0, "sink": 1, "random": int(random.integers(len(cached)))}
                steps[layer, cached.pop(among[policy])] = step
    return steps
