"""Each family: a small configuration opens with weights under the names and shapes of its files."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from model.made_families import ROWS, family_folder, made
from model.made_folders import folder

from glassesjax import open_model
from glassesjax.errors import BadInput
from glassesjax.model import flat_parameters
from glassesjax.model.families.table import FAMILIES


def test_every_family_has_a_row():
    assert ROWS.keys() == FAMILIES.keys()


@pytest.mark.parametrize("name", ROWS)
def test_a_family_opens_and_refuses_an_unknown_key(name, tmp_path):
    config = ROWS[name] | {"model_type": name}
    tensors = made(name, ROWS[name])
    model = open_model(folder(tmp_path / "whole", config, tensors))
    arrays = flat_parameters(model.decoder)
    assert all(np.isfinite(np.asarray(array)).all() for array in arrays.values())
    # Without the prefix, as some files are, it is the same model.
    prefix = FAMILIES[name].prefix
    bare = {file.removeprefix(prefix): array for file, array in tensors.items()}
    again = flat_parameters(open_model(folder(tmp_path / "bare", config, bare)).decoder)
    assert all(np.array_equal(arrays[ours], again[ours]) for ours in arrays)
    with pytest.raises(BadInput, match="'attention_twist' = 1"):
        open_model(folder(tmp_path / "odd", config | {"attention_twist": 1}, tensors))


def test_longrope_is_fixed_to_its_original_length(tmp_path):
    config = ROWS["phi3"] | {"model_type": "phi3"}
    model = open_model(folder(tmp_path, config, made("phi3", ROWS["phi3"])))
    assert model.config.max_length == 16
    assert "rotary factors of texts to 16 tokens" in model.source["weights"]


def test_grouped_rows_are_split_by_hand(tmp_path):
    config = ROWS["falcon"] | {"model_type": "falcon"}
    tensors = made("falcon", ROWS["falcon"])
    # Two groups of two queries, a key and a value, each of two rows.
    fused = tensors["transformer.h.1.self_attention.query_key_value.weight"]
    arrays = flat_parameters(open_model(folder(tmp_path, config, tensors)).decoder)
    rows = {"query": [0, 1, 2, 3, 8, 9, 10, 11], "key": [4, 5, 12, 13], "value": [6, 7, 14, 15]}
    for ours, index in rows.items():
        assert np.array_equal(arrays[f"blocks.attention.{ours}"][1], fused[index])


TOKENS = np.array([3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8], np.int32)


@jax.jit
def logits_of(decoder, tokens):
    return decoder.logits(decoder(tokens)[0])


@pytest.fixture(scope="module")
def peer():
    """Logits of transformers on the same folders, made by ``scripts/make_family_fixture.py``."""
    with np.load("tests/data/family_logits.npz") as file:
        return dict(file)


@pytest.mark.parametrize("name", ROWS)
def test_logits_are_those_of_transformers(name, tmp_path, peer):
    decoder = open_model(family_folder(tmp_path, name)).decoder
    ours = np.asarray(logits_of(decoder, jnp.asarray(TOKENS)))
    wanted = peer[name]
    # Two float32 passes in another order of sums: some thousand roundings, logits of attention of
    # some tens.
    assert np.all(np.abs(ours - wanted) <= 1e-4 * np.max(np.abs(wanted), axis=1, keepdims=True))
    # A row of the table that is another's gives other numbers.
    assert not np.allclose(ours[0], wanted[1], rtol=1e-2)
