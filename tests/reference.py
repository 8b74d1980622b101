"""The decoder once more, slow and obvious: NumPy in float64, one token, head and pair at a time.

Nothing here is shared with the package but its settings, so that an error would have to be made
twice, in two forms, to go unseen.
"""

import dataclasses
import math
from typing import NamedTuple

import numpy as np

from glassesjax.model.config import (
    AdaptiveTemperature,
    Alibi,
    Bidirectional,
    Causal,
    ConstantNorm,
    DecoderConfig,
    LayerNorm,
    Learned,
    NoNorm,
    Prefix,
    RMSNorm,
    Rotary,
    ScalableSoftmax,
    Sinusoidal,
    Window,
)

# Half the distance from one to the next number: 2^-p for p significant bits.
UNIT_ROUNDOFF = {"float64": 2.0**-53, "float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}

Params = dict[str, np.ndarray]


class ReferencePass(NamedTuple):
    """What one pass over one sequence computed; layers first.

    The terms are the size of either kind of logits, were there no signs and no caps: rounding
    errors of a sum are relative to them.
    """

    y: np.ndarray
    resid: np.ndarray
    resid_mid: np.ndarray
    attn_logits: np.ndarray
    attn_terms: np.ndarray
    attn_weights: np.ndarray
    logits: np.ndarray
    logit_terms: np.ndarray
    attn_out: np.ndarray | None


def sinusoid(position, dim, base):
    vector = np.zeros(dim)
    for i in range(dim // 2):
        angle = position * base ** (-2 * i / dim)
        vector[2 * i], vector[2 * i + 1] = math.sin(angle), math.cos(angle)
    return vector


def rotate(vector, position, rotary: Rotary, rotated_dim):
    paired = rotated_dim if rotary.partial == "head" else len(vector)
    turned = vector.copy()
    for i in range(rotated_dim // 2):  # the pairs beyond have frequency zero: they stay
        divisor = rotary.divisors[i] if rotary.divisors else 1.0
        angle = position / rotary.scale * rotary.base ** (-2 * i / paired) / divisor
        a, b = (i, i + paired // 2) if rotary.style == "half" else (2 * i, 2 * i + 1)
        turned[a] = vector[a] * math.cos(angle) - vector[b] * math.sin(angle)
        turned[b] = vector[a] * math.sin(angle) + vector[b] * math.cos(angle)
        turned[a], turned[b] = (
            turned[a] * rotary.attention_factor,
            turned[b] * rotary.attention_factor,
        )
    return turned


def softcap(logit, cap):
    return logit if cap is None else cap * np.tanh(logit / cap)


def affine(params: Params, name, vector, biased):
    return params[name] @ vector + (params[f"{name}_bias"] if biased else 0)


def normalize(config: DecoderConfig, params: Params, name, vector):
    match config.norm:
        case NoNorm():
            return vector
        case ConstantNorm(beta=beta):
            return vector / beta
        case RMSNorm(eps=eps, offset=offset):
            rms = math.sqrt(np.mean(vector**2) + eps)
            return vector / rms * (params[f"{name}.gain"] + offset)
        case LayerNorm(eps=eps):
            centered = vector - np.mean(vector)
            deviation = math.sqrt(np.mean(centered**2) + eps)
            return centered / deviation * params[f"{name}.gain"] + params[f"{name}.bias"]


def embed(config: DecoderConfig, params: Params, token, position):
    vector = params["embed.table"][token] * config.embed_scale
    match config.positions:
        case Learned():
            return vector + params["embed.positions"][position]
        case Sinusoidal(where="embedding", base=base):
            return vector + sinusoid(position, config.model_dim, base)
    return vector


def place(config: DecoderConfig, vector, position):
    """A head's query or key with its position in it."""
    match config.positions:
        case Rotary() as rotary:
            return rotate(vector, position, rotary, config.rotated_dim)
        case Sinusoidal(where="query_key", base=base):
            return vector + sinusoid(position, config.key_dim, base)
    return vector


def alibi_slope(config: DecoderConfig, head):
    if not isinstance(config.positions, Alibi):
        return 0.0
    if config.positions.slopes == "geometric":
        return 2.0 ** (-8 * (head + 1) / config.num_heads)
    if config.positions.slopes == "reference":
        power = 1
        while 2 * power <= config.num_heads:
            power *= 2
        if head < power:
            return 2.0 ** (-8 * (head + 1) / power)
        return 2.0 ** (-8 * (2 * (head - power) + 1) / (2 * power))
    return config.positions.slopes[head]


def sees(config: DecoderConfig, positions, visible, query, key):
    """Whether token ``query`` sees token ``key``; ``visible`` stands in for the order of tokens."""
    ordered = key <= query if visible is None else bool(visible[query, key])
    match config.mask:
        case Causal():
            return ordered
        case Bidirectional():
            return ordered or visible is None
        case Window(width=width):
            return ordered and positions[query] - positions[key] < width
        case Prefix(length=length):
            return ordered or (visible is None and positions[key] < length)


def share(config: DecoderConfig, rows):
    """One row a query head, from one row a head of keys or values."""
    group = config.num_heads // config.kv_heads
    return np.array([rows[head // group] for head in range(config.num_heads)])


def values_of_heads(config: DecoderConfig, params: Params, normed):
    """Values of one token, one row a query head."""
    if config.values == "identity":
        return normed.reshape(config.num_heads, config.value_dim)
    values = affine(params, "attention.value", normed, config.qkv_bias)
    return share(config, values.reshape(config.kv_heads, config.value_dim))


def unplaced(config: DecoderConfig, params: Params, normed):
    """Queries and keys of one token before their positions, one row for each of their heads."""
    queries = affine(params, "attention.query", normed, config.qkv_bias)
    keys = affine(params, "attention.key", normed, config.qkv_bias)
    if config.qk_norm == "whole":
        queries = normalize(config, params, "attention.query_norm", queries)
        keys = normalize(config, params, "attention.key_norm", keys)
    queries = queries.reshape(config.num_heads, config.key_dim)
    keys = keys.reshape(config.kv_heads, config.key_dim)
    if config.qk_norm == "head":
        queries = [normalize(config, params, "attention.query_norm", row) for row in queries]
        keys = [normalize(config, params, "attention.key_norm", row) for row in keys]
    return np.array(queries), np.array(keys)


def queries_and_keys(config: DecoderConfig, params: Params, normed, position):
    """Queries and keys of one token, one row a query head."""
    queries, keys = unplaced(config, params, normed)
    keys = share(config, keys)
    return tuple([place(config, row, position) for row in rows] for rows in (queries, keys))


def beta_of_entropy(entropy):
    """Adaptive temperature's factor, and how steep it is."""
    fit = -0.037 * entropy**4 + 0.481 * entropy**3 - 2.3 * entropy**2 + 4.917 * entropy - 1.791
    slope = -0.148 * entropy**3 + 1.443 * entropy**2 - 4.6 * entropy + 4.917
    return (fit, abs(slope)) if entropy > 0.5 and fit > 1 else (1.0, 0.0)


def temper(config: DecoderConfig, sharpness, row, terms):
    """One row of logits times its factor, and their terms; ``sharpness`` is the head's own."""
    seen = row > -math.inf
    match config.temperature:
        case ScalableSoftmax():
            factor = sharpness * math.log(sum(seen))
            return np.where(seen, factor * np.where(seen, row, 0), row), abs(factor) * terms
        case AdaptiveTemperature():
            weights = softmax(row)
            entropy = -sum(w * math.log(w) for w in weights if w > 0)
            factor, steep = beta_of_entropy(entropy)
            finite = np.where(seen, row, 0)
            # An error of the logits moves the entropy, and that all logits of the row.
            moved = weights @ abs(finite - weights @ finite) * max(terms)
            return np.where(seen, factor * finite, row), factor * terms + steep * moved * abs(
                finite
            )
    return row, terms


def attention_logits(config: DecoderConfig, params: Params, queries, keys, positions, visible):
    """Logits of all pairs, minus infinity where the query does not see the key; their terms."""
    logits = np.full((config.num_heads, len(positions), len(positions)), -np.inf)
    terms = np.zeros_like(logits)
    for head, query, key in np.ndindex(logits.shape):
        if sees(config, positions, visible, query, key):
            products = config.scale * queries[query][head] * keys[key][head]
            penalty = alibi_slope(config, head) * abs(positions[query] - positions[key])
            logits[head, query, key] = softcap(sum(products), config.attn_softcap) - penalty
            terms[head, query, key] = sum(abs(products)) + penalty
    for head, query in np.ndindex(logits.shape[:2]):
        own = params["attention.sharpness"][head] if "attention.sharpness" in params else None
        tempered = temper(config, own, logits[head, query], terms[head, query])
        logits[head, query], terms[head, query] = tempered
    return logits, terms


def softmax(logits):
    """Weights of one row; only visible entries enter the sum, in their order."""
    largest = max(logits)
    exponentials = [math.exp(logit - largest) for logit in logits]
    total = sum(e for e in exponentials if e > 0)
    return np.array([e / total for e in exponentials])


def attend(config: DecoderConfig, params: Params, normed, positions, visible):
    """Attention output of all tokens; logits, their terms, and weights of all heads."""
    pairs = zip(normed, positions, strict=True)
    read = [queries_and_keys(config, params, x, position) for x, position in pairs]
    queries, keys = zip(*read, strict=True)
    values = [values_of_heads(config, params, x) for x in normed]
    logits, terms = attention_logits(config, params, queries, keys, positions, visible)
    weights = np.array([[softmax(row) for row in rows] for rows in logits])
    outputs = []
    for query in range(len(positions)):
        averages = np.zeros((config.num_heads, config.value_dim))
        for head, key in np.ndindex(config.num_heads, len(positions)):
            averages[head] += weights[head, query, key] * values[key][head]
        outputs.append(averages.reshape(-1))
    if config.values == "projected":
        outputs = [affine(params, "attention.output", output, config.bias) for output in outputs]
    return np.array(outputs), (logits, terms, weights)


def gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def gelu_exact(x):
    return np.array([0.5 * each * (1 + math.erf(each / math.sqrt(2))) for each in x])


def silu(x):
    return 0.5 * x * (1 + np.tanh(x / 2))


def psi(config: DecoderConfig, params: Params, normed):
    """The map after attention, of one token."""
    kind = config.mlp.kind
    if kind in ("zero", "identity"):
        return normed * (config.mlp.sigma if kind == "identity" else 0)
    if kind == "linear":
        return affine(params, "mlp.down", normed, config.bias)
    hidden = affine(params, "mlp.up", normed, config.bias)
    if kind in ("gelu", "gelu_exact", "relu"):
        relu = lambda x: np.array([max(each, 0.0) for each in x])
        hidden = {"gelu": gelu_tanh, "gelu_exact": gelu_exact, "relu": relu}[kind](hidden)
    else:
        gate = affine(params, "mlp.gate", normed, config.bias)
        hidden = hidden * (silu(gate) if kind == "swiglu" else gelu_tanh(gate))
    return affine(params, "mlp.down", hidden, config.bias)


def in_layer(config: DecoderConfig, depth):
    """The settings of one layer, where positions or masks differ."""
    of = lambda each: each.layers[depth] if hasattr(each, "layers") else each
    return dataclasses.replace(config, positions=of(config.positions), mask=of(config.mask))


def norms_around(config: DecoderConfig, params: Params):
    """The norm of a branch's input and that of its output, by name; the identity where absent."""
    apply = lambda name, v: normalize(config, params, name, v)
    skip = lambda name, v: v
    place = config.norm_place
    return (skip if place == "after" else apply, skip if place == "before" else apply)


def layer_forward(config: DecoderConfig, params: Params, resid, positions, visible):
    before, after = norms_around(config, params)
    normed = [before("norm1", v) for v in resid]
    attention, seen = attend(config, params, normed, positions, visible)
    raw = attention
    attention = np.array([after("norm1_after", a) for a in attention])
    mixing = config.residual_weight
    mid = resid + attention if mixing is None else (1 - mixing) * resid + mixing * attention
    read = mid if config.block == "sequential" else resid
    added = [after("norm2_after", psi(config, params, before("norm2", v))) for v in read]
    return mid + np.array(added), (resid, mid, *seen, raw)


def decoder_forward(config: DecoderConfig, arrays, tokens, positions=None, visible=None):
    """One pass; ``visible[q, k]``, where given, replaces the order of tokens in the mask."""
    positions = list(range(len(tokens)) if positions is None else positions)
    params = {name: np.asarray(value, np.float64) for name, value in arrays.items()}
    v = np.array([embed(config, params, t, p) for t, p in zip(tokens, positions, strict=True)])
    layers = []
    for depth in range(config.num_layers):
        own = {n.removeprefix("blocks."): w[depth] for n, w in params.items() if "blocks." in n}
        v, layer = layer_forward(in_layer(config, depth), own, v, positions, visible)
        layers.append(layer)
    y = np.array([normalize(config, params, "final_norm", row) for row in v])
    unembed = params["embed.table"] if config.tied else params["unembed"]
    logits, terms = softcap(y @ unembed.T, config.output_softcap), abs(y) @ abs(unembed.T)
    resid, mid, attn_logits, attn_terms, weights, raw = map(np.array, zip(*layers, strict=True))
    raw = None if config.norm_place == "before" else raw
    return ReferencePass(y, resid, mid, attn_logits, attn_terms, weights, logits, terms, raw)
