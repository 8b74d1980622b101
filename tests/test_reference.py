"""The slow decoder against values worked out by hand: an oracle must not be taken on trust."""

import math
from typing import Any

import numpy as np
import pytest
from made_decoders import mlp_of
from reference import UNIT_ROUNDOFF, decoder_forward

from glassesjax.model.config import (
    Alibi,
    Bidirectional,
    ConstantNorm,
    DecoderConfig,
    LayerNorm,
    Learned,
    LinearMlp,
    NoNorm,
    Prefix,
    RMSNorm,
    Rotary,
    Sinusoidal,
    Window,
    ZeroMlp,
)

U = UNIT_ROUNDOFF["float64"]


def bare(vocab_size, model_dim, num_layers=1, **switches):
    """The paper's equations with no norm and no MLP: attention added to the residual."""
    plain: dict[str, Any] = {"norm": NoNorm(), "mlp": ZeroMlp(), "values": "identity"}
    plain |= {"attn_scale": 1.0, "num_layers": num_layers} | switches
    return DecoderConfig(vocab_size=vocab_size, model_dim=model_dim, **plain)


def weights(config, table, query=0.0, key=0.0, **others):
    """One matrix for the queries and one for the keys of all layers; zero makes attention even."""
    square = (config.num_layers, config.model_dim, config.model_dim)
    matrices = {
        "embed.table": np.asarray(table, float),
        "blocks.attention.query": np.broadcast_to(query, square),
        "blocks.attention.key": np.broadcast_to(key, square),
    }
    return matrices | others


def close(got, wanted, roundings):
    """Agreement to so many unit roundoffs of the largest value wanted."""
    scale = np.max(np.abs(wanted))
    np.testing.assert_allclose(got, wanted, rtol=0, atol=roundings * U * scale)


def test_even_attention_gives_powers_of_the_cesaro_matrix():
    # Embeddings are unit vectors, so the last residual is the last row of (I + M)^3, M_ij = 1/i.
    config = bare(5, 5, num_layers=3)
    y = decoder_forward(config, weights(config, np.eye(5)), range(5)).y
    wanted = np.array([47479, 28459, 20749, 9 * 1801, 1152 * 27]) / 18000
    assert sum(wanted) == pytest.approx(8, abs=8 * 5 * U)
    close(y[-1], wanted, roundings=3 * 5 * 3)  # per layer and term: weight, product, sum


def test_repeating_the_last_token_moves_one_layer_by_the_exact_formula():
    rng = np.random.default_rng(1)
    config = bare(6, 4)
    query, key = rng.normal(size=(2, 4, 4))
    params = weights(config, rng.normal(size=(6, 4)), query, key)
    passed = decoder_forward(config, params, [0, 3, 1, 4, 2, 5, 5])
    *others, p = passed.attn_weights[0, 0, 5, :6]
    mean = np.array(others) / (1 - p) @ passed.resid[0, :5]
    wanted = p * (1 - p) / (1 + p) * (passed.resid[0, 5] - mean)
    moved = passed.resid_mid[0, 6] - passed.resid_mid[0, 5]
    # A logit is 4 + 4 + 4 products; its absolute error is the relative error of the weight.
    logit = np.max(np.abs(passed.attn_logits[np.isfinite(passed.attn_logits)]))
    allowed = 4 * 12 * (1 + logit) * U * np.max(np.abs(passed.resid_mid))
    np.testing.assert_allclose(moved, wanted, rtol=0, atol=allowed)
    assert np.max(np.abs(wanted)) > 1e6 * allowed


@pytest.mark.parametrize("logit", [0.0, 1.0, -2.0])
def test_one_bos_and_n_copies_move_by_the_closed_form(logit):
    config = bare(2, 2)
    # Only the copies have a query, (0, 1), and a key, (0, logit): the logit of BOS is 0.
    params = weights(config, np.eye(2), np.diag([0.0, 1.0]), np.diag([0.0, logit]))
    passed = decoder_forward(config, params, [0] + 41 * [1])
    e = math.exp(logit)  # for logit 0 and n = 10 the difference is 1 / 132
    for n in (1, 10, 40):
        wanted = e / ((1 + n * e) * (1 + (n + 1) * e)) * np.array([-1.0, 1.0])
        moved = passed.resid_mid[0, n + 1] - passed.resid_mid[0, n]
        # Both rows are near (0, 2) and carry a sum of n terms, then cancel.
        np.testing.assert_allclose(moved, wanted, rtol=0, atol=2 * (n + 4) * 2 * U)


def test_alibi_without_content_is_geometric_and_does_not_collapse():
    slope, tokens = 4.0, [0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 1]
    table = np.random.default_rng(3).normal(size=(3, 4))
    config = bare(3, 4, positions=Alibi(slopes=(slope,)))
    passed = decoder_forward(config, weights(config, table), tokens)
    ratio = math.exp(-slope)
    close(passed.attn_weights[0, 0, 1, :2], np.array([ratio, 1]) / (1 + ratio), roundings=4)
    # exp(-4 * 11) is below u, so the context is as good as infinite.
    before, after = (passed.resid_mid[0] - passed.resid[0])[-2:]
    wanted = before + (1 - ratio) * (table[1] - before)
    np.testing.assert_allclose(after, wanted, rtol=0, atol=4 * 12 * U * np.max(np.abs(table)))


def test_alibi_slopes_of_a_power_of_two_are_a_geometric_ladder():
    config = bare(2, 4, num_heads=4, positions=Alibi(), mask=Bidirectional())
    logits = decoder_forward(config, weights(config, np.ones((2, 4))), [0, 1], [3, 5]).attn_logits
    wanted = [[[0, -2 * m], [-2 * m, 0]] for m in (1 / 4, 1 / 16, 1 / 64, 1 / 256)]
    np.testing.assert_array_equal(logits[0], wanted)


def test_window_collapses_exactly_once_the_run_fills_the_receptive_field():
    width, depth = 4, 3
    rng = np.random.default_rng(4)
    config = bare(7, 4, num_layers=depth, mask=Window(width=width))
    params = weights(config, rng.normal(size=(7, 4)), *rng.normal(size=(2, 4, 4)))
    run = depth * (width - 1) + 1  # of equal tokens that the first of the two rows ends
    y = decoder_forward(config, params, [0, 1, 2, 3] + (run + 1) * [6]).y
    np.testing.assert_array_equal(y[-1], y[-2])
    assert np.max(np.abs(y[-2] - y[-3])) > 0


def test_masks_have_the_drawn_shape():
    for mask, rows in [
        (Window(width=2), ["1000", "1100", "0110", "0011"]),
        (Prefix(length=3), ["1110", "1110", "1110", "1111"]),
        (Bidirectional(), 4 * ["1111"]),
    ]:
        config = bare(1, 2, mask=mask)
        passed = decoder_forward(config, weights(config, [[1.0, 2.0]]), 4 * [0])
        wanted = [[0.0 if mark == "1" else -np.inf for mark in row] for row in rows]
        np.testing.assert_array_equal(passed.attn_logits[0, 0], wanted)


def test_a_tree_replaces_the_order_but_not_the_window():
    tree = np.array([[1, 0, 0], [1, 1, 0], [1, 0, 1]], bool)  # two branches from one root
    for mask, last in [(Bidirectional(), [0.5, 0, 0.5]), (Window(width=1), [0, 0, 1])]:
        config = bare(1, 2, mask=mask)
        params = weights(config, [[1.0, 2.0]])
        passed = decoder_forward(config, params, 3 * [0], positions=[0, 1, 1], visible=tree)
        np.testing.assert_array_equal(passed.attn_weights[0, 0, 2], last)


@pytest.mark.parametrize(
    ("rotary", "turned"),
    [
        (Rotary(base=100.0), {(0, 2): 2.0, (1, 3): 0.2}),
        (Rotary(base=100.0, style="interleaved"), {(0, 1): 2.0, (2, 3): 0.2}),
        (Rotary(base=100.0, scale=4.0), {(0, 2): 0.5, (1, 3): 0.05}),
        (Rotary(base=100.0, fraction=0.5), {(0, 1): 2.0}),
        (Rotary(base=100.0, fraction=0.5, partial="spectrum"), {(0, 2): 2.0}),
    ],
)
def test_rotary_turns_the_pairs_by_hand(rotary, turned):
    # Against a key at position 0, each unit query at position 2 shows one row of the rotation.
    rotation = np.eye(4)
    for (a, b), angle in turned.items():
        rotation[a, a] = rotation[b, b] = math.cos(angle)
        rotation[b, a], rotation[a, b] = math.sin(angle), -math.sin(angle)
    config = bare(4, 4, positions=rotary, mask=Bidirectional())
    params = weights(config, np.eye(4), np.eye(4), np.eye(4))
    for q, k in np.ndindex(4, 4):
        logits = decoder_forward(config, params, [k, q], positions=[0, 2]).attn_logits[0, 0]
        assert logits[1, 0] == pytest.approx(rotation[k, q], abs=4 * U)


def test_positions_enter_where_the_switch_says():
    vector = np.array([1.0, 2.0, 3.0, 4.0])
    wave = [math.sin(3), math.cos(3), math.sin(3 / 100), math.cos(3 / 100)]
    for positions, added in [
        (Sinusoidal(), wave),
        (Learned(max_length=4), [12.0, 13.0, 14.0, 15.0]),
        (Sinusoidal(where="query_key"), np.zeros(4)),
    ]:
        config = bare(1, 4, positions=positions, embed_scale=10.0)
        params = weights(config, [vector], **{"embed.positions": np.arange(16.0).reshape(4, 4)})
        passed = decoder_forward(config, params, [0], positions=[3])
        close(passed.resid[0, 0], 10 * vector + added, roundings=4)
    assert passed.attn_logits[0, 0, 0, 0] == pytest.approx(2, abs=8 * U)  # |wave|^2


def test_norms_by_hand():
    gain, bias = {"final_norm.gain": np.array([2.0, 3.0])}, {"final_norm.bias": np.ones(2)}
    unused = [f"blocks.{norm}.{name}" for norm in ("norm1", "norm2") for name in ("gain", "bias")]
    others = gain | bias | dict.fromkeys(unused, np.ones((1, 2)))
    for norm, vector, wanted in [
        (ConstantNorm(beta=4.0), [3.0, 4.0], [3 / 4, 4 / 4]),
        (RMSNorm(eps=12.5, offset=1.0), [3.0, 4.0], [3 * 3 / 5, 4 * 4 / 5]),  # 25 / 2 + 12.5 = 5^2
        (LayerNorm(eps=8.0), [1.0, 3.0], [-2 / 3 + 1, 3 / 3 + 1]),  # 1 + 8 = 3^2
    ]:
        # With residual weight 0 the residual reaches the last norm as it was embedded.
        config = bare(1, 2, residual_weight=0.0, norm=norm)
        y = decoder_forward(config, weights(config, [vector], **others), [0]).y
        close(y[0], wanted, roundings=6)


def test_each_layer_and_norm_has_its_own_weights():
    # In one dimension the norm of a positive number is its gain: all arithmetic is exact.
    config = bare(1, 1, num_layers=2, norm=RMSNorm(eps=0.0), mlp=LinearMlp())
    columns = {"norm1.gain": [1, 10], "norm2.gain": [100, 1000], "mlp.down": [[[3]], [[4]]]}
    layers = {f"blocks.{name}": np.array(column, float) for name, column in columns.items()}
    params = weights(config, [[1.0]], **layers, **{"final_norm.gain": np.array([7.0])})
    passed = decoder_forward(config, params, [0])
    np.testing.assert_array_equal(passed.resid.ravel(), [1, 1 + 1 + 300])
    np.testing.assert_array_equal(passed.resid_mid.ravel(), [1 + 1, 302 + 10])
    assert passed.y == 7


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        ("identity", [0.5 * 1, 0.5 * 2]),
        ("linear", [7 * 1 + 1, 7 * 2 + 1]),
        ("gelu", [7 * 1.954597694087775 + 1] * 2),  # at 2
        ("gelu_exact", [7 * 2 * 0.9772498680518208 + 1] * 2),  # 2 Phi(2)
        ("swiglu", [7 * 0.7310585786300049 * 2 + 1] * 2),  # the logistic function at 1
        ("geglu", [7 * 0.8411919906082768 * 2 + 1] * 2),  # at 1
    ],
)
@pytest.mark.parametrize("block", ["sequential", "parallel"])
def test_mlps_read_the_residual_that_the_block_says(kind, wanted, block):
    config = bare(1, 2, mlp=mlp_of(kind, 2, 0.5), block=block, bias=True)
    # Attention of a token to itself doubles the residual; a sequential MLP must read half of it.
    vector = np.array([1.0, 2.0]) / (2 if block == "sequential" else 1)
    # Both hidden gates are 3 * 1 - 2 = 1, both hidden values -2 / 2 + 3 = 2.
    gate, up = np.array([[[3.0, 0.0], [3.0, 0.0]]]), np.array([[[0.0, -0.5], [0.0, -0.5]]])
    matrices = {"gate": gate, "up": up, "down": 7 * np.eye(2)[None]}
    biases = {"gate_bias": [[-2.0, -2]], "up_bias": [[3.0, 3]], "down_bias": [[1.0, 1]]}
    others = {f"blocks.mlp.{name}": value for name, value in (matrices | biases).items()}
    y = decoder_forward(config, weights(config, [vector], **others), [0]).y
    close(y[0], 2 * vector + wanted, roundings=8)


def test_grouped_heads_share_keys_and_values_in_order():
    sizes = {"num_heads": 4, "num_kv_heads": 2, "head_dim": 1}
    config = bare(1, 4, **sizes, values="projected", qkv_bias=True, bias=True)
    biases = {"query_bias": 4 * [1.0], "key_bias": 2 * [2.0], "value_bias": 2 * [10.0]}
    matrices = {"query": np.eye(4), "key": np.eye(4)[2:], "value": np.eye(4)[:2]}
    layer = matrices | biases | {"output": np.eye(4), "output_bias": 4 * [100.0]}
    others = {f"blocks.attention.{name}": np.array([value]) for name, value in layer.items()}
    passed = decoder_forward(config, weights(config, [[3.0, 5.0, 7.0, 11.0]], **others), [0])
    np.testing.assert_array_equal(passed.attn_logits[0, :, 0, 0], [4 * 9, 6 * 9, 8 * 13, 12 * 13])
    np.testing.assert_array_equal(passed.resid_mid[0, 0], [3 + 113, 5 + 113, 7 + 115, 11 + 115])


def test_caps_scales_and_output_by_hand():
    caps = {"attn_softcap": 2.0, "output_softcap": 5.0}
    config = bare(2, 2, **caps, attn_scale=0.5, residual_weight=0.25, tied=False)
    unembed = {"unembed": np.array([[1.0, 0.0], [0.0, -2.0]])}
    params = weights(config, [[0.0, 0.0], [2.0, 4.0]], query=np.eye(2), key=np.eye(2), **unembed)
    passed = decoder_forward(config, params, [1])
    assert passed.attn_logits[0, 0, 0, 0] == pytest.approx(2 * math.tanh(5), abs=4 * U)
    close(passed.y[0], [2, 4], roundings=2)  # 0.75 v + 0.25 v
    close(passed.logits[0], [5 * math.tanh(2 / 5), 5 * math.tanh(-8 / 5)], roundings=4)
