"""The counter counts exactly; and where a format stores it, it fails at the count known by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glassesjax.errors import BadInput
from glassesjax.model import open_model
from glassesjax.model.counter import (
    GROUND,
    counter,
    counter_line,
    counter_symbols,
    largest_counter,
)
from glassesjax.precision import (
    BF16,
    E4M3FN,
    E5M2,
    F16,
    F32,
    F64,
    Accumulator,
    RoundingPlan,
    float_format,
    named_plan,
)
from glassesjax.tasks.sequences import SYMBOLS
from glassesjax.theory.counting import failing_length, first_wrong_readout
from glassesjax.theory.storage import uniform_length

READINGS = tuple(GROUND)
# Longest run of ones; each goes on beyond the last count that one plus a share tells apart.
LENGTHS = {E5M2: 24, E4M3FN: 48, BF16: 300}
WIDE = RoundingPlan.wide(F64)


def residual_only(fmt):
    return RoundingPlan(residual=fmt, mode="simulated", carrier=F64)


def everywhere(fmt):
    return RoundingPlan.everywhere(fmt, carrier=F64)


@functools.partial(jax.jit, static_argnames="plan")
def run(decoder, tokens, plan):
    """Last representations and answers after each token: all counts in one pass."""
    decoder = decoder.at(plan)
    y, _ = decoder(tokens)
    return y, jnp.argmax(decoder.logits(y), axis=-1) - len(SYMBOLS)


def ids(symbols):
    return jnp.asarray([SYMBOLS.index(symbol) for symbol in symbols])


@functools.cache
def observe(plan, reading, length, dtype=jnp.float64):
    """What a run of ones gives: row k stands after k of them."""
    tokens = ids(("<bos>", *"1" * length))
    y, told = run(counter(length, reading=reading, dtype=dtype), tokens, plan)
    return np.asarray(y), np.asarray(told)


def equal_to_next(y):
    """Whether the rows of counts k and k + 1 store the same bits, for each k."""
    bits = y.view(f"u{y.itemsize}")
    return np.all(bits[1:] == bits[:-1], axis=1)


def observed(y, told):
    """First equal, first wrong, last distinct: as seen in the run."""
    equal, wrong = equal_to_next(y), told != np.arange(len(told))
    return np.argmax(equal), np.argmax(wrong), np.flatnonzero(~equal)[-1]


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_every_count_is_right_without_rounding(reading, dtype):
    most = min(largest_counter(reading, dtype), 1100)
    y, told = observe(RoundingPlan.of_dtype(dtype), reading, most, dtype)
    assert np.array_equal(told, np.arange(most + 1))
    assert not equal_to_next(y).any()


def test_float32_weights_do_err_where_the_largest_count_is_ignored():
    """The limit is there for a reason: the same weights, rounded to float32, miscount."""
    single = RoundingPlan.wide(F32)
    tokens = ids(("<bos>", *"1" * 1100))
    decoder = counter(1100, reading="one_plus_share", dtype=jnp.float64)
    wrong = np.asarray(run(decoder, tokens, single)[1]) != np.arange(1101)
    assert wrong.any()
    assert np.argmax(wrong) > largest_counter("one_plus_share")


@pytest.mark.parametrize("reading", READINGS)
def test_ones_are_counted_among_other_tokens(reading):
    rng = np.random.default_rng(0)
    # Everything else is passed over: zeros, other digits, commas, and counts that were said.
    others = [SYMBOLS.index(s) for s in "0012,"] + [len(SYMBOLS) + 3]
    others.remove(SYMBOLS.index("1"))
    ones = rng.random(300) < 0.7
    tokens = np.where(ones, SYMBOLS.index("1"), rng.choice(others, 300))
    tokens = jnp.asarray(np.append(SYMBOLS.index("<bos>"), tokens))
    for plan in (WIDE, residual_only(BF16)):
        y, told = run(counter(300, reading=reading, dtype=jnp.float64), tokens, plan)
        in_a_run = observe(plan, reading, 300)
        count = np.append(0, np.cumsum(ones))
        assert np.array_equal(told, in_a_run[1][count])
        after_a_one = np.append(False, ones)
        rows, counted = np.asarray(y)[after_a_one], in_a_run[0][count[after_a_one]]
        assert np.array_equal(rows.view("u8"), counted.view("u8"))  # bit for bit: only counts count


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("fmt", LENGTHS, ids=lambda fmt: fmt.name)
def test_a_stored_residual_stream_fails_where_it_must(fmt, reading):
    y, told = observe(residual_only(fmt), reading, LENGTHS[fmt])
    by_hand = failing_length(fmt, reading)
    equal, wrong, last = observed(y, told)
    assert (equal, wrong) == by_hand[:2]
    if reading == "one_plus_share":  # a share alone goes on to the smallest number of the format
        assert last == by_hand.last_distinct
    assert told[equal] == told[equal + 1]
    assert wrong in (equal, equal + 1)  # one of two equal answers is wrong, and none before


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("fmt", [E4M3FN, BF16], ids=lambda fmt: fmt.name)
def test_rounding_everywhere_changes_the_readout_alone(fmt, reading):
    rows, _ = observe(residual_only(fmt), reading, LENGTHS[fmt])
    y, told = observe(everywhere(fmt), reading, LENGTHS[fmt])
    assert np.array_equal(y.view("u8"), rows.view("u8"))
    wrong = np.argmax(told != np.arange(len(told)))
    assert wrong == first_wrong_readout(fmt, reading, LENGTHS[fmt])


def test_a_share_in_e4m3fn_is_told_apart_for_the_last_time_where_it_underflows():
    y, told = observe(residual_only(E4M3FN), "share", 1100)
    assert observed(y, told) == failing_length(E4M3FN, "share")
    assert failing_length(E4M3FN, "share").last_distinct == 1022  # 1/1024 is half of 2^-9


# The last count that differs from the next; of tiles that are not full it is met only nearly.
ORDERS = {
    "normalized": (RoundingPlan(attn_weights=E4M3FN, mode="simulated", carrier=F64), 1024),
    "fused": (RoundingPlan(attn_exp=E4M3FN, mode="simulated", carrier=F64), None),
    "sum": (RoundingPlan(softmax_sum=Accumulator(E4M3FN), mode="simulated", carrier=F64), 16),
    "both": (
        RoundingPlan(
            attn_exp=E4M3FN,
            softmax_sum=Accumulator(BF16),
            tile=0,
            mode="simulated",
            carrier=F64,
        ),
        256,
    ),
    "pairwise": (
        RoundingPlan(softmax_sum=Accumulator(BF16, "pairwise"), mode="simulated", carrier=F64),
        None,
    ),
}


@pytest.mark.parametrize("name", ORDERS)
def test_the_order_decides_how_far_shares_are_told_apart(name):
    plan, length = ORDERS[name]
    assert uniform_length(plan) == length
    y, _ = observe(plan, "share", 1100)
    differs = np.flatnonzero(~equal_to_next(y))
    # The count c has n = c + 1 equal weights.
    if length is None:
        assert differs[-1] >= 1100 - 8  # 8 is the step of bf16 there
    else:
        assert differs[-1] == length - 2


@pytest.mark.parametrize("tile", [4, 16, 48])
def test_tiles_move_the_limit_of_a_sum(tile):
    how = Accumulator(float_format("e5m3"))
    plan = RoundingPlan(attn_exp=BF16, softmax_sum=how, tile=tile, mode="simulated", carrier=F64)
    length = uniform_length(plan)
    assert length == tile * 16 if tile < 48 else 768  # 48 ones are 16 in the format
    y, _ = observe(plan, "share", 1100)
    differs = np.flatnonzero(~equal_to_next(y))
    # Once the full tiles have the limit, none of the next tile changes it; before, the last full
    # one did.
    assert length - 1 - 2 * tile < differs[-1] <= length - 2


@pytest.mark.parametrize("reading", READINGS)
def test_wider_storage_does_not_fail_there(reading):
    y, told = observe(WIDE, reading, 300)
    for fmt in LENGTHS:
        count = failing_length(fmt, reading).first_equal
        assert not equal_to_next(y)[count]
        assert np.array_equal(told[[count, count + 1]], [count, count + 1])


@pytest.mark.parametrize(
    "bits", [pytest.param(2, marks=pytest.mark.slow), 4, pytest.param(6, marks=pytest.mark.slow)]
)
def test_a_bit_more_doubles_the_last_distinct_count(bits):
    fmt = float_format(f"e8m{bits}")
    length = 2 << (bits + 1)
    found = {reading: observe(residual_only(fmt), reading, length) for reading in READINGS}
    for reading, (y, told) in found.items():
        assert observed(y, told)[:2] == failing_length(fmt, reading)[:2]
    # 1 + 1/n is above the middle between 1 and its neighbor up to n = 2^(m + 1) - 1.
    assert observed(*found["one_plus_share"])[2] == (2 << bits) - 2


@pytest.mark.slow
@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize(
    "fmt", [F16, *(float_format(f"e8m{bits}") for bits in (8, 9, 11, 12))], ids=lambda f: f.name
)
def test_finer_formats_fail_where_they_must(fmt, reading):
    by_hand = failing_length(fmt, reading)
    length = (2 << fmt.mantissa_bits) + 4
    found = observed(*observe(residual_only(fmt), reading, length))
    assert found[:2] == by_hand[:2]
    if reading == "one_plus_share":
        assert found[2] == by_hand.last_distinct


@pytest.mark.slow
def test_float32_itself_fails_after_a_one():
    """Of all that is predicted for float32, this is near enough to be seen."""
    y, told = observe(residual_only(F32), "one_plus_share", 3000)
    by_hand = failing_length(F32, "one_plus_share")
    assert observed(y, told)[:2] == by_hand[:2] == (2946, 2946)
    native, _ = observe(RoundingPlan.everywhere(F32, mode="native"), "one_plus_share", 3000)
    assert np.array_equal(native, y)
    y, told = observe(residual_only(F32), "share", 3000)
    assert not equal_to_next(y).any()
    assert np.array_equal(told, np.arange(3001))


@pytest.mark.parametrize("reading", READINGS)
def test_a_float32_carrier_and_native_bfloat16_store_the_same(reading):
    """Wide values are double what is stored: rounding twice changes no quotient this short."""
    expected, _ = observe(everywhere(BF16), reading, 300)
    for plan in (RoundingPlan.everywhere(BF16), RoundingPlan.everywhere(BF16, mode="native")):
        y, _ = run(
            counter(300, reading=reading, dtype=jnp.float64), ids(["<bos>", *"1" * 300]), plan
        )
        assert np.array_equal(np.asarray(y, np.float64), expected)


def test_without_a_beginning_there_is_no_count():
    """All tokens alike: nothing is shared with, as in Proposition 6.1."""
    y, _ = run(counter(9, dtype=jnp.float64), ids("111111111"), WIDE)
    assert equal_to_next(np.asarray(y)).all()


def test_scores_are_distances_to_the_shares():
    for reading, ground in GROUND.items():
        (slope, intercept), total = counter_line(4, reading), ground + 0.5
        # The share of 4 is 1/5: 1/4 - (1/2 - 1/5)^2.
        assert float(slope) * total + float(intercept) == pytest.approx(0.25 - 0.09, abs=1e-15)


def test_the_counter_opens_by_name_and_says_counts():
    model = open_model("counter")
    assert model.tokenizer.symbols == counter_symbols(999)
    tokens = jnp.asarray(model.tokenizer.encode_symbols(("<bos>", *"110010")))
    y, _ = model.decoder(tokens)
    last = jnp.argmax(model.decoder.logits(y)[-1])
    assert model.tokenizer.token_text(int(last)) == "#3"


@pytest.mark.parametrize(
    ("most", "reading", "dtype", "message"),
    [
        (0, "share", jnp.float32, "from 1 to 1022, which float32 distinguishes by share, got 0"),
        (100, "one_plus_share", jnp.float32, "from 1 to 99, which float32"),
        (9, "share", jnp.bfloat16, "got bfloat16: round by a plan"),
    ],
)
def test_bad_input(most, reading, dtype, message):
    with pytest.raises(BadInput, match=message):
        counter(most, reading=reading, dtype=dtype)


def test_float64_needs_64_bit_types():
    with jax.enable_x64(False), pytest.raises(BadInput, match="Expected 64-bit types for float64"):
        counter(9, dtype=jnp.float64)


@pytest.mark.parametrize(
    ("plan", "last"),
    [
        ("e4m3fn@attn_exp:0,e4m3fn@softmax_sum", 14),
        ("e4m3fn@attn_exp:0,bf16@softmax_sum", 254),
        ("e4m3fn@attn_exp:0", 299),
        ("e4m3fn@attn_weights", 203),  # 512 / n rounds to 3 up to 204, to 2 up to 341
    ],
)
def test_orders_of_attention(plan, last):
    y, _ = observe(named_plan(plan), "share", 300, jnp.float32)
    distinct = ~equal_to_next(y)
    assert np.flatnonzero(distinct)[-1] == last
    # Fused weights with a wide sum distinguish every count; normalized ones do not.
    assert distinct.all() == (plan == "e4m3fn@attn_exp:0")
