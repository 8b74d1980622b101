"""Digests of what seeds draw: the tests run it under several settings of JAX, and compare."""

import hashlib
import json
import sys

import jax
import jax.numpy as jnp
import numpy as np

from glassesjax import draws
from glassesjax.cache import policy, unroll
from glassesjax.cache.generate import generate
from glassesjax.cache.sampling import Sampling
from glassesjax.model import Decoder, DecoderConfig, DenseMlp
from glassesjax.tasks import LengthMix, named_task
from glassesjax.tasks.layout import batch
from glassesjax.tasks.prompt_format import PromptFormat
from glassesjax.trace.influence import estimated_influence
from glassesjax.train import TrainConfig, evaluate, init_state, train_steps

TRAINING = TrainConfig(
    task=named_task("count_word"), mix=LengthMix(low=1, high=3), batch=4, steps=4, warmup=1
)
CONFIG = DecoderConfig(
    vocab_size=len(TRAINING.task.symbols),
    num_layers=1,
    num_heads=2,
    model_dim=8,
    mlp=DenseMlp(dim=8),
)


def digest(tree):
    """SHA-256 of all bits; keys as the numbers that they are made of."""
    plain = lambda leaf: np.asarray(draws.numbers(leaf) if draws.is_key(leaf) else leaf)
    leaves = [plain(leaf) for leaf in jax.tree.leaves(tree)]
    return hashlib.sha256(b"".join(leaf.tobytes() for leaf in leaves)).hexdigest()


def drawn(quick=False):
    """What each public function that draws gives, by name; quick: without what compiles long."""
    every = [init_state(CONFIG, TRAINING, seed, 1e-2) for seed in (0, 7)]
    start = jax.tree.map(lambda *leaves: jnp.stack(leaves), *every)
    found = {"weights": digest(start)}
    key, decoder = draws.root_key(3), Decoder(CONFIG, key=draws.root_key(5))
    rows = jax.jit(
        lambda key, step: batch(TRAINING.task, PromptFormat(), TRAINING.mix, key, step, 3)
    )
    found["batch"] = digest(rows(key, jnp.int32(2)))
    found["influence"] = digest(
        estimated_influence(decoder, jnp.arange(4, dtype=jnp.int32), key=key, probes=4)
    )
    if quick:
        return found
    found["step"] = digest(train_steps(start, TRAINING, 1))
    sizes = {"size": 3, "count": 3}
    found["score"] = digest(
        evaluate(decoder, TRAINING.task, PromptFormat(), key, TRAINING.mix, **sizes)
    )
    settings = {"slots": 8, "max_tokens": 3, "sampling": Sampling(temperature=1.0), "seed": 1}
    together = list(generate(unroll(decoder), [[1, 2], [3]], policy("full"), **settings))
    alone = list(generate(unroll(decoder), [[3]], policy("full"), **settings, rows=[1]))
    tokens = lambda steps: [step.token.tolist() for step in steps]
    found["continuation"] = tokens(together)
    assert [[row[1]] for row in tokens(together)] == tokens(alone), "A row draws as it does alone."
    return found


if __name__ == "__main__":
    json.dump(drawn(), sys.stdout)
