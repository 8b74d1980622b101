"""A process with two devices: opens a folder over both, and leaves what it computes.

Arguments: the folder, and the file to write.
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np

from glassesjax import open_model
from glassesjax.cache import advance, empty_state, logits, policy, unroll
from glassesjax.model import flat_parameters

TOKENS = jnp.asarray([1, 5, 2, 9, 0, 3], jnp.int32)


@jax.jit
def dense(decoder):
    """Logits at every position."""
    return decoder.logits(decoder(TOKENS)[0])


def decoded(decoder):
    """Logits of reading on with a cache, at every position."""
    model, rule = unroll(decoder), policy("full")
    state = empty_state(decoder.config, rule, len(TOKENS), jnp.float32)
    _, y, _ = advance(model, state, TOKENS, rule)
    return logits(model, y)


if __name__ == "__main__":
    folder, out = sys.argv[1:]
    mesh = jax.make_mesh((2,), ("model",))
    decoder = open_model(folder, mesh=mesh).decoder
    arrays = flat_parameters(decoder)
    held = {
        name: array.addressable_shards[0].data.size / array.size for name, array in arrays.items()
    }
    np.savez(
        out, dense=dense(decoder), decoded=decoded(decoder), names=list(held), held=[*held.values()]
    )
