"""The trained decoders of the package: whole, small, and able to do what they learned."""

import hashlib

import jax
import numpy as np
import pytest

from glassesjax import open_model
from glassesjax.model.trained import FOLDER, TRAINED, trained_file
from glassesjax.tasks import LengthMix, PromptFormat, named_task
from glassesjax.train import evaluate

MIX = LengthMix(low=2, high=32)


def test_every_file_has_a_line_and_every_line_a_file():
    assert {path.stem for path in FOLDER.glob("*.safetensors")} == set(TRAINED)


@pytest.mark.parametrize("name", TRAINED)
def test_a_file_is_the_one_that_was_made(name):
    content = trained_file(name).read_bytes()
    assert hashlib.sha256(content).hexdigest() == TRAINED[name].sha256
    assert len(content) < 2**20
    model = open_model(name)
    assert model.name == name
    assert model.source["weights_sha256"] == TRAINED[name].sha256
    assert {np.asarray(leaf).dtype for leaf in jax.tree.leaves(model.decoder)} == {np.dtype("f4")}


@pytest.mark.parametrize("name", TRAINED)
def test_it_does_what_it_learned_and_no_more(name, key):
    ask = lambda length, size, count: float(
        evaluate(
            open_model(name).decoder,
            named_task(name),
            PromptFormat(),
            key,
            length,
            size=size,
            count=count,
        ).exact
    )
    assert ask(MIX, 32, 256) >= 0.99
    if name == "count_ones":
        assert ask(64, 64, 4) < 0.5
