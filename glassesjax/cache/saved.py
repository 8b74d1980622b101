"""Saves and loads a state: written atomically, tied to a model and a policy, without pickle."""

import hashlib
import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from glassesjax.cache.policies import Policy
from glassesjax.cache.slots import KVCache, State, by_name, empty_state
from glassesjax.cache.stored import Storage
from glassesjax.errors import BadInput, brief, escaped
from glassesjax.files import (
    check_local,
    json_object,
    regular_file,
    to_json,
    writing,
    written_by_rename,
)
from glassesjax.model.config import DecoderConfig
from glassesjax.model.stored_config import config_of, config_record, config_text
from glassesjax.precision import Packed, RoundingPlan
from glassesjax.schema import SCHEMA, check_schema, renamed_policy

KIND = "glassesjax state 1"
CONFIG, DIGEST = "model_config", "model_settings"  # of the decoder; a hash in older files
STORED = "stored"  # format of packed keys and values; absent where they are arrays of the dtype
BFLOAT16 = "bfloat16"  # not a dtype of NumPy's files: stored as uint16 bits
# Exceptions of NumPy and its ZIP reader for a truncated, foreign or overwritten file.
BROKEN = (
    *(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, MemoryError),
    *(RecursionError, NotImplementedError, RuntimeError, SyntaxError, TypeError, OverflowError),
)
MOST_SLOTS = 2**31 - 2  # positions are int32


class Saved(NamedTuple):
    """Content of a file."""

    state: State
    info: dict[str, Any]
    """Further values saved with the state, JSON-ready."""
    arrays: dict[str, np.ndarray]
    """Further arrays saved with it."""


def save_state(
    path: Path,
    state: State,
    policy: Policy,
    *,
    config: DecoderConfig,
    plan: RoundingPlan | None = None,
    info: Mapping[str, object] | None = None,
    arrays: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Writes a state, of one sequence or of a batch, atomically (by renaming).

    Args:
      path: The file; an existing one is replaced.
      state: The state.
      policy: The policy that produced it.
      config: Settings of the decoder.
      plan: That of the decoder, of which the file names the format of packed keys and values;
        needed for them alone.
      info: Further values, JSON-ready; ``load_state`` can require them.
      arrays: Further arrays by name, of dtypes that NumPy's files support.

    Raises:
      BadInput: The file cannot be written, or keys and values are packed and there is no plan.
      DiskFull: The disk is full.
    """
    check_local(path)
    key, stored = state.layers[0].key, {}
    if isinstance(key, Packed):
        if plan is None:
            raise BadInput("Expected the plan of a state with packed keys, got none: pass plan.")
        stored = {STORED: Storage.of(plan, config).name}
    # Of packed ones the dtype in which they are read, which is that of the accumulated attention.
    dtype = (state.layers[0].mass if isinstance(key, Packed) else key).dtype.name
    header = {
        "kind": KIND,
        "schema": SCHEMA,
        **_identity(policy),
        CONFIG: config_record(config),
        "dtype": dtype,
        **stored,
        "slots": [cache.position.shape[-1] - 1 for cache in state.layers],
        "info": dict(info or {}),
    }
    # NumPy's files have no bfloat16: its bits are stored as uint16, and the header has the dtype.
    leaves = {name: np.asarray(leaf) for name, leaf in by_name(state).items()}
    plain = {
        name: leaf.view(np.uint16) if leaf.dtype.name == BFLOAT16 else leaf
        for name, leaf in leaves.items()
    }
    content = {
        "header": np.frombuffer(to_json(header).encode(), np.uint8),
        **plain,
        **{f"with.{name}": array for name, array in (arrays or {}).items()},
    }
    expected = "to save the state"
    with writing(expected, path, "choose another file"), written_by_rename(path) as file:
        np.savez(file, allow_pickle=False, **content)


def load_state(
    path: Path,
    policy: Policy,
    *,
    config: DecoderConfig,
    dtype: DTypeLike | RoundingPlan,
    same: Mapping[str, object] | None = None,
) -> Saved:
    """Reads a state of this model and policy.

    Args:
      path: A file of ``save_state``.
      policy: The policy to continue with.
      config: Settings of the decoder.
      dtype: Of keys and values; or the decoder's plan, which reads a file of packed ones, too.
      same: Required values of ``info``, by name.

    Returns:
      The state with its slots, and what was saved with it.

    Raises:
      BadInput: The file is missing, truncated, foreign, or of another model, policy or ``info``.
    """
    header, arrays = _read(path)
    storage = Storage.of(dtype, config)
    identity = {**_identity(policy), "dtype": storage.dtype.name}
    if STORED in header:  # else arrays of that dtype, under every plan
        identity[STORED] = storage.name
    for name, required in identity.items():
        _require_same(path, name, required, header.get(name))
    if CONFIG not in header:  # an older file has a digest of the settings
        digest = hashlib.sha256(config_text(config).encode()).hexdigest()[:16]
        _require_same(path, DIGEST, digest, header.get(DIGEST))
    elif not isinstance(header[CONFIG], dict):
        raise _broken(path, f"its header has no {CONFIG}")
    else:
        try:
            stored = config_record(config_of(header[CONFIG]))
        except ValueError as error:
            raise _broken(path, escaped(error)) from error
        # Field by field, so that the error names the one that differs.
        for name, wanted in config_record(config).items():
            _require_same(path, f"model {name}", wanted, stored[name])
    info = header.get("info")
    if not isinstance(info, dict):
        raise _broken(path, "its header has no info")
    check_same(path, info, same or {})
    how = dtype if STORED in header else storage.dtype
    state = _state(path, header, arrays, policy, config, how)
    beside = {name[5:]: array for name, array in arrays.items() if name.startswith("with.")}
    return Saved(state, info, beside)


def check_same(path: Path, info: Mapping[str, Any], same: Mapping[str, object]) -> None:
    """Validates the ``info`` of a file.

    Args:
      path: The file.
      info: The values in the file.
      same: The required values, by name.

    Raises:
      BadInput: A value differs.
    """
    # Through JSON, as the stored ones: a tuple is a list there.
    for name, required in json.loads(to_json(same)).items():
        _require_same(path, name, required, info.get(name))


def _identity(policy: Policy) -> dict[str, str | float]:
    """Settings that must agree for a state to be valid, besides the model's settings."""
    # The format's names, which are older than the fields'.
    spacing = "true" if policy.position_ids == "original" else policy.position_ids
    return {"policy": str(policy), "spacing": spacing, "decay": policy.decay}


def _require_same(path: Path, name: str, required: object, stored: object) -> None:
    if required != stored:
        name = name.replace("_", " ")
        expected = f"Expected a state with {name} {_shown(required)}"
        got = f"got {_shown(stored)} in {path}"
        raise BadInput(f"{expected}, {got}: use another file, or the settings of this one.")


def _shown(value: object) -> str:
    return "none" if value is None else escaped(value) if isinstance(value, str) else brief(value)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    regular_file(path, "a saved state")
    try:
        with path.open("rb") as raw:
            file = np.load(raw, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise _broken(path, "it has a single array")
            # We save without compression: a compressed array may expand beyond the memory.
            members = [] if file.zip is None else file.zip.infolist()
            if any(info.compress_type != zipfile.ZIP_STORED for info in members):
                raise _broken(path, "it has compressed arrays")
            arrays = {name: file[name] for name in file.files}
        if odd := [name for name, array in arrays.items() if not isinstance(array, np.ndarray)]:
            # NumPy gives such a member as bytes.
            raise _broken(path, f"{escaped(odd[0])} is not an array")
        header = json_object(arrays.pop("header").tobytes())
    except BadInput:
        raise
    except BROKEN as error:
        raise _broken(path, escaped(error)) from error
    if header.get("kind") != KIND:
        raise _broken(path, f"its kind is not {KIND!r}")
    check_schema(header, path)
    if "schema" not in header and isinstance(name := header.get("policy"), str):
        header["policy"] = renamed_policy(name)
    return header, arrays


def _broken(path: Path, why: str) -> BadInput:
    expected = f"Expected a saved state, got the truncated or foreign file {path} ({why:.80})"
    return BadInput(f"{expected}: choose another.")


def _state(
    path: Path,
    header: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    policy: Policy,
    config: DecoderConfig,
    how: DTypeLike | RoundingPlan,
) -> State:
    """The state from its arrays, each of the shape and dtype of this model."""
    slots = header.get("slots")
    # A bool is no count, though Python counts it as an int.
    counts = isinstance(slots, list) and all(
        type(count) is int and 1 <= count <= MOST_SLOTS for count in slots
    )
    if not isinstance(slots, list) or not counts or len(slots) != config.num_layers:
        raise _broken(path, f"its header has no slots of {config.num_layers} layers")
    like = jax.eval_shape(lambda: empty_state(config, policy, slots, how))
    named = by_name(like)
    if missing := sorted(named.keys() - arrays.keys()):
        raise _broken(path, f"it has no {missing[0]}")
    # ``seen`` is a number for one sequence, (rows,) for a batch; all else has the same rows.
    batch, read = arrays["seen"].shape, []
    for name, leaf in named.items():
        array, stored = arrays[name], leaf.dtype
        stored = np.dtype(np.uint16) if stored.name == BFLOAT16 else stored
        if array.shape != (*batch, *leaf.shape) or array.dtype != stored:
            raise _broken(path, f"{name} is {array.dtype.name} {array.shape}")
        read.append(jnp.asarray(array.view(leaf.dtype)))
    return jax.tree.unflatten(jax.tree.structure(like), read)


def grown(state: State, slots: int) -> State:
    """The state with more slots, for a full cache that is to be continued.

    Args:
      state: Of one sequence or of a batch.
      slots: Capacity of every layer; a layer that has more is unchanged.

    Returns:
      The state; the added slots are empty.
    """

    def wider(leaf: jax.Array, axis: int, fill: int) -> jax.Array:
        # Axes from the end, for a batch has rows in front; one slot is for the newest token.
        more = max(slots + 1 - leaf.shape[axis], 0)
        pads = [(0, 0)] * leaf.ndim
        pads[axis] = (0, more)
        return jnp.pad(leaf, pads, constant_values=fill)

    rows = lambda stored: jax.tree.map(lambda leaf: wider(leaf, -2, 0), stored)
    layers = [
        KVCache(
            key=rows(cache.key),
            value=rows(cache.value),
            position=wider(cache.position, -1, -1),
            mass=wider(cache.mass, -1, 0),
        )
        for cache in state.layers
    ]
    return State(tuple(layers), state.seen)
