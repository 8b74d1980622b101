"""Opens a model's folder: its header, and then its weights in the wanted dtype."""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.typing import DTypeLike

from glassesjax.errors import BadInput
from glassesjax.model.filling import Read, Rows, read_arrays
from glassesjax.model.folder import read_folder
from glassesjax.model.folder_tokenizer import open_tokenizer
from glassesjax.model.language import LanguageModel, ModelHeader
from glassesjax.model.placing import NAMES, Container, Placed, place
from glassesjax.model.safetensors_file import map_safetensors, read_tensor
from glassesjax.model.tokenizer import Tokenizer
from glassesjax.model.weights import build_decoder
from glassesjax.precision import BF16, F16, F32, F64, FloatFormat, RoundingPlan

FORMATS: dict[str, FloatFormat] = {fmt.name: fmt for fmt in (F64, F32, BF16, F16)}
NARROW = (BF16, F16)


def folder_header(
    path: Path,
    *,
    weights: Path | None = None,
    dtype: Any = None,  # noqa: ANN401  (a name, a type or a dtype)
    mesh: Mesh | None,
) -> ModelHeader:
    """The header of a folder, without reading weights.

    Args:
      path: The folder.
      weights: A file of all weights in it, where it is not the usual one.
      dtype: Of the weights; that of the file if absent (``stored_format``).
      mesh: Devices that share the weights; None for the default device.

    Raises:
      BadInput: The folder is no model that is supported, or the dtype is not available.
    """
    if dtype is not None:
        format_of(dtype)  # before a header is read
    folder = read_folder(path, weights)
    placed = place(folder)
    tokenizer = open_tokenizer(path, placed.config.vocab_size)

    def reader() -> Read:
        maps = {path: map_safetensors(path) for path in folder.files}

        def read(name: str) -> Rows:
            path, entry = folder.tensors[name]
            return Rows(read_tensor(path, maps[path], name, entry))

        return read

    return header_of(folder, placed, tokenizer, reader, dtype=dtype, mesh=mesh)


def header_of(
    container: Container,
    placed: Placed,
    tokenizer: Tokenizer,
    reader: Callable[[], Read],
    *,
    dtype: DTypeLike | None,
    mesh: Mesh | None,
) -> ModelHeader:
    """The header of a model in a container whose own headers are validated.

    Args:
      container: The headers.
      placed: Where each weight lies.
      tokenizer: Of the model.
      reader: Maps the files, and returns a function that gives a tensor by its name.
      dtype: Of the weights; that of the files if absent (``stored_format``).
      mesh: Devices that share the weights; None for the default device.

    Raises:
      BadInput: The dtype is not available.
    """
    fmt = stored_format(placed) if dtype is None else format_of(dtype)
    name = str(container.folder)

    def read() -> LanguageModel:
        with ThreadPoolExecutor(1) as pool:  # hashed while the weights are read
            digest = pool.submit(digest_of, container.files)
            arrays = read_arrays(container, placed, reader(), np.dtype(fmt.dtype), mesh)
            decoder = build_decoder(placed.config, arrays)
            source = {
                "weights": weights_text(container, placed, fmt),
                "weights_sha256": digest.result(),
            }
        if fmt in NARROW:
            decoder = decoder.at(RoundingPlan(weights=fmt, mode="native", carrier=F32))
        return LanguageModel(name, decoder, tokenizer, source)

    itemsize = np.dtype(fmt.dtype).itemsize
    return ModelHeader(name, placed.config, tokenizer, read, itemsize)


def stored_format(placed: Placed) -> FloatFormat:
    """The format in which weights are kept where none is asked for.

    That of the file where it is of 16 bits and no weight is computed from it; float32 else.
    """
    formats = [format_in(dtype) for dtype in placed.dtypes]
    narrow = len(formats) == 1 and formats[0] in NARROW and not placed.computed
    return formats[0] if narrow else F32


def format_in(dtype: str) -> FloatFormat:
    """The format of a file's numbers; quantized ones are of float32 once they are unpacked."""
    return FORMATS[NAMES[dtype]] if dtype in NAMES else F32


def format_of(dtype: Any) -> FloatFormat:  # noqa: ANN401  (what no dtype is, is refused)
    """The format of a dtype in which a decoder may be stored.

    Raises:
      BadInput: There is none, or it needs 64-bit types, which are off.
    """
    known = {jnp.dtype(fmt.dtype).name: fmt for fmt in FORMATS.values()}
    known |= FORMATS
    try:
        name = dtype if isinstance(dtype, str) and dtype in known else jnp.dtype(dtype).name
    except TypeError as error:
        raise BadInput(
            f"Expected a dtype, got {dtype!r}: use one of {', '.join(known)}."
        ) from error
    if name not in known:
        raise BadInput(f"Expected a dtype out of {', '.join(known)}, got {name}: use one of them.")
    if known[name] == F64 and not jax.config.read("jax_enable_x64"):
        expected = "Expected 64-bit types for float64, got jax_enable_x64 off"
        raise BadInput(f"{expected}: switch it on, or use float32.")
    return known[name]


def weights_text(container: Container, placed: Placed, fmt: FloatFormat) -> str:
    """What the weights are, for rows: file, formats, and what was chosen at opening."""
    (first, *others) = container.files
    name = f"{len(container.files)} shards" if others else first.name
    stored = " and ".join(dtype_names(placed))
    parts = [f"{name} in {stored}"]
    if not all(fmt.contains(format_in(dtype)) for dtype in placed.dtypes):
        parts.append(f"rounded to {fmt.name}")
    elif placed.computed:
        parts.append(f"some computed, in {fmt.name}")
    return "; ".join([*parts, *placed.notes])


def dtype_names(placed: Placed) -> tuple[str, ...]:
    """Names of the dtypes in which the weights are stored; those of quantized ones as they are."""
    return tuple(NAMES.get(dtype, dtype) for dtype in placed.dtypes)


def digest_of(files: tuple[Path, ...]) -> str:
    """SHA-256 of a file, or of several files' digests and names in lines as ``sha256sum`` has."""
    digests = [_digest(path) for path in files]
    if len(files) == 1:
        return digests[0]
    lines = [f"{digest}  {path.name}\n" for digest, path in zip(digests, files, strict=True)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
