"""Ratios on untrained decoders: alike up to rounding where the statement says so, and else not."""

import itertools
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glassesjax.model import Bidirectional, Causal, Decoder, DecoderConfig, NoPositions, Rotary
from glassesjax.model.config import AdaptiveTemperature, ConstantTemperature, ScalableSoftmax
from glassesjax.studies.train import ratio_rows as module
from glassesjax.studies.train.ratio_rows import Read, ratio_rows, repeated
from glassesjax.studies.train.settings import TrainSettings
from glassesjax.tasks import named_format, named_task

SYMBOLS = named_task("count_mixed").symbols
TYPES = "no_bos+no_stop"
LENGTHS = (2, 4)
HEAD = {"step": 1, "format": "f64"}


@pytest.fixture(autouse=True, scope="module")
def few_at_once():
    """28 items, and the ten of them with a bound: a rest of a batch would be a program more."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_AT_ONCE", 2)
        yield


def decoder_of(mask, positions=NoPositions(), layers=2, temperature=ConstantTemperature()):  # noqa: B008  (frozen)
    config = DecoderConfig(
        vocab_size=len(SYMBOLS), num_layers=layers, model_dim=8, mask=mask, positions=positions,
        temperature=temperature,
    )  # fmt: skip
    return Decoder(config, key=jax.random.key(3))


def rows_of(decoder, remedy=TYPES):
    return list(ratio_rows(decoder, named_format(remedy), LENGTHS, 0, HEAD))


def test_repetitions_by_hand():
    assert repeated((1, 0), 2) == ((1, 1, 0, 0), (1, 0, 1, 0))


@pytest.fixture(scope="module")
def free():
    return decoder_of(Bidirectional())


@pytest.fixture(scope="module")
def free_rows(free):
    return rows_of(free)


def test_without_mask_and_positions_repetitions_are_alike(free_rows):
    ratio, pairs = free_rows
    assert ratio.applies
    assert pairs.pairs == 8
    assert pairs.roundoff.within_roundoff
    assert pairs.max_difference <= pairs.roundoff.roundoff < 1e-5
    assert pairs.same_answer == 1
    assert pairs.both_correct == 0
    assert ratio.accuracy <= ratio.ratio_only_accuracy
    assert not ratio.exceeds_ratio_only
    assert ratio.exceeds_beyond_roundoff is False


def test_the_accuracy_is_that_of_a_loop_over_all_items(free, free_rows):
    read = jax.jit(lambda tokens: free.logits(free(tokens)[0])[-1])
    zero, right = SYMBOLS.index("0"), Fraction(0)
    for length in (2, 3, 4):
        for item in itertools.product((0, 1), repeat=length):
            said = int(np.argmax(read(jnp.asarray(item, jnp.int32) + zero))) - zero
            chance = Fraction(7, 10) ** sum(item) * Fraction(3, 10) ** (length - sum(item))
            right += chance / 3 if said == sum(item) else 0
    assert free_rows[0].accuracy == float(right)


@pytest.mark.parametrize(
    ("mask", "positions"),
    [(Bidirectional(), Rotary()), (Causal(), NoPositions())],
    ids=["rotary", "causal"],
)
def test_with_positions_or_mask_they_are_not(mask, positions):
    differ(*rows_of(decoder_of(mask, positions)))


# One causal layer sees the ratio alone, below, and has no bound to be compiled beside it.
@pytest.fixture(
    scope="module",
    params=[Causal(), pytest.param(Bidirectional(), marks=pytest.mark.slow)],
    ids=["causal", "free"],
)
def marked(request):
    """A third type, once: its share tells the length."""
    return rows_of(decoder_of(request.param, layers=1), "none")


def test_with_marks_they_are_not(marked):
    differ(*marked)


def differ(ratio, pairs):
    assert not ratio.applies
    assert pairs.max_difference > 1e-3
    assert not (pairs.roundoff and pairs.roundoff.within_roundoff)
    assert ratio.exceeds_beyond_roundoff in (None, False)


@pytest.mark.parametrize(
    "temperature",
    [ScalableSoftmax(), pytest.param(AdaptiveTemperature(), marks=pytest.mark.slow)],
    ids=str,
)
def test_a_temperature_that_knows_the_length_is_no_ratio(temperature):
    ratio, pairs = rows_of(decoder_of(Bidirectional(), temperature=temperature))
    assert not ratio.applies
    assert pairs.max_difference > 1e-6
    assert pairs.roundoff is ratio.exceeds_beyond_roundoff is None


def test_which_answers_rounding_may_have_chosen():
    """Leads of 1, 3 and 3 against twice a bound of 1, of 2, and of an item that has none."""
    scores = np.array([[0.0, 1.0], [3.0, 0.0], [0.0, 3.0]])
    read = Read(((0,), (1,), (0, 1)), scores, np.array([1.0, 2.0, np.nan]))
    assert read.decided.tolist() == [False, False, False]
    assert read._replace(roundoff=np.array([0.4, 1.0, np.nan])).decided.tolist() == [True] * 3
    assert not read._replace(roundoff=np.full(3, np.nan)).decided.any()


def test_one_causal_layer_sees_the_ratio_alone():
    _, pairs = rows_of(decoder_of(Causal(), layers=1))
    assert pairs.max_difference < 1e-13
    assert not pairs.applies, "the mask is there all the same"


def test_which_runs_are_asked():
    asks = lambda **changes: TrainSettings(**{"task": "count_mixed", "lengths": (2, 9)} | changes)
    assert asks().asks_ratio
    assert not asks(lengths=(2, 10)).asks_ratio
    assert not asks(mix="log").asks_ratio
    assert not asks(remedy="steps-2").asks_ratio
    assert not asks(task="count_ones").asks_ratio
    assert asks().calls == asks(lengths=(2, 10)).calls + 1
