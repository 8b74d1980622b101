"""One process of a training on a mesh; the tests start some of these and read what they leave.

Arguments: a folder, and JSON with what to train. With JAX_PROCESS_ID in the environment the process
is one of several.
"""

import dataclasses
import json
import os
import signal
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from glassesjax.errors import BadInput
from glassesjax.model import DecoderConfig, DenseMlp
from glassesjax.tasks import LengthMix, named_task
from glassesjax.train import TrainConfig, init_state, train_steps
from glassesjax.train.checkpoint import save
from glassesjax.train.hosts import connect, ended, fetch, is_writer, share
from glassesjax.train.mesh import make_mesh, shard

TRAINING = TrainConfig(
    task=named_task("count_mixed"), mix=LengthMix(low=1, high=6), batch=8, steps=20, warmup=4
)
RATE = 3e-3
STEPS = 3  # in a call
HEARTBEAT = 5  # s


@jax.jit
def stack(*states):
    """Of several one, its leaves along a leading axis; one program for all leaves."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)


def config(width: int) -> DecoderConfig:
    """A decoder of two layers; from a width of 32 on, its matrices are divided over devices."""
    sizes = {"vocab_size": len(TRAINING.task.symbols), "num_layers": 2, "num_heads": 2}
    return DecoderConfig(**sizes, model_dim=width, mlp=DenseMlp(dim=2 * width))


def started(seeds, width, rate=RATE):
    """Training states stacked, before their first step."""
    every = [init_state(config(width), TRAINING, seed, rate) for seed in seeds]
    return stack(*every)


def trained(seeds, width, mesh=None, parts=1, calls=2, rate=RATE):
    """Training states, losses, and the share of the training states that one device holds."""
    training = dataclasses.replace(TRAINING, parts=parts)
    states, losses = started(seeds, width, rate), []
    states = states if mesh is None else shard(states, mesh, training)
    for _ in range(calls):
        states, told = train_steps(states, training, STEPS, mesh=mesh)
        losses.append(fetch(told.loss))
    leaves = jax.tree.leaves((states.decoder, states.opt_state))
    here = sum(leaf.addressable_shards[0].data.nbytes for leaf in leaves)
    share_here = here / sum(leaf.nbytes for leaf in leaves)
    return fetch(states), np.concatenate(losses, axis=1), share_here


def write(path, states, losses, here):
    """Weights, moments and losses as one file, whole or not there."""
    leaves = jax.tree.leaves((states.decoder, states.opt_state))
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        named = {f"leaf{at:02d}": leaf for at, leaf in enumerate(leaves)}
        np.savez(file, losses=losses, here=here, **named)
    part.replace(path)


def run(folder, jobs):
    """Trains each job; then does to itself, or to the others, what it is told."""
    if "JAX_PROCESS_ID" in os.environ:
        connect(heartbeat=HEARTBEAT)
    elif jobs.get("alone"):  # and JAX has not been used yet
        try:
            connect()
        except BadInput as error:
            (folder / "refused.txt").write_text(str(error))
    for job in jobs["train"]:
        mesh = make_mesh(**job["mesh"]) if job["mesh"] else None
        made = trained(job["seeds"], job["width"], mesh, job.get("parts", 1))
        if is_writer():
            write(folder / f"{job['name']}.npz", *made)
            # The others do not come to it.
            save(folder / "checkpoint", made[0], folder / "rows.jsonl")
    fate = jobs.get("fate", {}).get(os.environ.get("JAX_PROCESS_ID"))
    shared = share({"zero": np.float32([-0.0, jax.process_index()]), "key": jax.random.key(3)})
    assert np.signbit(shared["zero"][0]), "The broadcast lost a sign."
    assert shared["zero"][1] == 0, "Another process than the writer was heard."
    if fate == "late":
        time.sleep(3)
    if fate == "raise":
        raise OSError("No space left on device")
    if fate == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    while jobs.get("on"):  # until the others' end ends this one, too
        trained(job["seeds"], job["width"], mesh, job.get("parts", 1), calls=1)
    return 0


if __name__ == "__main__":
    sys.exit(ended(lambda: run(Path(sys.argv[1]), json.loads(sys.argv[2]))))
