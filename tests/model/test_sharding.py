"""Rules of sharding by the names of weights, by hand, and models of the package on a mesh."""

import jax
import pytest
from jax.sharding import PartitionSpec as P
from made_decoders import made

from glassesjax import open_model
from glassesjax.errors import BadInput
from glassesjax.model import (
    DecoderConfig,
    DenseMlp,
    GatedMlp,
    LayerNorm,
    Learned,
    LinearMlp,
    ScalableSoftmax,
    flat_parameters,
)
from glassesjax.model.sharding import RULES, device_mesh, shard_decoder, weight_spec
from glassesjax.model.weights import parameter_shapes
from glassesjax.precision import BF16, F32, RoundingPlan

SIZES = {"vocab_size": 12, "num_heads": 8, "num_kv_heads": 4, "model_dim": 32}
EVERY = [
    DecoderConfig(**SIZES, mlp=GatedMlp(dim=48), bias=True, qkv_bias=True, tied=False),
    DecoderConfig(
        **SIZES, mlp=DenseMlp(), norm=LayerNorm(), norm_place="both", qk_norm="whole", bias=True,
        positions=Learned(max_length=8), temperature=ScalableSoftmax(),
    ),
    DecoderConfig(**SIZES, mlp=LinearMlp(), bias=True),
]  # fmt: skip


@pytest.fixture(scope="module")
def mesh():
    return device_mesh(1)


def test_each_weight_of_each_kind_of_decoder_has_a_rule_and_an_axis_that_fits():
    seen = set()
    for config in EVERY:
        for name, shape in parameter_shapes(config).items():
            rule = RULES[name]
            seen.add(name)
            if rule is not None:
                assert shape[rule.axis] % rule.units(config) == 0, name
    assert seen == RULES.keys()


@pytest.mark.parametrize(
    ("name", "count", "wanted"),
    [
        ("blocks.attention.query", 4, P(None, ("model",))),  # by output
        ("blocks.attention.output", 4, P(None, None, ("model",))),  # by input
        ("blocks.mlp.gate_bias", 4, P(None, ("model",))),
        ("blocks.mlp.down", 4, P(None, None, ("model",))),
        ("blocks.mlp.down_bias", 4, P()),  # added once
        ("blocks.norm1.gain", 4, P()),
        ("unembed", 4, P(("model",))),
        ("blocks.attention.key", 8, P()),  # 4 heads of keys on 8 devices
        ("embed.table", 8, P()),  # 8 does not divide 12
        ("blocks.attention.query", 3, P()),
    ],
)
def test_where_weights_lie(name, count, wanted):
    assert weight_spec(name, EVERY[0], count, ("model",)) == wanted


def test_a_decoder_on_a_mesh_keeps_its_weights_and_its_plan(mesh):
    plan = RoundingPlan(weights=BF16, mode="native", carrier=F32)
    decoder = made(EVERY[0], jax.random.key(0), jax.numpy.float32).at(plan)
    found = shard_decoder(decoder, mesh)
    assert found.plan == plan
    assert found.config == decoder.config
    for name, weight in flat_parameters(found).items():
        assert weight.sharding.mesh.devices.size == 1
        assert (weight == flat_parameters(decoder)[name]).all()


@pytest.mark.parametrize("name", ["toy", "counter", "copy_last"])
def test_models_of_the_package_open_on_a_mesh(name, mesh):
    for weight in flat_parameters(open_model(name, mesh=mesh).decoder).values():
        assert weight.sharding.mesh.axis_names == ("model",)


def test_more_devices_than_there_are():
    with pytest.raises(BadInput, match=r"at most the 1 device here for a mesh, got 3: use fewer"):
        device_mesh(3)
    with pytest.raises(BadInput, match="count at least 1, got 0"):
        device_mesh(0)
