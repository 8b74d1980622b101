"""Calls of public functions with one argument that is none of what is documented."""
# ruff: noqa: ANN401  (that anything may be passed is the point)

import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from abuse_values import LONG, NAMES

from glassesjax import open_model
from glassesjax.cache import distinct_policies, policy, replay, resolve_slots, unroll
from glassesjax.cache.generate import generate
from glassesjax.draws import root_key
from glassesjax.model import DecoderConfig
from glassesjax.precision import BF16, float_format, named_plan, number_format
from glassesjax.tasks.prompt_format import named_format
from glassesjax.tasks.sequences import run_family
from glassesjax.tasks.table import named_task
from glassesjax.tasks.task import LengthMix
from glassesjax.theory import birth, closed_forms, collapse_forms, counting, dispersion, rank, ratio
from glassesjax.trace import fit_decay, last_representations

HOSTILE: dict[str, tuple[Any, ...]] = {
    "count": (0, -1, -(2**31), 1.5, math.nan, math.inf),
    "seed": (-1, 2**64, 10**30, math.nan, 1.5),
    "positive": (0.0, -1.0, math.nan, math.inf),
    "share": (-0.5, 1.5, math.nan),
    "tokens": (
        *([], [[1]], [1.5], [-1], [10**9], "abc", None, 7, [None], [True], [2**40]),
        *(np.zeros((2, 2), np.int32), np.ones(3), np.ones(3, bool), np.zeros(0, np.int32)),
    ),
    "lengths": ([], [0, 1, 2, 3, 4], [-4, 2, 8, 9, 10], [3] * 5, [1, 2, math.nan, 4, 5], [1, 2]),
    "names": ([], ["tova", "tova-layer"], ["x"], [""], ["full", "full"], ["window+99999999999"]),
    "text": NAMES,
    "path": (*NAMES, None, 7, b"toy", Path("missing"), Path(LONG), Path("."), ["toy"]),
}


class Call(NamedTuple):
    """A public function, arguments under which it works, and what may be exchanged."""

    function: Callable[..., object]
    right: dict[str, Any]
    wrong: dict[str, str]
    """For an argument the kind in ``HOSTILE``."""


def _decoder_pass(tokens: Any) -> object:
    return open_model("toy").decoder(tokens)


def _writes(prompt: Any, **settings: Any) -> object:
    model, window = unroll(open_model("toy").decoder), policy("window")
    return list(generate(model, [prompt], window, **settings))


def _replays(tokens: Any, slots: Any) -> object:
    return replay(open_model("toy").decoder, tokens, policy("tova"), slots=slots)


def _budget(budget: Any, length: Any) -> object:
    config = DecoderConfig(vocab_size=5)
    return resolve_slots(budget, config, policy("tova"), length=length, dtype=np.float32)


def _bracket(length: Any) -> object:
    return dispersion.dispersion_bracket(length, jnp.ones(()))


def _weight_drop(length: Any) -> object:
    return dispersion.last_weight_drop_bound(length, jnp.ones(()))


def _gap_bound(**sizes: Any) -> object:
    return rank.doubly_exponential_bound(jnp.ones(()), jnp.ones(()), **sizes)


def _collapse_pass(prompt: Any) -> object:
    return last_representations(open_model("toy").decoder, [prompt])


_SIZES = ("vocab_size", "num_layers", "num_heads", "model_dim", "head_dim", "mlp_dim")
_CONFIG = {name: "count" for name in _SIZES if name in DecoderConfig.__dataclass_fields__}
_SHARES = [Fraction(1, 2), Fraction(1, 3)]

CALLS: tuple[Call, ...] = (
    Call(open_model, {"name": "toy"}, {"name": "path", "positions": "text", "seed": "seed"}),
    Call(DecoderConfig, {"vocab_size": 5}, {**_CONFIG, "block": "text", "values": "text"}),
    Call(_decoder_pass, {"tokens": [0, 1, 2]}, {"tokens": "tokens"}),
    Call(_collapse_pass, {"prompt": (1, 2)}, {"prompt": "tokens"}),
    Call(
        _writes,
        {"prompt": [1, 2], "slots": 4, "max_tokens": 1},
        {"prompt": "tokens", "slots": "count", "max_tokens": "count", "chunk": "count"},
    ),
    Call(_replays, {"tokens": [0, 1, 2, 1, 2], "slots": 4}, {"tokens": "tokens", "slots": "count"}),
    Call(_budget, {"budget": "4", "length": 8}, {"budget": "text", "length": "count"}),
    Call(policy, {"text": "tova"}, {"text": "text"}),
    Call(distinct_policies, {"names": ["tova"]}, {"names": "names"}),
    Call(float_format, {"name": "f32"}, {"name": "text"}),
    Call(number_format, {"name": "int8"}, {"name": "text"}),
    Call(named_plan, {"text": "bf16"}, {"text": "text"}),
    Call(named_task, {"name": "count_ones"}, {"name": "text"}),
    Call(named_format, {"text": "steps-5"}, {"text": "text"}),
    Call(run_family, {"name": "ones"}, {"name": "text"}),
    Call(LengthMix, {"low": 1, "high": 4}, {"low": "count", "high": "count", "kind": "text"}),
    Call(root_key, {"seed": 0}, {"seed": "seed"}),
    Call(
        fit_decay,
        {"lengths": [1, 2, 4, 8, 16], "distances": [1.0, 0.5, 0.25, 0.12, 0.06]},
        {"lengths": "lengths", "distances": "lengths"},
    ),
    Call(_bracket, {"length": 3}, {"length": "count"}),
    Call(_weight_drop, {"length": 3}, {"length": "count"}),
    Call(
        closed_forms.path_count, {"length": 3, "layers": 2}, {"length": "count", "layers": "count"}
    ),
    Call(closed_forms.harmonic, {"count": 3}, {"count": "count", "power": "count"}),
    Call(closed_forms.cesaro_rollout, {"length": 3, "shares": _SHARES}, {"length": "count"}),
    Call(
        collapse_forms.window_receptive_field,
        {"width": 3, "layers": 2},
        {"width": "count", "layers": "count"},
    ),
    Call(
        collapse_forms.embedding_position_gap,
        {"dim": 4, "base": 10.0},
        {"dim": "count", "base": "positive"},
    ),
    Call(birth.residual_atom, {"depth": 2, "mixing": 0.5}, {"depth": "count", "mixing": "share"}),
    Call(
        counting.stored_total,
        {"count": 3, "fmt": BF16, "reading": "share"},
        {"count": "count", "reading": "text"},
    ),
    Call(
        _gap_bound,
        {"heads": 2, "key_dim": 4, "layers": 2},
        {"heads": "count", "key_dim": "count", "layers": "count"},
    ),
    Call(
        ratio.ratio_only_accuracy,
        {"lengths": {4: Fraction(1)}, "share": Fraction(1, 2)},
        {"share": "share"},
    ),
)


def draw_call(rng: Random) -> tuple[str, Callable[[], object]]:
    """A call with one wrong argument.

    Args:
      rng: Draws it.

    Returns:
      The call as text, and what calls.
    """
    call = rng.choice(CALLS)
    name = rng.choice(sorted(call.wrong))
    value = rng.choice(HOSTILE[call.wrong[name]])
    given = {**call.right, name: value}
    return f"{call.function.__name__}({name}={value!r})"[:300], lambda: call.function(**given)
