"""What a public function takes: right calls with every kind of number, list and array."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import jaxtyping
import ml_dtypes
import numpy as np
import pytest
from made_decoders import made

from glassesjax.borders import NON_NEGATIVE, SHARE, check_domain
from glassesjax.cache import POLICIES, Policy, advance, empty_state, unroll
from glassesjax.cache.generate import generate
from glassesjax.cache.pruned import last_seen
from glassesjax.cache.retention import lifetimes
from glassesjax.errors import BadInput
from glassesjax.model import Decoder, DecoderConfig
from glassesjax.theory.birth import residual_atom
from glassesjax.theory.closed_forms import cesaro_rollout
from glassesjax.theory.dispersion import dispersion_bracket
from glassesjax.theory.sharpness import entropy, inverse_temperature, ssmax_weights
from glassesjax.theory.softmax import softmax_total_variation, total_variation
from glassesjax.theory.squashing import attention_rollout
from glassesjax.trace import fit_decay, last_representations, loglog_slope

CONFIG = DecoderConfig(vocab_size=5, num_layers=2, num_heads=2, model_dim=8)
TOVA = POLICIES["tova"]
TEXT = jnp.asarray([1, 2, 3, 4, 0, 1], jnp.int32)
LINE = jnp.arange(1, 4, dtype=jnp.int32)
ONE = np.float32(1)
THREE = jnp.asarray([0.5, 0.25, 0.125], jnp.float32)
EVEN = np.full((2, 3, 3), 1 / 3, np.float32)
FORGOTTEN = np.asarray([[2, 3, 3]], np.int32)


@pytest.fixture
def as_users_call():
    """Without the checks of types that only tests put inside a border, behind its own."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="module")
def decoder():
    return Decoder(CONFIG, key=jax.random.key(0))


def upper(length, gap):
    return dispersion_bracket(length, gap).upper


def taken_as_traced(traced):
    return jax.jit(lambda share: total_variation([share, 1 - share], [1 - share, share]))(traced)


# Each kind of argument beside what stands for the same: both calls give the same numbers.
SAME = {
    "a number without axes beside a batch": (
        lambda: upper(LINE, jnp.float32(1)),
        lambda: upper(LINE, jnp.ones(3, jnp.float32)),
    ),
    "a number of NumPy beside a batch": (
        lambda: upper(LINE, ONE),
        lambda: upper(LINE, jnp.ones(3, jnp.float32)),
    ),
    "a traced number beside a batch": (
        lambda: jax.jit(upper)(LINE, ONE),
        lambda: upper(LINE, jnp.ones(3, jnp.float32)),
    ),
    "a number without axes before a batch": (
        lambda: upper(jnp.int32(3), THREE),
        lambda: upper(jnp.full(3, 3, jnp.int32), THREE),
    ),
    "arrays of JAX for sequences": (
        lambda: loglog_slope(LINE, THREE),
        lambda: loglog_slope([1, 2, 3], [0.5, 0.25, 0.125]),
    ),
    "arrays of JAX for lengths and distances": (
        lambda: fit_decay(LINE, THREE),
        lambda: fit_decay([1, 2, 3], [0.5, 0.25, 0.125]),
    ),
    "an array of a narrow format for a sequence": (
        lambda: loglog_slope([1, 2, 3], THREE.astype(jnp.bfloat16)),
        lambda: loglog_slope([1, 2, 3], [0.5, 0.25, 0.125]),
    ),
    "an array of one number for a number": (
        lambda: ssmax_weights(THREE, np.array(2.0)),
        lambda: ssmax_weights(THREE, 2.0),
    ),
    "a number of a narrow format for a number": (
        lambda: ssmax_weights(THREE, ml_dtypes.bfloat16(3.0)),
        lambda: ssmax_weights(THREE, 3.0),
    ),
    "an array of one number for a whole number": (
        lambda: residual_atom(np.array(3), np.array(0.5)),
        lambda: residual_atom(3, 0.5),
    ),
    "an array of floats for fractions": (
        lambda: cesaro_rollout(3, np.asarray([0.5, 0.25])),
        lambda: cesaro_rollout(3, [Fraction(1, 2), Fraction(1, 4)]),
    ),
    "a list of what is traced": (
        lambda: taken_as_traced(0.25),
        lambda: total_variation([0.25, 0.75], [0.75, 0.25]),
    ),
    "a list of what is traced and of numbers": (
        lambda: jax.jit(lambda share: total_variation([share, 0.5], [1, 0]))(0.5),
        lambda: total_variation([0.5, 0.5], [1, 0]),
    ),
    "a list of numbers of JAX": (
        lambda: total_variation(list(THREE), np.asarray([0.5, 0, 0], np.float32)),
        lambda: total_variation(THREE, np.asarray([0.5, 0, 0], np.float32)),
    ),
    "an array of JAX for one of NumPy": (
        lambda: lifetimes(jnp.asarray(FORGOTTEN)),
        lambda: lifetimes(FORGOTTEN),
    ),
    "a list for an array of NumPy": (
        lambda: lifetimes([[2, 3, 3]]),
        lambda: lifetimes(FORGOTTEN),
    ),
    "an array for a sequence of arrays": (
        lambda: last_seen(FORGOTTEN[None]),
        lambda: last_seen([FORGOTTEN]),
    ),
    "arrays of JAX for a sequence of arrays": (
        lambda: last_seen([jnp.asarray(FORGOTTEN)]),
        lambda: last_seen([FORGOTTEN]),
    ),
    "a number of Python beside a narrower array": (
        lambda: upper(LINE, 1.0),
        lambda: upper(LINE, jnp.ones(3)),
    ),
    "shares that rounding put over one": (
        lambda: attention_rollout(EVEN, np.full(2, 1.0000001, np.float32)),
        lambda: attention_rollout(EVEN, np.ones(2, np.float32)),
    ),
}  # fmt: skip


@pytest.mark.usefixtures("as_users_call")
@pytest.mark.parametrize("kind", SAME)
def test_what_stands_for_an_argument_is_taken_for_it(kind):
    call, plain = SAME[kind]
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(
            np.asarray(a, float), np.asarray(b, float), rtol=1e-6
        ),
        call(),
        plain(),
    )


UNSIGNED = {
    "bytes of NumPy": lambda: np.asarray(TEXT, np.uint8),
    "bytes of JAX": lambda: TEXT.astype(jnp.uint8),
    "words of JAX": lambda: TEXT.astype(jnp.uint32),
    "long words of NumPy": lambda: np.asarray(TEXT, np.uint64),
}


@pytest.mark.parametrize("kind", UNSIGNED)
def test_unsigned_tokens_are_tokens(decoder, kind):
    tokens = UNSIGNED[kind]()
    np.testing.assert_array_equal(decoder(tokens)[0], decoder(TEXT)[0])
    model, state = unroll(decoder), empty_state(CONFIG, TOVA, 3)
    _, y, _ = advance(model, state, tokens, TOVA)
    np.testing.assert_array_equal(y, advance(model, state, TEXT, TOVA)[1])
    traced = jax.eval_shape(decoder, jax.ShapeDtypeStruct(tokens.shape, tokens.dtype))
    assert traced[0].shape == y.shape


def test_unsigned_tokens_that_int32_cannot_hold_are_refused(decoder):
    with pytest.raises(BadInput, match=r"^Expected tokens to be an array of ints .*got uint32"):
        decoder(jnp.asarray([1, 2**31], jnp.uint32))


def test_prompts_come_in_one_array(decoder):
    prompts = jnp.stack([TEXT, TEXT])
    first = next(generate(unroll(decoder), prompts, TOVA, slots=3, max_tokens=1))
    listed = next(generate(unroll(decoder), prompts.tolist(), TOVA, slots=3, max_tokens=1))
    np.testing.assert_array_equal(first.token, listed.token)
    assert len(last_representations(decoder, prompts)) == 2


@pytest.mark.parametrize("prompt", [[[1]], [[1, 2]], [[1], [1, 2]], [], 3], ids=str)
@pytest.mark.usefixtures("as_users_call")
@pytest.mark.parametrize("function", ["generate", "last_representations"])
def test_a_prompt_that_is_no_line_of_tokens(decoder, function, prompt):
    calls = {
        "generate": lambda: next(generate(unroll(decoder), [prompt], TOVA, slots=3, max_tokens=1)),
        "last_representations": lambda: last_representations(decoder, [prompt]),
    }
    with pytest.raises(BadInput, match=r"^Expected prompts (of one token or more|to be a seq)"):
        calls[function]()


def test_a_state_of_float64_is_right_once_float64_is_on():
    with jax.enable_x64(False):
        decoder = unroll(made(CONFIG, jax.random.key(0), jnp.float32))
        advance(decoder, empty_state(CONFIG, TOVA, 3), TEXT, TOVA)
    wide = jax.tree.map(
        lambda x: x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x, decoder
    )
    state = empty_state(CONFIG, TOVA, 3, jnp.float64)
    assert advance(wide, state, TEXT, TOVA)[1].dtype == jnp.float64


@pytest.mark.parametrize("mode", ["exact", "chunked"])
def test_scores_of_integers_are_compared_exactly(decoder, mode):
    """Float32 would not tell these apart, and the first of them would go, not the second."""
    least = jnp.asarray([1, 0, 2, 3, 4, 5], jnp.int32) + 2**30
    own = lambda places: jnp.take(least, jnp.maximum(places.position, 0))
    state, rule = empty_state(CONFIG, TOVA, 5), Policy(name="own", score=own)
    state, _, _ = advance(unroll(decoder), state, TEXT, rule, mode=mode)
    assert sorted(state.layers[0].position[0].tolist()) == [-1, 0, 2, 3, 4, 5]


def test_the_newest_position_goes_first_where_the_score_says_so(decoder):
    rule = Policy(name="own", score=lambda places: -places.position)
    state, _, _ = advance(unroll(decoder), empty_state(CONFIG, TOVA, 3), TEXT, rule)
    assert sorted(state.layers[1].position[0].tolist()) == [-1, 0, 1, 2]


AXES = {
    "one axis": (lambda: softmax_total_variation(np.ones(3), np.ones(4)), r"n\) where n = 3, got"),
    "a batch": (
        lambda: softmax_total_variation(np.ones((2, 3)), np.ones((1, 3))),
        r"where \*batch = \(2,\) and n = 3, got float64 of shape \(1, 3\)",
    ),
}


@pytest.mark.parametrize("kind", AXES)
def test_axes_that_disagree_are_told_by_the_lengths_of_the_earlier_ones(kind):
    call, text = AXES[kind]
    with pytest.raises(BadInput, match=f"^Expected x_star to be an array of floats .*{text}"):
        call()


FORMATS = (jnp.bfloat16, jnp.float16, jnp.float32, jnp.float64)


@pytest.mark.parametrize("dtype", FORMATS, ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize("end", [0, 1])
def test_computed_numbers_may_miss_an_end_by_a_few_roundings(dtype, end):
    step = float(jnp.finfo(dtype).eps) * (1 if end else -1)
    check_domain("share", jnp.full(2, end + step, dtype), SHARE)
    with pytest.raises(BadInput, match=r"^Expected share from 0 to 1, got"):
        check_domain("share", jnp.full(2, end + 5 * step, dtype), SHARE)


@pytest.mark.parametrize("value", [-1, Fraction(-1, 10**20), np.int32(-1)], ids=str)
def test_exact_numbers_may_not_miss_an_end(value):
    with pytest.raises(BadInput, match=r"^Expected count at least 0, got"):
        check_domain("count", value, NON_NEGATIVE)


def test_the_entropy_of_a_sum_that_rounding_put_over_one():
    assert np.isfinite(inverse_temperature(entropy(np.asarray([1.0000001], np.float32))))
