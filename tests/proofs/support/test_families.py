"""Models of the claim on families: one for each row of the table, by that row's reader."""

import dataclasses

import numpy as np
import pytest

from glassesjax.errors import BadInput
from glassesjax.model.families.table import FAMILIES
from glassesjax.model.weights import parameter_shapes
from proofs_numeric.paper import thm_5_1_families
from proofs_numeric.support import families, left_out


def test_every_family_has_its_model():
    assert list(families.MODELS) == list(FAMILIES)
    assert set(thm_5_1_families.QUICK) <= set(FAMILIES)
    configs = [families.config_of(name) for name in FAMILIES]
    switched = lambda name: {getattr(config, name) for config in configs}
    assert switched("norm_place") == {"before", "after", "both"}
    assert switched("qk_norm") == {"none", "head", "whole"}
    assert switched("block") == {"sequential", "parallel"}
    assert switched("attn_softcap") > {None}


def test_a_family_without_a_model_is_refused_by_name(monkeypatch):
    families.reading.cache_clear()
    monkeypatch.setattr(families, "MODELS", {})
    with pytest.raises(BadInput, match="got none of Qwen3: give qwen3 a configuration"):
        families.reading("qwen3")


def test_settings_are_those_of_the_reader(monkeypatch):
    """Another reader makes another model, and a key that it does not read is refused."""
    families.reading.cache_clear()
    other = dataclasses.replace(FAMILIES["llama"], read=FAMILIES["qwen2"].read)
    monkeypatch.setitem(FAMILIES, "llama", other)
    assert families.reading("llama").settings["qkv_bias"] is True
    monkeypatch.setitem(families.MODELS, "llama", {**families.MODELS["llama"], "unknown": 1})
    families.reading.cache_clear()
    with pytest.raises(BadInput, match="unknown"):
        families.reading("llama")
    families.reading.cache_clear()


@pytest.mark.parametrize("name", FAMILIES)
def test_weights_are_those_of_the_settings_and_gains_far_from_one(name):
    drawn, config = families.draw(name, 0), families.config_of(name)
    assert {weight: array.shape for weight, array in drawn.items()} == parameter_shapes(config)
    gains = [weight for weight in drawn if weight.endswith(".gain")]
    doubled = families.scaled(name, drawn, dict.fromkeys(gains, 2.0))
    offset = getattr(config.norm, "offset", 0.0)
    for weight in gains:
        whole = drawn[weight] + offset
        assert np.max(np.abs(whole)) > 1.5
        np.testing.assert_allclose(doubled[weight] + offset, 2 * whole, rtol=8 * families.U)
    assert sum(factor.concerns(config) for factor in left_out.BOUND) >= 2


@pytest.mark.claims
@pytest.mark.parametrize("name", FAMILIES)
def test_no_factor_of_a_family_s_bound_may_be_left_out(name):
    import jax

    with jax.enable_x64(True):
        worst = {}
        for factor, whole, less, norms in left_out.cases(name):
            ratio = lambda stack, norms=norms: np.max(
                norms / np.maximum(families.bounds(stack), 1e-300)
            )
            assert ratio(whole) <= 1 + np.max(families.bound_roundoff(whole))
            worst[factor.name] = max(worst.get(factor.name, 0.0), ratio(less))
    assert len(worst) >= 2
    assert min(worst.values()) > 1, worst
