"""What a public function is given and cannot take: one line that names the argument."""

import importlib
import inspect
import math
import re
from fractions import Fraction
from pathlib import Path, PurePosixPath

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glassesjax.cache import (
    POLICIES,
    Policy,
    State,
    advance,
    empty_state,
    policy,
    prefill,
    unroll,
)
from glassesjax.cache.choosing import temper, top_p
from glassesjax.cli import run
from glassesjax.errors import BadInput
from glassesjax.model import Alibi, Decoder, DecoderConfig, IdentityMlp, RMSNorm, Rotary, Window
from glassesjax.model.pretrained import open_model
from glassesjax.precision import FloatFormat, RoundingPlan
from glassesjax.tasks.table import named_task
from glassesjax.tasks.task import LengthMix
from glassesjax.theory.birth import residual_atom
from glassesjax.theory.closed_forms import cesaro_rollout
from glassesjax.theory.counting import ratio_attention
from glassesjax.theory.dispersion import dispersion_bracket
from glassesjax.theory.norms import vector_norm
from glassesjax.theory.ratio import ratio_only_accuracy
from glassesjax.theory.sharpness import bounded_logit_bracket
from glassesjax.theory.softmax import total_variation
from glassesjax.theory.squashing import attention_rollout
from glassesjax.trace import (
    estimated_influence,
    exact_influence,
    fit_decay,
    last_representations,
    loglog_slope,
)
from glassesjax.train import TrainConfig, init_state, train_steps

pytestmark = pytest.mark.usefixtures("undrawn", "near", "few_at_once")

ROOT = Path(__file__).parents[1]
CONFIG = DecoderConfig(vocab_size=5, num_layers=2, num_heads=2, model_dim=8)
TOVA = POLICIES["tova"]
TEXT = jnp.asarray([1, 2, 3, 4, 0, 1], jnp.int32)
NAN, INF = math.nan, math.inf


@pytest.fixture(scope="module")
def model():
    return unroll(Decoder(CONFIG, key=jax.random.key(0)))


def made(kind, /, **fields):
    """Settings past the checks of types that only tests have, as a user would make them."""
    settings = object.__new__(kind)
    for name in kind.__dataclass_fields__:
        object.__setattr__(settings, name, fields.get(name, getattr(kind, name, None)))
    settings.__post_init__()
    return settings


@pytest.mark.parametrize(
    ("kind", "fields", "text"),
    [
        (DecoderConfig, {"block": "x"}, "block to be one of sequential, parallel, got 'x'"),
        (DecoderConfig, {"model_dim": 64.0}, "model_dim to be a whole number, got 64.0"),
        (DecoderConfig, {"model_dim": True}, "model_dim to be a whole number, got True"),
        (DecoderConfig, {"num_layers": -1}, "num_layers at least 1, got -1"),
        (DecoderConfig, {"vocab_size": None}, "vocab_size to be a whole number, got None"),
        (DecoderConfig, {"attn_scale": NAN}, "attn_scale to be a number or None, got nan"),
        (DecoderConfig, {"embed_scale": INF}, "embed_scale to be finite, got inf"),
        (
            DecoderConfig,
            {"residual_weight": "half"},
            "residual_weight to be a number or None, got .half",
        ),
        (DecoderConfig, {"attn_softcap": 0.0}, "attn_softcap over 0, got 0.0"),
        (DecoderConfig, {"tied": 1}, "tied to be a truth value, got 1"),
        (DecoderConfig, {"max_length": 0}, "max_length at least 1, got 0"),
        (Window, {"width": 2.5}, "Window.width to be a whole number, got 2.5"),
        (Rotary, {"base": NAN}, "Rotary.base to be a number, got nan"),
        (Alibi, {"slopes": (NAN,)}, "Alibi.slopes to be finite, got .nan"),
        (RMSNorm, {"eps": -1.0}, "RMSNorm.eps at least 0, got -1.0"),
        (IdentityMlp, {"sigma": INF}, "IdentityMlp.sigma to be finite, got inf"),
        (Policy, {"score": "weight"}, "Policy.score to be a function, got 'weight'"),
        (Policy, {"sinks": 1.0}, "Policy.sinks to be a whole number, got 1.0"),
        (Policy, {"decay": NAN}, "Policy.decay to be a number, got nan"),
    ],
)
def test_a_setting_of_another_type_or_outside_its_domain(kind, fields, text):
    needed = {DecoderConfig: {"vocab_size": 5}, Policy: {"name": "own", "score": len}}
    made(kind, **needed.get(kind, {"width": 2} if kind is Window else {}))
    with pytest.raises(BadInput, match=f"^Expected {text}"):
        made(kind, **needed.get(kind, {}) | fields)


def test_numbers_of_numpy_and_lists_become_settings_that_json_can_write():
    config = made(DecoderConfig, vocab_size=np.int64(5), attn_scale=np.float32(0.5))
    assert (type(config.vocab_size), type(config.attn_scale)) == (int, float)
    assert made(Alibi, slopes=[0.5]).slopes == (0.5,)


WRONG_SCORES = {
    "of another length": lambda candidates: candidates.weight[1:],
    "one number": lambda candidates: jnp.sum(candidates.weight),
    "a number of Python": lambda candidates: 0.0,
    "complex": lambda candidates: jax.lax.complex(candidates.weight, candidates.weight),
    "nothing": lambda candidates: None,
}


@pytest.mark.parametrize("kind", WRONG_SCORES)
@pytest.mark.parametrize("mode", ["exact", "chunked"])
def test_a_score_that_is_not_one_number_a_place(model, kind, mode):
    rule = made(Policy, name="own", score=WRONG_SCORES[kind])
    state = empty_state(CONFIG, TOVA, 3)
    with pytest.raises(BadInput, match=r"score of policy own as one number for each of .* slots"):
        advance(model, state, TEXT, rule, mode=mode)


def nan_from_four(candidates):
    """NaN for all from position four on, and in empty slots always."""
    return jnp.where((candidates.position < 0) | (candidates.now >= 4), jnp.nan, candidates.weight)


def test_a_choice_by_scores_that_are_nan_shows_in_all_that_is_read_after_it(model):
    rule = Policy(name="own", score=nan_from_four)
    _, y, _ = advance(model, empty_state(CONFIG, rule, 3), TEXT, rule)
    # Up to position four all was decided by numbers; its own decision comes after it is read.
    assert np.array_equal(np.isnan(np.asarray(y)).any(axis=1), np.arange(6) > 4)
    _, room, _ = advance(model, empty_state(CONFIG, rule, 6), TEXT, rule)
    assert np.isfinite(room).all()  # nothing had to go
    half, shown, _ = advance(model, empty_state(CONFIG, rule, 3), TEXT, rule, mode="chunked")
    assert np.isfinite(shown).all()
    assert np.isnan(advance(model, half, TEXT[:1], rule, mode="chunked")[1]).all()


def other(**fields):
    return empty_state(DecoderConfig(**{"vocab_size": 5, **fields}), TOVA, 3)


OWN = {"num_layers": 2, "num_heads": 2, "model_dim": 8}
STATES = {
    "layers": (lambda: other(**OWN | {"num_layers": 3}), "state of 2 layers.*got 3"),
    "no layers": (lambda: State((), jnp.int32(0)), "state of 2 layers.*got 0"),
    "heads": (lambda: other(**OWN | {"num_kv_heads": 1}), "state whose key is"),
    "head_dim": (lambda: other(**OWN | {"head_dim": 2}), "state whose key is .*got .*2[)]"),
    "dtype": (lambda: empty_state(CONFIG, TOVA, 3, jnp.bfloat16), "key is float32.*got bfloat16"),
    "policy": (lambda: empty_state(CONFIG, policy("h2o"), 3), "made for tova, got .*2 decis"),
    "slots": (
        lambda: jax.tree.map(lambda x: x[..., :2] if x.ndim == 2 else x, other(**OWN)),
        "state whose key is",
    ),
}


@pytest.mark.parametrize("kind", STATES)
def test_a_state_that_another_model_made(model, kind):
    make, text = STATES[kind]
    with pytest.raises(BadInput, match=text):
        advance(model, make(), TEXT, TOVA)
    with pytest.raises(BadInput, match=text):
        list(prefill(model, TEXT, TOVA, state=make()))


PACKAGES = ("theory", "trace", "cache", "precision", "train", "model.pretrained")
# Public functions without a border, each kind with its reason.
EXEMPT = {
    "runs inside a compiled step, on what a border let in": {
        "attend", "turned", "layer_step", "write", "evict", "score_candidates",
        "accumulated_score", "mean_score", "fifo_score", "attention_score",
    },
    "has a rule for its derivative attached": {"safe_abs"},
    "elementwise, of any array": {"safe_sqrt", "safe_entr"},
    "of trees, meshes and processes, not of a user's numbers": {
        "agree", "connect", "ended", "fetch", "share", "partition_spec", "constrained",
        "summed_over_devices", "on_float64_device",
    },
    "of files: they are another matter": {
        "save", "load", "latest", "newest_first", "covered_rows", "save_state", "load_state",
        "grown",
        "check_same",
    },
    "takes text alone, and reads it": {"trained_name", "named_plan"},
    "is a border itself": {"check_sizes"},
}  # fmt: skip


def public_functions():
    """All functions that docs/api.md lists of these packages and that take something."""
    listed = re.findall(
        r"automodule:: glassesjax\.(\S+)", (ROOT / "docs/api.md").read_text("utf-8")
    )
    found = {}
    for name in listed:
        if not name.startswith(PACKAGES):
            continue
        module = importlib.import_module(f"glassesjax.{name}")
        for value in (getattr(module, each) for each in dir(module)):
            own = getattr(value, "__module__", "") or ""
            here = own == module.__name__ or (name in PACKAGES and own.startswith(module.__name__))
            is_function = callable(value) and not isinstance(value, type)
            if is_function and here and inspect.signature(value).parameters:
                found[f"{own.removeprefix('glassesjax.')}.{value.__name__}"] = value
    return {name: one for name, one in found.items() if not name.split(".")[-1].startswith("_")}


class Nonsense:
    """Nothing that any function takes."""

    def __repr__(self):
        return "nonsense"


FUNCTIONS = public_functions()


def test_public_functions_are_found_and_no_exemption_is_left_over():
    names = {name.split(".")[-1] for name in FUNCTIONS}
    assert len(FUNCTIONS) > 120
    assert names >= {
        "total_variation",
        "fit_decay",
        "generate",
        "train_steps",
        "open_model",
        "rollout",
    }
    assert set().union(*EXEMPT.values()) <= names


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_public_function_names_an_argument_that_it_cannot_take(name):
    if name.split(".")[-1] in set().union(*EXEMPT.values()):
        return
    parameters = inspect.signature(FUNCTIONS[name]).parameters.values()
    plain = [one for one in parameters if one.kind not in (2, 4)]
    given = [Nonsense() for one in plain if one.kind is not one.KEYWORD_ONLY]
    named = {one.name: Nonsense() for one in plain if one.kind is one.KEYWORD_ONLY}
    names = "|".join(one.name for one in plain)
    with pytest.raises(BadInput, match=rf"^Expected ({names}) to be .*, got nonsense: "):
        FUNCTIONS[name](*given, **named)


def one_model():
    return open_model("toy").decoder


TOKENS = jnp.asarray([1, 2, 3], jnp.int32)
FLOATS = jnp.ones(3)
HALF = Fraction(1, 2)
CALLS = {
    "a path in bytes": (lambda: open_model(b"toy"), "name to be text or a PathLike, got b'toy'"),
    "a path of no one": (lambda: open_model(None), "name to be text or a PathLike, got None"),
    "a seed with a fraction": (lambda: open_model("toy", seed=0.5), "seed to be a whole number"),
    "no tokens": (lambda: one_model()(TOKENS[:0]), "one token or more, got none"),
    "an empty list": (lambda: one_model()([]), "one token or more, got none"),
    "two-dimensional tokens": (lambda: one_model()(TOKENS[None]), r"tokens .*got int32 of .*1, 3"),
    "float tokens": (lambda: one_model()(FLOATS), "tokens to be an array of ints.*got float"),
    "truth among tokens": (lambda: one_model()([True, 1]), "tokens .*got .True, 1"),
    "text for tokens": (lambda: one_model()("123"), "tokens .*got '123'"),
    "tokens beyond int32": (lambda: one_model()([2**40]), "token.*got .?1099511627776"),
    "a keep that is none": (lambda: one_model()(TOKENS, keep="nonsense"), "keep .*'nonsense'"),
    "a name for a plan": (lambda: one_model().at("f32"), "plan to be a RoundingPlan"),
    "another width": (lambda: one_model().logits(FLOATS[None]), "y of width 64.* got 3"),
    "influence of another width": (
        lambda: exact_influence(one_model(), FLOATS[None]),
        "start of width 64.*got 3",
    ),
    "influence of nothing": (lambda: exact_influence(one_model(), TOKENS[:0]), "one token or more"),
    "one probe": (
        lambda: estimated_influence(one_model(), TOKENS, key=jax.random.key(0), probes=1),
        "probes at least 2, got 1",
    ),
    "no prompts": (
        lambda: last_representations(one_model(), []),
        "one prompt or more",
    ),
    "equal lengths": (lambda: fit_decay([1, 2, 2], [3.0, 2.0, 1.0]), "each once, got .1, 2, 2"),
    "a length of zero": (lambda: fit_decay([0, 2, 3], [3.0, 2.0, 1.0]), "positive lengths"),
    "a negative length": (lambda: fit_decay([-1, 2, 3], [3.0, 2.0, 1.0]), "positive lengths"),
    "a length with a fraction": (lambda: fit_decay([1.5, 2], [3.0, 2.0]), "lengths to be a seq"),
    "a negative distance": (lambda: fit_decay([1, 2, 3], [3.0, -2.0, 1.0]), "distances of 0 or"),
    "a length of 400 digits": (
        lambda: fit_decay([10**400, 2, 3, 4], [4.0, 3.0, 2.0, 1.0]),
        "fit_decay can compute with, got larger",
    ),
    "fewer distances": (lambda: fit_decay([1, 2, 3], [3.0]), "each of 3 lengths, got 1"),
    "a slope at one point": (lambda: loglog_slope([2, 2], [1, 2]), "two different numbers"),
    "a slope over zero": (lambda: loglog_slope([0, 2], [1, 2]), "x over 0, got 0"),
    "no logits": (lambda: dispersion_bracket(0, jnp.asarray(1.0)), "length at least 1, got 0"),
    "a negative range": (
        lambda: dispersion_bracket(2, jnp.asarray(-1.0)),
        r"logit_range at least 0, got -1",
    ),
    "fewer than no counts": (
        lambda: ratio_attention(jnp.asarray([-1.0]), *[jnp.ones((1, 1))] * 3),
        "counts at least 0, got -1",
    ),
    "a total of no counts": (
        lambda: ratio_attention(jnp.zeros(1), *[jnp.ones((1, 1))] * 3),
        "the sum of counts over 0, got 0",
    ),
    "a share over one": (lambda: attention_rollout(jnp.eye(3)[None], [1.5]), "shares from 0 to 1"),
    "a fraction over one": (lambda: cesaro_rollout(3, [HALF, 2]), "shares from 0 to 1, got 2"),
    "shares that do not sum to one": (
        lambda: ratio_only_accuracy({1: HALF}, HALF),
        "lengths .* sum to one, got 1/2",
    ),
    "an item of no tokens": (lambda: ratio_only_accuracy({0: HALF, 1: HALF}, HALF), "lengths"),
    "temperature zero": (
        lambda: bounded_logit_bracket(3, jnp.asarray(1.0), 0.0),
        "temperature over 0, got 0.0",
    ),
    "rows of two lengths": (lambda: total_variation([0.5, 0.5], [1, 0, 0]), "q to be an array"),
    "integers for weights": (lambda: total_variation(FLOATS, TOKENS), "q .*got int32"),
    "a norm that is none": (lambda: vector_norm(FLOATS, 3), "norm to be one of 1, 2, inf, got 3"),
    "NaN for a number": (lambda: residual_atom(2, NAN), "mixing to be a number, got nan"),
    "a format by name": (lambda: RoundingPlan.everywhere("bf16"), "fmt to be .*got 'bf16'"),
    "a name for a format": (
        lambda: made(RoundingPlan, weights="bf16", mode="simulated"),
        "weights to be one of FloatFormat, ScaledFormat or None, got 'bf16'",
    ),
    "bits with a fraction": (
        lambda: made(FloatFormat, name="own", exponent_bits=4.0, mantissa_bits=3),
        "exponent_bits to be a whole number",
    ),
    "a policy by name": (
        lambda: empty_state(CONFIG, "tova", 3),
        "policy to be a Policy, got 'tova'",
    ),
    "slots with a fraction": (lambda: empty_state(CONFIG, TOVA, 2.5), "slots to be .*got 2.5"),
    "budgets of another model": (lambda: empty_state(CONFIG, TOVA, (3, 3, 3)), None),
    "steps below one": (
        lambda: init_and_train(0),
        "steps at least 1, got 0",
    ),
    "a rate that is NaN": (
        lambda: init_state(CONFIG, TRAINING, 0, NAN),
        "rate to be a number, got nan",
    ),
    "a batch with a fraction": (
        lambda: made(TrainConfig, task=TRAINING.task, mix=TRAINING.mix, batch=2.0),
        "TrainConfig.batch to be a whole number",
    ),
    "a temperature below zero": (
        lambda: temper(FLOATS, -1.0),
        "temperature over 0, got -1.0",
    ),
    "a share of none": (lambda: top_p(FLOATS, 0.0), "share over 0"),
}  # fmt: skip
TRAINING = TrainConfig(
    task=named_task("count_ones"), mix=LengthMix(low=2, high=3), batch=2, steps=4, warmup=1
)


def init_and_train(steps):
    config = DecoderConfig(vocab_size=len(TRAINING.task.symbols), num_layers=1, model_dim=4)
    return train_steps(
        jax.tree.map(lambda x: x[None], init_state(config, TRAINING, 0, 0.1)), TRAINING, steps
    )


@pytest.mark.parametrize("kind", CALLS)
def test_a_call_that_means_nothing(kind):
    call, text = CALLS[kind]
    with pytest.raises(ValueError, match=f"^Expected .*{text}" if text else "one a layer, got 3"):
        call()


def test_lists_and_arrays_of_numpy_are_taken_and_what_is_traced_passes():
    even = [0.5, 0.5]
    assert float(total_variation(even, np.asarray([1.0, 0.0]))) == 1
    traced = jax.jit(lambda n, gap: dispersion_bracket(n, gap))(jnp.int32(3), jnp.asarray(1.0))
    assert float(traced.upper) == float(dispersion_bracket(3, jnp.asarray(1.0)).upper)
    many = jax.vmap(total_variation)(jnp.ones((4, 2)), jnp.zeros((4, 2)))
    assert many.tolist() == [2.0] * 4
    y, _ = one_model()([1, 2, 3])
    np.testing.assert_array_equal(y, one_model()(np.asarray([1, 2, 3]))[0])
    assert np.isnan(total_variation(jnp.full(2, jnp.nan), jnp.ones(2)))  # data, not a mistake


def test_a_path_is_opened_as_its_text_is():
    assert open_model(PurePosixPath("toy")).name == "toy"
    with pytest.raises(BadInput, match=r"GGUF file, got '/nowhere/x\.gguf'"):
        open_model(PurePosixPath("/nowhere/x.gguf"))


SLOW = pytest.mark.slow
SMALL = ("--steps", "2", "--lengths", "2", "4", "--batch", "4", "--examples", "2", "--width", "8",
         "--heads", "2", "--layers", "1", "--formats", "f32")  # fmt: skip
RUNS = {
    "train_copy": pytest.param(
        ("train", "copy_at", *SMALL, "--influence-examples", "1"), marks=SLOW
    ),
    "collapse": pytest.param(("collapse", "toy", "--lengths", "8", "16"), marks=SLOW),
    "influence": pytest.param(("influence", "toy", "--max-tokens", "12"), marks=SLOW),
    "generate": pytest.param(("generate", "toy", "--prompt", "1", "--max-tokens", "4"), marks=SLOW),
    "perplexity": pytest.param(
        ("perplexity", "toy", "--max-tokens", "48", "--slots", "8"), marks=SLOW
    ),
    "retention": pytest.param(
        ("retention", "toy", "--max-tokens", "48", "--slots", "8"), marks=SLOW
    ),
    "bounded": pytest.param(
        ("bounded", "toy", "--lengths", "6", "8", "--max-tokens", "16", "--slots", "6"), marks=SLOW
    ),
    "verify": pytest.param(("verify", "--only", "lem_b2"), marks=SLOW),
}


@pytest.fixture(scope="module")
def training(tmp_path_factory):
    """The status of a training under which any NaN is an error."""
    out = tmp_path_factory.mktemp("training") / "run"
    with jax.debug_nans(True):
        return run(["train", "count_ones", *SMALL, "--out", str(out)])


def test_no_training_makes_a_nan_on_its_way(training):
    assert training == 0


@pytest.mark.parametrize("arguments", RUNS.values(), ids=RUNS.keys())
def test_no_command_makes_a_nan_on_its_way(arguments, tmp_path):
    with jax.debug_nans(True):
        assert run([*arguments, "--out", str(tmp_path / "run")]) == 0


def test_the_step_of_rate_zero_says_so():
    training = TrainConfig(task=TRAINING.task, mix=TRAINING.mix, steps=40, warmup=2)
    assert training.relative_rates(np.arange(3)).tolist() == [0.0, 0.5, 1.0]
    at_once = TrainConfig(task=TRAINING.task, mix=TRAINING.mix, steps=4, warmup=0)
    assert at_once.relative_rates(np.arange(1)).tolist() == [1.0]
