"""Saves and loads a decoder in one safetensors file with its settings and vocabulary."""

import contextlib
import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array

from glassesjax.errors import BadInput, escaped
from glassesjax.files import part_of, to_json, writing
from glassesjax.model.decoder import Decoder
from glassesjax.model.sharding import put, weight_sharding
from glassesjax.model.stored_config import config_record
from glassesjax.model.stored_header import (
    HEADER,
    KIND,
    MOST_HEADER,
    StoredHeader,
    check_source,
    check_symbols,
    read_header,
)
from glassesjax.model.weights import build_decoder, flat_parameters
from glassesjax.precision import FloatFormat, RoundingPlan
from glassesjax.precision.formats import carrier_format

SUFFIX = ".safetensors"


def save_decoder(
    path: Path, decoder: Decoder, symbols: Sequence[str], source: Mapping[str, str]
) -> str:
    """Writes a decoder atomically (by renaming).

    Args:
      path: The file; an existing one is replaced.
      decoder: Float32 weights.
      symbols: Its vocabulary: a token is an index into it.
      source: Source of the weights, for the record: a text under ``weights``, or empty.

    Returns:
      SHA-256 of the file; the same weights and settings give the same one.

    Raises:
      ValueError: The plan rounds weights to a format, and they are not rounded; or symbols
        or source are such as no file may have.
      BadInput: The file cannot be written, or ``safetensors`` is not installed.
    """
    _check_mark(decoder)
    check_symbols(symbols, decoder.config.vocab_size)
    check_source(source)
    header = {
        "kind": KIND,
        "config": config_record(decoder.config),
        "symbols": list(symbols),
        "source": dict(source),
    }
    mark = decoder.plan.weights if decoder.plan.mode == "simulated" else None
    if mark is not None:
        header["stored_as"] = mark.name
    arrays = {name: np.asarray(weight) for name, weight in flat_parameters(decoder).items()}
    metadata = {HEADER: to_json(header)}  # one key: the order of several is not fixed
    content = _safetensors().save(arrays, metadata)
    # The header's length is in the first eight bytes; a longer one could not be read again.
    if (length := int.from_bytes(content[:8], "little")) > MOST_HEADER:
        expected = f"Expected symbols and settings of at most {MOST_HEADER} bytes"
        raise ValueError(f"{expected}, got {length}: use a smaller vocabulary.")
    part = part_of(path)
    try:
        with writing("to save a model", path, "choose another file"), part.open("wb") as file:
            file.write(content)
            # On the disk before the name is: a crash leaves the old file or the new one.
            file.flush()
            os.fsync(file.fileno())
            part.replace(path)
    finally:
        with contextlib.suppress(OSError):  # renamed already, or never written
            part.unlink()
    return hashlib.sha256(content).hexdigest()


def _check_mark(decoder: Decoder) -> None:
    """Validates that the weights are values of their plan's format."""
    mark = decoder.plan.weights
    if mark is None or decoder.plan.mode != "simulated":
        return
    again, given = flat_parameters(decoder.at(decoder.plan)), flat_parameters(decoder)
    # Floats are unchanged bit by bit; an integer format's scale is rounded again.
    rtol = 0 if isinstance(mark, FloatFormat) else 8 * float(jnp.finfo(decoder.dtype).eps)
    for name, weight in given.items():
        pair = np.asarray(again[name]), np.asarray(weight)
        if not np.allclose(*pair, rtol=rtol, atol=0, equal_nan=True):
            expected = f"Expected weights of {mark.name}, as their plan stores them"
            remedy = "round them by decoder.at(plan), or take the plan off by decoder.at(None)"
            raise ValueError(f"{expected}, got others in {name}: {remedy}.")


def load_header(path: Path) -> StoredHeader:
    """Reads the header of a file of ``save_decoder``, without weights.

    Args:
      path: The file.

    Returns:
      Settings, vocabulary and source.

    Raises:
      BadInput: The file is missing, truncated or foreign, or ``safetensors`` is not installed.
    """
    _safetensors()  # a missing package is reported before any fault of the file
    try:
        return read_header(path)
    except BadInput:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise _foreign(path, " ".join(str(error).split()) or type(error).__name__) from error


def load_decoder(
    path: Path, mesh: Mesh | None = None
) -> tuple[Decoder, tuple[str, ...], dict[str, str]]:
    """Reads a decoder that ``save_decoder`` wrote, one weight at a time.

    Args:
      path: The file.
      mesh: Devices that share the weights by ``weight_sharding``; the default device if absent.

    Returns:
      The decoder, its vocabulary, and where its weights come from, the file's digest included. Of
      a plan the file has the format of the weights alone: where the decoder is to round elsewhere,
      or stores its weights narrower than it computes, say so by ``Decoder.at``.

    Raises:
      BadInput: The file is missing, truncated, foreign, or ``safetensors`` is not installed.
    """
    header = load_header(path)
    from safetensors import SafetensorError, safe_open

    def placed(name: str, weight: np.ndarray) -> Array:
        if mesh is None:
            return jnp.asarray(weight)
        return put(weight, weight_sharding(name, header.config, mesh))

    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        with safe_open(path, framework="numpy") as file:
            arrays = {name: placed(name, file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
        decoder = build_decoder(header.config, arrays)
    except OSError as error:
        raise _foreign(path, str(error.strerror)) from error
    except (ValueError, KeyError, TypeError, SafetensorError) as error:
        raise _foreign(path, escaped(error)) from error
    # A plan only where weights are of a format that their dtype is not.
    fmt, plan = header.stored_as, None
    if fmt is not None and not (isinstance(fmt, FloatFormat) and fmt.dtype == decoder.dtype):
        carrier = carrier_format(decoder.dtype)
        plan = RoundingPlan(weights=fmt, mode="simulated", carrier=carrier)
    decoder = decoder.at(plan)
    return decoder, header.symbols, {**header.source, "weights_sha256": digest}


def _foreign(path: Path, why: str) -> BadInput:
    expected = "Expected a model that glassesjax train wrote, whole"
    return BadInput(f"{expected}, got {path} ({why.rstrip('.')}): copy it again or choose another.")


def _safetensors() -> Any:  # noqa: ANN401
    try:
        import safetensors.numpy
    except ImportError as error:
        expected = "Expected the safetensors package for trained models, got none"
        raise BadInput(f"{expected}: pip install 'glassesjax[models]'.") from error
    return safetensors.numpy
