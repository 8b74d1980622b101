"""A decoder in one file: safetensors with its settings and vocabulary, whole or not there."""

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import jax.numpy as jnp
import numpy as np

from glassesjax.errors import BadInput
from glassesjax.files import regular_file, writing
from glassesjax.model.config import Alibi, DecoderConfig, Mask, Mlp, Norm, Positions, Temperature
from glassesjax.model.decoder import Decoder
from glassesjax.model.weights import build_decoder, flat_parameters
from glassesjax.precision import FloatFormat, RoundingPlan, number_format
from glassesjax.precision.formats import carrier_format
from glassesjax.records import to_json

SUFFIX = ".safetensors"
KIND, HEADER = "decoder 1", "glassesjax"
_SWITCHES = (
    *(kind for union in (Positions, Mask, Norm, Temperature) for kind in get_args(union)),
    Mlp,
)


def config_record(config: DecoderConfig) -> dict[str, Any]:
    """A decoder's settings as JSON has them: each switch with the name of its kind.

    Args:
      config: Any settings.

    Returns:
      Plain values.
    """
    plain = lambda value: (
        {"switch": type(value).__name__, **dataclasses.asdict(value)}
        if dataclasses.is_dataclass(value)
        else value
    )
    fields = dataclasses.fields(config)
    return {field.name: plain(getattr(config, field.name)) for field in fields}


def config_of(record: Mapping[str, Any]) -> DecoderConfig:
    """The settings that a record says.

    Args:
      record: Of ``config_record``, also after a round trip through JSON.

    Returns:
      The same settings.

    Raises:
      ValueError: A switch or a field is unknown, or the sizes do not fit.
      TypeError: A field is missing or not of its kind.
    """
    kinds: dict[str, Any] = {kind.__name__: kind for kind in _SWITCHES}

    def value(found: Any) -> Any:  # noqa: ANN401
        if not isinstance(found, dict):
            return found
        fields: dict[str, Any] = {name: _tuples(each) for name, each in found.items()}
        if (kind := kinds.get(str(fields.pop("switch", "")))) is None:
            raise ValueError(f"no switch {found.get('switch')!r}")
        if kind is Alibi and fields.get("slopes", "") is None:
            fields["slopes"] = "geometric"  # what nothing meant before there were names
        return kind(**fields)

    return DecoderConfig(**{name: value(found) for name, found in record.items()})


def _tuples(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def save_decoder(
    path: Path, decoder: Decoder, symbols: Sequence[str], source: Mapping[str, str]
) -> str:
    """Writes a decoder by renaming.

    Args:
      path: Where it goes; a file already there is replaced.
      decoder: Float32 weights.
      symbols: Its vocabulary: a token is an index into it.
      source: Where the weights come from, for the record: flat.

    Returns:
      SHA-256 of the file; the same weights and settings give the same one.

    Raises:
      ValueError: The decoder is marked by a format, and its weights are none of that.
      BadInput: The file cannot be written, or ``safetensors`` is not installed.
    """
    _check_mark(decoder)
    told = {
        "kind": KIND,
        "config": config_record(decoder.config),
        "symbols": list(symbols),
        "source": dict(source),
    }
    if decoder.stored_as is not None:
        told["stored_as"] = decoder.stored_as.name
    arrays = {name: np.asarray(weight) for name, weight in flat_parameters(decoder).items()}
    content = _safetensors().save(
        arrays, {HEADER: to_json(told)}
    )  # of several keys the order is chance's
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with writing("to save a model", path, "choose another file"), part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            part.replace(path)
    finally:
        with contextlib.suppress(OSError):  # it was renamed, or never made
            part.unlink()
    return hashlib.sha256(content).hexdigest()


def _check_mark(decoder: Decoder) -> None:
    """Whether to store the weights again would leave them as they are."""
    mark = decoder.stored_as
    if mark is None or decoder.dtype not in (jnp.float32, jnp.float64):
        return
    plan = RoundingPlan(weights=mark, mode="simulated", carrier=carrier_format(decoder.dtype))
    again, given = flat_parameters(decoder.stored(plan)), flat_parameters(decoder)
    # Floats come back bit by bit; a scale is a quotient of the largest weight, rounded anew.
    rtol = 0 if isinstance(mark, FloatFormat) else 8 * float(jnp.finfo(decoder.dtype).eps)
    for name, weight in given.items():
        pair = np.asarray(again[name]), np.asarray(weight)
        if not np.allclose(*pair, rtol=rtol, atol=0, equal_nan=True):
            wanted = f"Expected weights of {mark.name}, by which they are marked"
            remedy = "call decoder.stored(plan), or set decoder.stored_as to None"
            raise ValueError(f"{wanted}, got others in {name}: {remedy}.")


def load_decoder(path: Path) -> tuple[Decoder, tuple[str, ...], dict[str, str]]:
    """Reads a decoder that ``save_decoder`` wrote.

    Args:
      path: The file.

    Returns:
      The decoder, its vocabulary, and where its weights come from, the file's digest included.

    Raises:
      BadInput: The file is missing, cut, foreign, or ``safetensors`` is not installed.
    """
    library = _safetensors()
    regular_file(path, "a trained model")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadInput(
            f"Wanted a trained model; {path} cannot be read ({error.strerror})."
        ) from error
    try:
        arrays = library.load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        told = json.loads(header["__metadata__"][HEADER])
        if told["kind"] != KIND:
            raise ValueError(f"its kind is {told['kind']!r}")
        symbols, source = told["symbols"], told["source"]
        for name, kind in (("config", dict), ("symbols", list), ("source", dict)):
            if not isinstance(told[name], kind):
                raise ValueError(f"its {name} is a {type(told[name]).__name__}, no {kind.__name__}")
        decoder = build_decoder(config_of(told["config"]), arrays)
        if (name := told.get("stored_as")) is not None:
            decoder.stored_as = number_format(name)
        if len(symbols) != decoder.config.vocab_size:
            raise ValueError(f"{len(symbols)} symbols for {decoder.config.vocab_size} tokens")
    except (ValueError, KeyError, TypeError, _broken()) as error:
        wanted = f"Wanted a model that glassesjax has trained; {path} is none or not whole"
        raise BadInput(f"{wanted} ({str(error) or type(error).__name__}).") from error
    digest = hashlib.sha256(content).hexdigest()
    return decoder, tuple(symbols), {**source, "weights_sha256": digest}


def _safetensors() -> Any:  # noqa: ANN401
    try:
        import safetensors.numpy
    except ImportError as error:
        wanted = "Wanted the safetensors package for trained models; it is not here"
        raise BadInput(f"{wanted}: pip install 'glassesjax[models]'.") from error
    return safetensors.numpy


def _broken() -> type[Exception]:
    from safetensors import SafetensorError

    return SafetensorError
