"""The phase diagram: its sums are those of the package, its borders those of the statements."""

import math
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glassesjax.model import open_model
from glassesjax.precision import Accumulator, accumulate, float_format
from glassesjax.report.chart import drawing

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
import phase
import phase_cells as cells
import phase_rows
from phase_figure import phase_figure

U = 2.0**-53
NAMES = [store.name for store in cells.STORES]


def at(store, order, bits, chunk):
    sums = [fmt.mantissa_bits for fmt in cells.SUMS]
    places = (NAMES.index(store), cells.ORDERS.index(order), sums.index(bits))
    return (*places, cells.CHUNKS.index(chunk))


@pytest.fixture(scope="module")
def drawn():
    """Two rows over more than a segment, with values of two coordinates."""
    rng = np.random.default_rng(0)
    logits, values = rng.normal(size=(2, 2500)), 1 + rng.normal(size=(2, 2500, 2))
    return logits, values, cells.mean_errors(logits, values)


@pytest.mark.parametrize("order", cells.ORDERS)
@pytest.mark.parametrize(("bits", "chunk"), [(7, 1), (7, 64), (10, 1), (23, 512)])
def test_every_sum_is_that_of_an_accumulator(drawn, order, bits, chunk):
    logits, values, errors = drawn
    how = Accumulator(float_format(f"e8m{bits}"), "chunked", chunk)
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    total = weights.sum(axis=1, keepdims=True)
    exact = np.einsum("rn,rnd->rd", weights, values) / total
    for name in ("e8m4", "e4m3fn", "e4m3fn*256"):
        store = cells.STORES[NAMES.index(name)]
        first = weights / total if order == "normalized" else weights
        stored = np.asarray(store.fmt.round(jnp.asarray(first * store.scale))) / store.scale
        terms = jnp.asarray((stored[..., None] * values).swapaxes(1, 2))
        means = np.asarray(accumulate(terms, how)) / (1 if order == "normalized" else total)
        by_hand = np.linalg.norm(means - exact, axis=1) / np.linalg.norm(exact, axis=1)
        # A chunk is summed in float64 in another order, which no bit of these formats shows but
        # where a sum lies within it of a midpoint: none of these does.
        found = errors[(slice(None), *at(name, order, bits, chunk))]
        assert np.allclose(found, by_hand, rtol=1e-9, atol=8 * 2500 * U)


def test_equal_logits_fail_as_the_closed_forms_say():
    for n in (1024, 1448):
        errors = cells.mean_errors(np.zeros((1, n)))[0]
        for bits, chunk in ((7, 1), (7, 64), (10, 1), (13, 1)):
            limit = chunk * 2 ** (bits + 1)
            expected = max(0.0, 1 - limit / n)
            assert errors[at("e8m7", "fused", bits, chunk)] == expected
        assert errors[at("e4m3fn", "normalized", 23, 512)] == 1
        assert errors[at("e8m2", "fused", 23, 1)] == 0


def test_borders():
    found = cells.borders()
    assert found[at("e4m3fn", "normalized", 7, 1)].tolist() == [1024, 256]
    assert found[at("e4m3fn*256", "normalized", 10, 64)].tolist() == [2**18, 2**17]
    assert found[at("e8m2", "fused", 13, 512)].tolist() == [math.inf, 2.0**23]


def test_crossing_is_the_last_time():
    errors = np.array([[0.5, 0.5, 0.0], [0.1, 0.6, 0.0], [0.3, 0.7, 0.9], [1.0, 0.8, 0.1]])
    found = cells.crossing(np.array([2, 4, 8, 16]), errors, 0.3)
    assert found.tolist() == [8, 2, math.inf]


@pytest.mark.parametrize("chunk", [1, 64])
@pytest.mark.parametrize("n", [100, 256, 20_000])
def test_the_expected_sum_of_ones_is_their_sum(chunk, n):
    fmt = cells.SUMS[0]
    by_hand = float(accumulate(jnp.ones(n), Accumulator(fmt, "chunked", chunk)))
    assert abs(cells.expected_sum(np.ones(n), fmt, chunk) - by_hand) <= chunk


def test_the_expected_sum_of_drawn_terms_is_near():
    terms = np.exp(np.random.default_rng(3).normal(size=20_000))
    fmt, bf16 = cells.SUMS[0], Accumulator(cells.SUMS[0])
    found = float(accumulate(jnp.asarray(terms), bf16))
    assert found < 0.2 * terms.sum()
    # As on the page: to 0.03 of the whole sum.
    assert abs(cells.expected_sum(terms, fmt, 1) - found) < 0.03 * terms.sum()


def test_rows_of_a_model_are_those_of_its_pass():
    opened = open_model("toy")
    tokens = jnp.asarray(opened.tokenizer.encode_symbols("110100110"), jnp.int32)
    heads = phase_rows.heads_of(opened.decoder, tokens, (5, 9))
    _, trace = jax.jit(lambda decoder: decoder(tokens, keep="attention"))(opened.decoder)
    for one, n in zip(heads, (5, 9), strict=True):
        # Compiled, a sum may be rounded in another order; 1 + 2^-12 is no slip of a row or head.
        whole = np.asarray(trace.attn_logits)[:, :, n - 1, :n]
        assert np.allclose(one.logits, whole, rtol=2.0**-12, atol=2.0**-12)
        assert one.values.shape[:2] == one.logits[:, 0].shape


def test_records_table_and_figure():
    lengths = (16, 512, 1024, 2048)
    kind = phase_rows.equal_rows(lengths)
    compared = phase.compared(kind)
    assert compared["cells"] == 288
    assert compared["of these fail"] == compared["predicted to fail"] > 0
    assert compared["of these fail too"] == 0
    records = phase.every_cell(kind)
    assert len(records) == 288
    assert len({tuple(map(str, r.values())) for r in records}) > 1
    chosen = phase.table(kind)["e8m7, fused, sum of 7 bits in chunks of 1"]
    assert chosen == {"median": 0.875, "largest": 0.875}
    given = phase_rows.array_rows("given", [np.zeros((1, n)) for n in lengths])
    assert np.array_equal(given.errors, kind.errors)
    text = drawing(phase_figure([kind, given]), "phase").file
    assert "normalized store" in text
    assert text.count("<image") == 8
