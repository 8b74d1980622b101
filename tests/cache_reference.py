"""The bounded cache once more, slow and obvious: lists of tokens that are appended and deleted.

NumPy in float64, one token, layer and head at a time. Nothing is shared with ``glassesjax.cache``:
a policy is told by a ``Rule`` of its own, and a state is a list in order of time, without slots.
"""

import dataclasses
import itertools
import math
from typing import Literal, NamedTuple

import numpy as np
from reference import (
    Params,
    affine,
    alibi_slope,
    embed,
    in_layer,
    normalize,
    norms_around,
    place,
    psi,
    softcap,
    softmax,
    temper,
    unplaced,
)

from glassesjax.model.config import DecoderConfig, Window


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rule:
    """Whom to delete: the lowest score of those that are old enough and no sinks."""

    score: Literal["age", "weight", "mass", "mean_mass"]
    sinks: int = 0
    recent: int = 0
    head_wise: bool = False
    decay: float = 1.0
    position_ids: Literal["original", "compressed", "consecutive"] = "original"


@dataclasses.dataclass
class Token:
    """One remembered token of one decision, which is a layer's or one key-value head's."""

    position: int
    keys: np.ndarray  # one row a key-value head of the decision, without its position
    values: np.ndarray
    placed: np.ndarray  # keys with the position in them
    weight: float = 0.0  # what the current query paid it
    mass: float = 0.0


class Grid(NamedTuple):
    """The numbers of a small format, as far as no value overflows."""

    bits: int  # of the significand, the first one included
    lowest: int  # the least positive number is two to this

    def round(self, x: np.ndarray) -> np.ndarray:
        """To nearest, ties to even."""
        unit = np.ldexp(1.0, np.maximum(np.frexp(x)[1] - self.bits, self.lowest))
        return np.rint(x / unit) * unit


class OracleRun(NamedTuple):
    """What a pass over a text gave."""

    logits: np.ndarray
    held: list[list[list[list[int]]]]  # step, layer, decision: positions in order of time
    margins: list[float]  # of each step's closest decision: 0 for a tie that rounding may turn
    scale: float  # size of a logit, were there no signs, times the softmax's condition


class Scale:
    """The largest terms on the way: rounding errors of sums are relative to them."""

    attention = 0.0
    output = 0.0


def stands(positions, position_ids):
    """Where tokens in order of time seem to stand."""
    if position_ids == "original":
        return list(positions)
    places = [0.0]
    for before, after in itertools.pairwise(positions):
        gap = after - before
        far = position_ids == "compressed" and gap > 10
        near = 1 if position_ids == "consecutive" else gap
        places.append(places[-1] + (math.log(math.log(gap)) if far else near))
    return places


def weights_of_head(config, params: Params, held, position_ids, query, head, row, scale: Scale):
    """Softmax over the tokens of one decision; ``row`` is the head's own among its keys."""
    now = held[-1].position
    places = stands([token.position for token in held], position_ids)
    query = place(config, query, places[-1])
    logits, terms = [], []
    for token, at in zip(held, places, strict=True):
        key = (
            token.placed[row] if position_ids == "original" else place(config, token.keys[row], at)
        )
        products, distance = config.scale * query * key, now - token.position
        penalty = alibi_slope(config, head) * distance
        hidden = isinstance(config.mask, Window) and distance >= config.mask.width
        logit = softcap(sum(products.tolist()), config.attn_softcap) - penalty
        logits.append(-math.inf if hidden else logit)
        terms.append(np.abs(products).sum() + penalty)
    own = params["attention.sharpness"][head] if "attention.sharpness" in params else None
    logits, terms = temper(config, own, np.array(logits), np.array(terms))
    scale.attention = max(scale.attention, *terms)
    return softmax(logits)


def attend(config, params: Params, rule: Rule, decisions, queries, scale: Scale):
    """What each head averages; each token learns what it was paid."""
    share, averages = config.num_heads // config.kv_heads, []
    heads_each = config.num_heads // len(decisions)
    for number, held in enumerate(decisions):
        paid = np.zeros(len(held))
        for own in range(heads_each):
            head, row = number * heads_each + own, own // share
            asked = (rule.position_ids, queries[head], head, row, scale)
            weights = weights_of_head(config, params, held, *asked)
            averages.append(sum(w * token.values[row] for w, token in zip(weights, held)))  # noqa: B905
            paid += weights / heads_each
        for token, weight in zip(held, paid, strict=True):
            token.weight, token.mass = weight, rule.decay * token.mass + weight
    return np.concatenate(averages)


def evict(held, rule: Rule):
    """Deletes one token; how far the next one's score was, relative to it."""
    now = held[-1].position
    old = [t for t in held if t.position >= rule.sinks and now - t.position >= rule.recent]
    score = {
        "age": lambda token: 0.0,
        "weight": lambda token: token.weight,
        "mass": lambda token: token.mass,
        "mean_mass": lambda token: token.mass / (now - token.position + 1),
    }[rule.score]
    ranked = sorted(old, key=lambda token: (score(token), token.position))
    held.remove(ranked[0])
    # Alone, without scores, or not seen at all: rounding has no part in the decision.
    if len(ranked) == 1 or score(ranked[1]) == 0:
        return math.inf
    return (score(ranked[1]) - score(ranked[0])) / score(ranked[1])


def cut(held, rule: Rule, slots):
    """Deletes what is too much; the margin of the last deletion, which divides gone from kept."""
    margin = math.inf
    while len(held) > slots:
        margin = evict(held, rule)
    return margin


def remember(config: DecoderConfig, params: Params, decisions, normed, position, grid):
    """Appends the current token to each decision's list, its keys and values as they are stored."""
    keys = unplaced(config, params, normed)[1]
    values = affine(params, "attention.value", normed, config.qkv_bias)
    values = values.reshape(config.kv_heads, config.value_dim)
    placed = np.array([place(config, key, position) for key in keys])
    if grid is not None:
        keys, placed, values = map(grid.round, (keys, placed, values))
    each = config.kv_heads // len(decisions)
    for number, held in enumerate(decisions):
        rows = slice(number * each, (number + 1) * each)
        held.append(Token(position, keys[rows], values[rows], placed[rows]))


def layer(config: DecoderConfig, params: Params, decisions, rule, resid, position, scale, grid):
    """The residual stream of one token after the layer; the token stays in the lists."""
    before, after = norms_around(config, params)
    normed = before("norm1", resid)
    remember(config, params, decisions, normed, position, grid)
    queries = unplaced(config, params, normed)[0]
    joined = attend(config, params, rule, decisions, queries, scale)
    mid = resid + after("norm1_after", affine(params, "attention.output", joined, config.bias))
    return mid + after("norm2_after", psi(config, params, before("norm2", mid)))


def bounded_forward(
    config: DecoderConfig, arrays, tokens, rule, slots, *, cuts=None, first=0, grid=None
):
    """Reads tokens one by one; after the steps in ``cuts``, or all, deletes what is too much.

    ``slots`` is one number a layer; ``first`` is the first token's position; ``grid`` rounds keys
    and values as they are stored.
    """
    params = {name: np.asarray(value, np.float64) for name, value in arrays.items()}
    own = [
        {name.removeprefix("blocks."): w[depth] for name, w in params.items() if "blocks." in name}
        for depth in range(config.num_layers)
    ]
    unembed = params["embed.table"] if config.tied else params["unembed"]
    decisions = config.kv_heads if rule.head_wise else 1
    states = [[[] for _ in range(decisions)] for _ in own]
    scale, logits, steps, margins = Scale(), [], [], []
    for step, token in enumerate(tokens):
        resid = embed(config, params, token, first + step)
        for depth, (weights, state) in enumerate(zip(own, states, strict=True)):
            resid = layer(
                in_layer(config, depth), weights, state, rule, resid, first + step, scale, grid
            )
        y = normalize(config, params, "final_norm", resid)
        logits.append(softcap(unembed @ y, config.output_softcap))
        scale.output = max(scale.output, np.max(abs(unembed) @ abs(y)))
        margin = math.inf
        if cuts is None or step in cuts:
            pairs = zip(states, slots, strict=True)
            margin = min(cut(held, rule, k) for state, k in pairs for held in state)
        margins.append(margin)
        steps.append([[[t.position for t in held] for held in state] for state in states])
    return OracleRun(np.array(logits), steps, margins, (1 + scale.attention) * scale.output)
