"""Where a pass overflows: against a pass that notes every store, operation by operation."""

import jax
import jax.numpy as jnp
import pytest
from made_decoders import made, mlp_of, passed

from glassesjax.model import DecoderConfig, LayerNorm, NoNorm, RMSNorm
from glassesjax.precision import BF16, Accumulator, RoundingPlan, Site, float_format, named_plan
from glassesjax.precision.plan import STORED
from glassesjax.trace.overflow import Overflow, first_overflow

SMALL = float_format("e3m2")  # up to 14
SIZES = {"vocab_size": 5, "num_layers": 2, "num_heads": 2, "model_dim": 8}
TOKENS = jnp.asarray([0, 3, 1, 4, 2])
CONFIGS = {
    "serial": DecoderConfig(**SIZES, norm=RMSNorm(), mlp=mlp_of("gelu")),
    "parallel": DecoderConfig(**SIZES, norm=LayerNorm(), mlp=mlp_of("swiglu"), block="parallel"),
    "after": DecoderConfig(**SIZES, norm=RMSNorm(), mlp=mlp_of("gelu"), norm_place="after"),
    "plain": DecoderConfig(**SIZES, norm=NoNorm(), mlp=mlp_of("linear")),
}
# What is made large, by a part of its path, and how much.
LARGE = {
    "nothing": ("none", 1.0),
    "embedding": ("embed", 30.0),
    "queries": ("query", 30.0),
    "values": ("value", 8.0),
    "outputs": ("attention.output", 30.0),
    "hidden": ("up", 30.0),
    "mlp": ("down", 30.0),
    "final": ("final_norm.gain", 30.0),
}
PLANS = {
    "e3m2": STORED,
    "passes": tuple(site for site in STORED if site != Site.WEIGHTS),
    "stream": (Site.RESIDUAL,),
    "ends": (Site.ACTIVATIONS, Site.OUTPUT),
    "state": (Site.STATE, Site.ATTN_WEIGHTS, Site.RESIDUAL),
    "logits": (Site.ATTN_LOGITS, Site.ATTN_WEIGHTS),
}


def decoder_of(config, large, key):
    part, factor = LARGE[large]

    def scaled(path, weight):
        name = ".".join(str(getattr(step, "name", step)) for step in path)
        return weight * jnp.asarray(factor, weight.dtype) if part in name else weight

    return jax.tree_util.tree_map_with_path(scaled, made(config, key, jnp.float32))


def noted(decoder, plan, tokens):
    """The first store of a pass, without any compilation, that makes an infinity or a NaN."""
    first, streams, store = [], [], RoundingPlan.store

    def noting(self, site, x):
        stored = store(self, site, x)
        streams.append(site == Site.RESIDUAL)
        if not first and bool(jnp.isfinite(x).all()) and not bool(jnp.isfinite(stored).all()):
            # The stream is stored once before the layers, then twice in each.
            layer = (sum(streams) - 1 - streams[-1]) // 2
            inside = site != Site.OUTPUT and sum(streams) - streams[-1] > 0
            first.append(Overflow(site, layer if inside else None))
        return stored

    rounded = decoder.at(plan)
    if not all(bool(jnp.isfinite(weight).all()) for weight in jax.tree.leaves(rounded)):
        return Overflow(Site.WEIGHTS, None)
    with pytest.MonkeyPatch.context() as patched, jax.disable_jit():
        patched.setattr(RoundingPlan, "store", noting)
        rounded(tokens)
    return first[0] if first else None


QUICK = [("serial", "e3m2"), ("parallel", "passes"), ("serial", "state")]
EVERY = [
    pytest.param((name, plan), marks=() if (name, plan) in QUICK else pytest.mark.slow)
    for name in CONFIGS
    for plan in PLANS
]


# A fixture, since its pass runs operation by operation, each a program.
@pytest.fixture(scope="module", params=EVERY, ids="-".join)
def sides(request):
    """By what is large, the site of a pass that notes every store, and the answer."""
    name, plan = request.param
    answers = {}
    for at, large in enumerate(LARGE):
        decoder = decoder_of(CONFIGS[name], large, jax.random.key(at))
        formats = RoundingPlan(**dict.fromkeys(PLANS[plan], SMALL), mode="simulated")
        expected = noted(decoder, formats, TOKENS)
        # What is infinite within a pass may have no part in its result, as a logit of -inf.
        if bool(jnp.isfinite(passed(decoder.at(formats), TOKENS)[0]).all()):
            expected = None
        answers[large] = expected, first_overflow(decoder, formats, TOKENS)
    return answers


def test_the_site_is_that_of_a_pass_that_notes_every_store(sides):
    wrong = {large: pair for large, pair in sides.items() if pair[0] != pair[1]}
    assert wrong == {}
    assert any(expected for expected, _ in sides.values())


@pytest.mark.parametrize(
    ("large", "plan", "expected"),
    [
        ("hidden", RoundingPlan(product_sum=Accumulator(SMALL), mode="simulated"), "product_sum"),
        ("hidden", RoundingPlan(inputs=SMALL, operands=SMALL, mode="simulated"), "inputs"),
        ("values", RoundingPlan(attn_inputs=SMALL, attn_exp=SMALL, mode="simulated"), None),
        ("queries", RoundingPlan(attn_inputs=SMALL, attn_exp=SMALL, mode="simulated"), None),
    ],
)
def test_sites_of_kernels(large, plan, expected):
    decoder = decoder_of(CONFIGS["serial"], large, jax.random.key(1))
    found = first_overflow(decoder, plan, TOKENS)
    whole = bool(jnp.isfinite(passed(decoder.at(plan), TOKENS)[0]).all())
    assert (found is None) == whole
    if expected is not None:
        assert found is not None
        assert found.site == expected


def test_weights_of_linear_layers_and_plans_by_layer():
    decoder = decoder_of(CONFIGS["serial"], "hidden", jax.random.key(1))
    plan = RoundingPlan(weights=BF16, linear_weights=SMALL, mode="simulated")
    assert first_overflow(decoder, plan, TOKENS) == Overflow(Site.LINEAR_WEIGHTS, None)
    stream = RoundingPlan(residual=SMALL, mode="simulated")
    whole = first_overflow(decoder, stream, TOKENS)
    second = RoundingPlan.by_layer(lambda layer: stream if layer else RoundingPlan.wide(), 2)
    assert whole == Overflow(Site.RESIDUAL, 0)
    assert first_overflow(decoder, second, TOKENS) == Overflow(Site.RESIDUAL, 1)


def test_a_plan_without_formats_has_none(key):
    decoder = decoder_of(CONFIGS["serial"], "nothing", key)
    assert first_overflow(decoder, RoundingPlan.wide(), TOKENS) is None


def test_a_model_that_is_not_finite_by_itself_has_none(key):
    decoder = made(CONFIGS["serial"], key, jnp.float32)
    lost = jax.tree.map(lambda weight: weight * jnp.asarray(jnp.nan, weight.dtype), decoder)
    assert first_overflow(lost, RoundingPlan(weights=SMALL, mode="simulated"), TOKENS) is None


def test_a_native_plan_is_that_of_its_formats(key):
    decoder = decoder_of(CONFIGS["serial"], "nothing", key)
    large = jax.tree.map(lambda weight: weight, decoder)
    large.embed.table[...] = large.embed.table[...] * jnp.asarray(2.0**17, jnp.float32)
    assert first_overflow(large, named_plan("native-f16"), TOKENS) == Overflow(Site.WEIGHTS, None)
    assert first_overflow(decoder, named_plan("native-f16"), TOKENS) is None
