"""Keys that published configurations have: without effect with one value, refused with others."""

import numpy as np
import pytest
from model.made_families import ROWS, family_folder, made
from model.made_folders import folder

from glassesjax import open_model
from glassesjax.errors import BadInput
from glassesjax.model import flat_parameters
from glassesjax.model.config import NoPositions

# Families, a key with its published value, and a value with another function.
PUBLISHED = [
    ("llama", "is_llama_config", True, False),
    ("llama", "rope_interleaved", False, True),
    ("llama", "pretraining_tp", 2, None),
    ("llama", "partial_rotary_factor", 1.0, 0.5),
    ("mistral", "partial_rotary_factor", None, 0.5),
    ("qwen2", "partial_rotary_factor", 1, 0.5),
    ("qwen3", "partial_rotary_factor", 1, 0.5),
    ("olmo2", "partial_rotary_factor", 1, 0.5),
    ("gemma", "partial_rotary_factor", 1, 0.5),
    ("gemma2", "partial_rotary_factor", 1, 0.5),
    ("gemma3_text", "partial_rotary_factor", None, 0.5),
    ("smollm3", "partial_rotary_factor", 1, 0.5),
    ("smollm3", "max_window_layers", 28, None),
    ("falcon", "partial_rotary_factor", 1, 0.5),
    ("starcoder2", "partial_rotary_factor", 1, 0.5),
    ("bloom", "n_inner", None, 12),
    ("bloom", "offset_alibi", 100, 0),
    ("bloom", "slow_but_exact", False, True),
    ("bloom", "apply_residual_connection_post_layernorm", False, True),
    ("falcon", "apply_residual_connection_post_layernorm", False, True),
    ("falcon", "ff_factor", 4, 2),
    ("phi3", "full_attn_mod", 1, 2),
    ("phi3", "interpolate_factor", 1, 2),
    ("phi3", "lm_head_bias", False, True),
    ("gpt_neox", "attention_probs_dropout_prob", 0, None),
    ("gpt_neox", "rope_theta", 10000, 500),  # beside rotary_emb_base
    ("gpt_neox", "partial_rotary_factor", 1.0, 0.5),  # beside rotary_pct
    ("gemma2", "sliding_window_size", 4096, 8),
    ("gemma3_text", "attn_logit_softcapping", None, 5.0),
    ("gemma3_text", "_sliding_window_pattern", 6, 2),
    ("gpt2", "_num_labels", 1, None),
    ("gpt2", "output_past", True, None),
]
BESIDE = {"gpt_neox": {"rotary_emb_base": 10000, "rotary_pct": 1.0}}


def opened(path, name, changed):
    config = ROWS[name] | BESIDE.get(name, {}) | {"model_type": name} | changed
    return open_model(folder(path, config, made(name, ROWS[name])))


@pytest.mark.parametrize(("name", "key", "published", "other"), PUBLISHED)
def test_a_published_value_changes_nothing_and_another_is_refused(
    name, key, published, other, tmp_path
):
    plain, with_it = (
        opened(tmp_path / where, name, changed)
        for where, changed in (("plain", {}), ("with", {key: published}))
    )
    assert with_it.config == plain.config
    ours, theirs = (flat_parameters(model.decoder) for model in (plain, with_it))
    assert all(np.array_equal(ours[weight], theirs[weight]) for weight in ours)
    if other is not None:
        with pytest.raises(BadInput) as error:
            opened(tmp_path / "other", name, {key: other})
        assert "\n" not in str(error.value)
        assert key.removeprefix("_").split("_")[0] in str(error.value)


NESTED = {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}
YARN = {
    **{"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0},
    "original_max_position_embeddings": 16,
}


@pytest.mark.parametrize("name", ["llama", "qwen3", "falcon"])
def test_a_share_of_rotated_coordinates_inside_the_parameters_is_refused_as_well(name, tmp_path):
    with pytest.raises(BadInput, match="partial_rotary_factor"):
        opened(tmp_path, name, {"rope_parameters": NESTED, "rope_theta": None})


def test_a_note_of_yarns_authors_changes_nothing(tmp_path):
    plain, noted = (
        opened(tmp_path / where, "llama", {"rope_parameters": YARN | note, "rope_theta": None})
        for where, note in (("plain", {}), ("noted", {"finetuned": True}))
    )
    assert noted.config == plain.config


def test_two_original_lengths_are_refused(tmp_path):
    changed = {"rope_parameters": YARN, "rope_theta": None, "original_max_position_embeddings": 8}
    with pytest.raises(BadInput, match=r"one original_max_position_embeddings .*got 16 and 8"):
        opened(tmp_path, "llama", changed)


def test_layers_without_rotation_do_not_have_its_factor(tmp_path):
    sizes = {"num_hidden_layers": 4, "rope_parameters": YARN, "rope_theta": None}
    row = ROWS["smollm3"] | sizes
    config = row | {"model_type": "smollm3"}
    mixed = open_model(folder(tmp_path / "mixed", config, made("smollm3", row))).config
    assert [isinstance(each, NoPositions) for each in mixed.positions.layers] == [False] * 3 + [
        True
    ]
    factor = 0.1 * np.log(4) + 1  # YaRN's own, arXiv 2309.00071, equation 22
    assert mixed.attn_scale is None
    assert mixed.positions.layers[0].attention_factor == pytest.approx(factor)
    # Where all layers rotate, both factors of a product go into its scale.
    everywhere = config | {"no_rope_layers": [1] * 4}
    every = open_model(folder(tmp_path / "every", everywhere, made("smollm3", row))).config
    assert every.positions.attention_factor == 1.0
    assert every.attn_scale == pytest.approx(every.key_dim**-0.5 * factor**2)


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("llama", {"rope_theta": 1e-300}),
        ("phi3", {"rope_scaling": ROWS["phi3"]["rope_scaling"] | {"short_factor": [1e-300]}}),
    ],
)
def test_angles_that_are_not_finite_are_refused(name, changed, tmp_path):
    with pytest.raises(BadInput, match=r"from 2\^-32"):
        opened(tmp_path, name, changed)


def test_rows_of_a_family_are_written_in_a_dtype(tmp_path):
    assert open_model(family_folder(tmp_path, "gpt2", np.float16)).decoder.dtype == np.float16
