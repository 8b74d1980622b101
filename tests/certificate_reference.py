"""Theorem 4.2's inequalities for a decoder, by NumPy in extended precision, row by row.

Nothing is shared with the library but the names of weights. Each layer's two sides come as ``Pair``
values; ``scale`` is the right side at the largest row change, 2, to which rounding is relative.
"""

from typing import NamedTuple

import numpy as np

from glassesjax.model import (
    Alibi,
    ConstantNorm,
    DenseMlp,
    GatedMlp,
    LayerNorm,
    MaskByLayer,
    NoNorm,
    PositionsByLayer,
    RMSNorm,
    Rotary,
    Window,
    flat_parameters,
)

LONG = np.longdouble
ORDERS = {1: 1, 2: 2, "inf": np.inf}
SILU, GELU = LONG("1.0998394"), LONG("1.1289931")


class Pair(NamedTuple):
    """A measured quantity, its bound, and what the rounding of either is relative to."""

    measured: np.ndarray
    bound: np.ndarray
    scale: np.ndarray


def gelu(x):
    return x * (1 + np.tanh(np.sqrt(2 / LONG(np.pi)) * (x + LONG("0.044715") * x**3))) / 2


def silu(x):
    return x / (1 + np.exp(-x))


class Layer:
    """One layer's weights and switches, by the names that it has in the decoder."""

    def __init__(self, decoder, index):
        self.config, self.index = decoder.config, index
        self.arrays = {
            name.removeprefix("blocks."): np.asarray(array)[index].astype(LONG)
            for name, array in flat_parameters(decoder).items()
            if name.startswith("blocks.")
        }
        config = self.config
        by_layer = lambda value, kind: value.layers[index] if isinstance(value, kind) else value
        self.positions = by_layer(config.positions, PositionsByLayer)
        self.mask = by_layer(config.mask, MaskByLayer)
        before, after = config.norm_place != "after", config.norm_place != "before"
        self.norms = {
            "norm1": config.norm if before else NoNorm(),
            "norm2": config.norm if before else NoNorm(),
            "norm1_after": config.norm if after else NoNorm(),
            "norm2_after": config.norm if after else NoNorm(),
            "attention.query_norm": config.norm if config.qk_norm != "none" else NoNorm(),
            "attention.key_norm": config.norm if config.qk_norm != "none" else NoNorm(),
        }

    def root(self, name, x):
        norm = self.norms[name]
        if isinstance(norm, NoNorm | ConstantNorm):
            return np.full(x.shape[:-1], getattr(norm, "beta", 1.0), LONG)
        x = x - x.mean(-1, keepdims=True) if isinstance(norm, LayerNorm) else x
        return np.sqrt((x**2).mean(-1) + LONG(norm.eps))

    def gain(self, name, width):
        offset = getattr(self.norms[name], "offset", 0.0)
        given = self.arrays.get(f"{name}.gain")
        return np.ones(width, LONG) if given is None else given + offset

    def normed(self, name, x):
        centered = isinstance(self.norms[name], LayerNorm)
        y = (x - x.mean(-1, keepdims=True) if centered else x) / self.root(name, x)[..., None]
        return y * self.gain(name, x.shape[-1]) + self.arrays.get(f"{name}.bias", 0)

    def product(self, name, x):
        return x @ self.arrays[name].T + self.arrays.get(f"{name}_bias", 0)

    def mlp(self, x):
        match self.config.mlp:
            case GatedMlp(activation=kind):
                act = silu if kind == "silu" else gelu
                hidden = act(self.product("mlp.gate", x)) * self.product("mlp.up", x)
            case DenseMlp(activation=kind):
                act = {"gelu": gelu, "relu": lambda y: np.maximum(y, 0)}[kind]
                hidden = act(self.product("mlp.up", x))
        return self.product("mlp.down", hidden)

    def turned(self, x, position):
        """A head vector at a position, by one rotation of each pair."""
        if not isinstance(self.positions, Rotary):
            return x
        rotary, y = self.positions, x.copy()
        half = round(rotary.fraction * len(x)) // 2
        for pair in range(half):
            angle = position * LONG(rotary.base) ** (-LONG(pair) / half)
            cos, sin = (rotary.attention_factor * part(angle) for part in (np.cos, np.sin))
            first, second = x[pair], x[pair + half]
            y[pair], y[pair + half] = first * cos - second * sin, first * sin + second * cos
        return y

    def slopes(self):
        heads = self.config.num_heads
        if not isinstance(self.positions, Alibi):
            return np.zeros(heads, LONG)
        given = self.positions.slopes
        assert not isinstance(given, str)
        return np.array(given, LONG)

    def attention(self, resid):
        """Everything of attention, for all rows: logits, weights, points, what is added."""
        config, length = self.config, len(resid)
        heads, groups = config.num_heads, config.num_heads // config.kv_heads
        x = self.normed("norm1", resid)
        raw = self.product("attention.query", x), self.product("attention.key", x)
        shapes = (heads, config.key_dim), (config.kv_heads, config.key_dim)
        ready = []
        for rows, shape, name in zip(raw, shapes, ("query_norm", "key_norm"), strict=True):
            whole = rows if config.qk_norm == "whole" else rows.reshape(length, *shape)
            ready.append(self.normed(f"attention.{name}", whole).reshape(length, *shape))
        query, key = ready
        values = self.arrays["attention.value"].reshape(config.kv_heads, config.key_dim, -1)
        output = self.arrays["attention.output"].reshape(-1, heads, config.key_dim)
        logits = np.full((heads, length, length), -np.inf, LONG)
        points = np.zeros((heads, length, resid.shape[-1]), LONG)
        keys = np.zeros((heads, length, config.key_dim), LONG)
        for h in range(heads):
            points[h] = x @ values[h // groups].T @ output[:, h].T
            for i in range(length):
                keys[h, i] = self.turned(key[i, h // groups], i)
        for h, j in np.ndindex(heads, length):
            asked = self.turned(query[j, h], j)
            for i in range(j + 1):
                if isinstance(self.mask, Window) and j - i >= self.mask.width:
                    continue
                score = LONG(config.scale) * (asked @ keys[h, i])
                cap = config.attn_softcap
                score = score if cap is None else cap * np.tanh(score / cap)
                logits[h, j, i] = score - self.slopes()[h] * (j - i)
        weights = np.exp(logits - logits.max(-1, keepdims=True))
        weights = weights / weights.sum(-1, keepdims=True)
        bias = self.arrays.get("attention.value_bias")
        shift = self.arrays.get("attention.output_bias", LONG(0))
        if bias is not None:  # of weights that sum to one: the same for all rows
            bias = bias.reshape(config.kv_heads, -1)
            shift = shift + sum(output[:, h] @ bias[h // groups] for h in range(heads))
        added = np.einsum("hji,hid->jd", weights, points) + shift
        return {
            "logits": logits,
            "weights": weights,
            "points": points,
            "added": added,
            "x": x,
            "raw": raw[0],
            "query": query,
            "keys": keys,
        }


def length_of(x, norm, axis=-1):
    size = {1: lambda: np.abs(x).sum(axis), 2: lambda: np.sqrt((x**2).sum(axis))}
    return size.get(norm, lambda: np.abs(x).max(axis))()


def induced(matrix, norm):
    return LONG(np.linalg.norm(matrix.astype(float), ORDERS[norm]))


def least_root(layer, name, pair):
    """On the segment between two rows, at the point that is nearest to zero."""
    start, step = pair[0], pair[1] - pair[0]
    if isinstance(layer.norms[name], LayerNorm):
        start, step = start - start.mean(), step - step.mean()
    share = -(start @ step) / (step @ step) if step @ step else LONG(0)
    return layer.root(name, start + np.clip(share, 0, 1) * step)


def slope_of_norm(layer, name, pair, norm):
    dim, spread = pair.shape[-1], LONG(1)
    kind = layer.norms[name]
    if norm != 2 and isinstance(kind, RMSNorm | LayerNorm):
        spread = (1 + np.sqrt(LONG(dim))) / 2
        spread *= 2 * (1 - LONG(1) / dim) if isinstance(kind, LayerNorm) else 1
    return spread * np.abs(layer.gain(name, dim)).max() / least_root(layer, name, pair)


def slope_of_mlp(layer, pair, norm):
    size = lambda name: induced(layer.arrays[f"mlp.{name}"], norm)
    match layer.config.mlp:
        case DenseMlp(activation=kind):
            return {"gelu": GELU, "relu": LONG(1)}[kind] * size("up") * size("down")
        case GatedMlp(activation=kind):
            act, steepest = (silu, SILU) if kind == "silu" else (gelu, GELU)
    orders = []
    for one, other in (pair, pair[::-1]):
        up = np.abs(layer.product("mlp.up", other)).max()
        gate = np.abs(act(layer.product("mlp.gate", one))).max()
        orders.append(steepest * up * size("gate") + gate * size("up"))
    return size("down") * min(orders)


def slope_of_logits(layer, head, x, raw, keys, norm):
    """L_q without the slope of the norm before attention."""
    config, dual = layer.config, {1: "inf", 2: 2, "inf": 1}[norm]
    width, last = config.key_dim, len(x) - 1
    part = slice(head * width, (head + 1) * width)
    weight = layer.arrays["attention.query"]
    basis = np.eye(width, dtype=LONG)
    turn = np.stack([layer.turned(axis, last) for axis in basis], axis=1)  # T, column by column
    back = keys[head, :-1] @ turn
    if config.qk_norm == "none":
        return LONG(config.scale) * length_of(back @ weight[part], dual).max()
    whole = config.qk_norm == "whole"
    rows = raw[-2:] if whole else raw[-2:, part]
    root = least_root(layer, "attention.query_norm", rows)
    gain = layer.gain("attention.query_norm", rows.shape[-1])
    gain = gain[part] if whole else gain
    weight = weight if whole else weight[part]
    columns = length_of(weight, 2, axis=0)
    into = {1: columns.max(), "inf": columns.sum()}.get(norm, induced(weight, 2))
    return LONG(config.scale) * length_of(gain * back, 2).max() * into / root


def shares(config):
    weight = config.residual_weight
    return (LONG(1), LONG(1)) if weight is None else (1 - LONG(weight), LONG(weight))


def residual_sides(layer, attended, rows, norm):
    """(R1), (R2) of one layer, and how a bound on the distance before it grows."""
    v, z, out = rows
    keep, share = map(abs, shares(layer.config))
    parallel = layer.config.block == "parallel"
    source = v if parallel else z
    inside = layer.normed("norm2", source)
    added, points = attended["added"], attended["points"]
    centers = [(points.max(1) + points.min(1)) / 2, points.mean(1), 0 * points[:, 0]]
    radius = np.min([length_of(points - c[:, None], norm).max(-1) for c in centers], axis=0)
    after = slope_of_norm(layer, "norm1_after", added[-2:], norm)
    steep = slope_of_mlp(layer, inside[-2:], norm)
    steep *= slope_of_norm(layer, "norm2", source[-2:], norm)
    steep *= slope_of_norm(layer, "norm2_after", layer.mlp(inside)[-2:], norm)

    def sides(e, change):
        first = keep * e + share * after * (radius @ change)
        return first, first + steep * (e if parallel else first)

    e, change = apart(v, norm), row_change(attended)
    bounds, largest = sides(e, change), sides(e, np.full_like(change, 2))
    found = {
        "mid": Pair(apart(z, norm), bounds[0], largest[0]),
        "out": Pair(apart(out, norm), bounds[1], largest[1]),
    }
    return found, lambda bound: sides(bound, change)[1]


def apart(rows, norm):
    return length_of(rows[-1] - rows[-2], norm)


def row_change(attended):
    weights = attended["weights"]  # row n has weight zero on token n + 1
    return np.abs(weights[:, -1] - weights[:, -2]).sum(-1)


def logit_sides(layer, attended, v, norm):
    """(R4) of each head, and the change of each logit that it rests on."""
    x, keys, query = attended["x"], attended["keys"], attended["query"]
    last, scale, e = len(v) - 1, LONG(layer.config.scale), apart(v, norm)
    reached = slope_of_norm(layer, "norm1", v[-2:], norm)
    by_query, step = [], []
    for h in range(layer.config.num_heads):
        steep = slope_of_logits(layer, h, x, attended["raw"], keys, norm)
        by_query.append(steep * reached)
        moved = layer.turned(query[-2, h], last) - layer.turned(query[-2, h], last - 1)
        step.append(scale * np.abs(keys[h, :-1] @ moved) + layer.slopes()[h])
    by_query, step = np.array(by_query), np.array(step)
    logits, weights = attended["logits"], attended["weights"]
    before, after = logits[:, -2, :-1], logits[:, -1]
    every = np.concatenate([before, after], axis=-1)
    moved = by_query * e + step.mean(-1)
    with np.errstate(over="ignore"):
        bound = 2 * np.exp(every.max(-1) - every.min(-1)) * moved + 2 * weights[:, -1, -1]
    seen = np.isfinite(before) & np.isfinite(after[:, :-1])
    shift = np.abs(np.where(seen, after[:, :-1], 0) - np.where(seen, before, 0))
    reach = np.abs(np.where(np.isfinite(every), every, 0)).max()
    return {
        "by_increments": Pair(row_change(attended), bound, 1 + bound),
        "logits": Pair(shift, by_query[:, None] * e + step, np.full_like(shift, 1 + reach)),
        "query_lipschitz": by_query,
        "increment": step.mean(-1),
        "reach": float(reach),
    }


def inequalities(decoder, resid, norm):
    """(R1), (R2), (R4), the logits' changes and the composition, for each layer of a decoder.

    Args:
      decoder: Float64 weights, with switches that occur here.
      resid: What enters the first layer.
      norm: 1, 2 or "inf".

    Returns:
      A dictionary for each layer; ``rounding`` in units of roundoff, times each pair's ``scale``.
    """
    v, (keep, share) = np.asarray(resid).astype(LONG), shares(decoder.config)
    found, carried = [], apart(v, norm)
    for index in range(decoder.config.num_layers):
        layer = Layer(decoder, index)
        attended = layer.attention(v)
        z = keep * v + share * layer.normed("norm1_after", attended["added"])
        source = v if decoder.config.block == "parallel" else z
        inside = layer.normed("norm2", source)
        out = z + layer.normed("norm2_after", layer.mlp(inside))
        sides, grow = residual_sides(layer, attended, (v, z, out), norm)
        carried = grow(carried)
        pair = Pair(sides["out"].measured, carried, sides["out"].scale + carried)
        # A sum over tokens, and products over the width and three wider ones, in every head.
        steps = (len(v) + 3 * 4 * v.shape[-1]) * decoder.config.num_heads
        of_logits = logit_sides(layer, attended, v, norm)
        # A logit passes its own rounding on, and that of all layers before.
        passed = (1 + of_logits["reach"]) * (found[-1]["passed"] if found else 1)
        more = {"composed": pair, "passed": passed, "rounding": passed * steps * (index + 1)}
        found.append(sides | of_logits | more)
        v = out
    return found
