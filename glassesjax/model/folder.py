"""A model's folder as ``transformers`` writes it: its configuration, and where each tensor lies.

Headers alone are read here. Everything that the folder names is compared with what is there.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from glassesjax.errors import BadInput, brief
from glassesjax.files import read_file, reason
from glassesjax.model.safetensors_file import Entry, parse_json, read_safetensors_header

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
MOST_CONFIG = 1 << 22  # bytes
MOST_INDEX = 1 << 24
MOST_SHARDS = 1024
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
OTHERS = {"*.h5": "TensorFlow", "*.msgpack": "Flax", "*.onnx": "ONNX"}
# transformers loads an adapter of such a name with the model, without being asked.
ADAPTERS = ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin")
MERGE = (
    'python -c "import sys, peft as p;'
    " m = p.AutoPeftModelForCausalLM.from_pretrained(sys.argv[1]);"
    ' m.merge_and_unload().save_pretrained(sys.argv[2])"'
)
CONVERT = (
    'python -c "import sys, transformers as t;'
    ' t.AutoModelForCausalLM.from_pretrained(sys.argv[1]).save_pretrained(sys.argv[2])"'
)


class StoredTensor(NamedTuple):
    """A tensor and the file in which it lies."""

    path: Path
    entry: Entry


class ModelFolder(NamedTuple):
    """A folder whose headers are validated."""

    folder: Path
    config: Mapping[str, Any]
    files: tuple[Path, ...]
    """Of weights, in the order of their names."""
    tensors: Mapping[str, StoredTensor]
    """By the name in the file."""

    @property
    def config_path(self) -> Path:
        """Its configuration."""
        return self.folder / CONFIG


def read_folder(folder: Path, weights: Path | None = None) -> ModelFolder:
    """Reads the configuration and all headers of a folder.

    Args:
      folder: The folder.
      weights: A file of all weights in it, where it is not the usual one.

    Raises:
      BadInput: A file is missing, damaged, outside the folder, or of a kind that is not read; or
        there is an adapter.
    """
    _check_no_adapter(folder)
    config = read_json(folder / CONFIG, "a model's configuration", most=MOST_CONFIG)
    if weights is not None:
        named = {weights: None}
    elif os.path.lexists(folder / WEIGHTS):
        named = {_inside(folder, WEIGHTS): None}
    elif os.path.lexists(folder / INDEX):
        named = _shards(folder)
    else:
        raise _no_weights(folder)
    tensors: dict[str, StoredTensor] = {}
    for path, names in named.items():
        entries = read_safetensors_header(path).entries
        if names is not None:
            _check_shard(path, names, entries)
        for name, entry in entries.items():
            if name in tensors:
                got = f"{brief(name)} in {tensors[name].path.name} and {path.name}"
                raise _contradiction(folder, "each tensor in one file", got)
            tensors[name] = StoredTensor(path, entry)
    return ModelFolder(folder, config, tuple(sorted(named)), tensors)


def read_json(path: Path, what: str, *, most: int) -> dict[str, Any]:
    """A JSON object of a model's folder.

    Args:
      path: The file.
      what: What it is, for the message.
      most: Bytes that it has at most.

    Raises:
      BadInput: It is missing, too large, or no JSON object.
    """
    content = read_file(path, what, most=most)
    try:
        return parse_json(content)
    except ValueError as error:
        got = f"{path} ({reason(error)})"
        raise BadInput(f"Expected {what} as JSON, got {got}: copy it again.") from error


def _shards(folder: Path) -> dict[Path, set[str]]:
    """The files that the index names, with the tensors of each."""
    index = read_json(folder / INDEX, "the index of a model's shards", most=MOST_INDEX)
    places = index.get("weight_map")
    if not isinstance(places, dict) or not places:
        raise _contradiction(folder, f"a weight_map in {INDEX}", brief(places))
    named: dict[str, set[str]] = {}
    for name, file in places.items():
        if not isinstance(file, str):
            raise _contradiction(folder, f"a file for {brief(name)} in {INDEX}", brief(file))
        named.setdefault(file, set()).add(name)
    if len(named) > MOST_SHARDS:
        raise _contradiction(folder, f"at most {MOST_SHARDS} shards", f"{len(named)}")
    return {_inside(folder, file): names for file, names in named.items()}


def _inside(folder: Path, file: str) -> Path:
    """The path of a file of the folder, by a plain name, that is no link to elsewhere."""
    path = folder / file
    if not file or file in (".", "..") or "\0" in file or file != os.path.basename(file):
        raise _contradiction(folder, "plain names of its files", brief(file))
    try:
        target, root = path.resolve(), folder.resolve()
    except (OSError, RuntimeError, ValueError) as error:
        got = f"{brief(file)} ({reason(error)})"
        raise _contradiction(folder, "files that are there", got) from error
    # The hub's cache has links from ``snapshots/REVISION`` to ``blobs`` beside ``snapshots``.
    blobs = root.parent.parent / "blobs" if root.parent.name == "snapshots" else root
    if target.parent not in (root, blobs):
        raise _contradiction(folder, "files of its own", f"{brief(file)}, a link to elsewhere")
    return path


def _check_no_adapter(folder: Path) -> None:
    """Refuses a folder with weights that change the model's: they would be left out."""
    if (name := next((name for name in ADAPTERS if os.path.lexists(folder / name)), None)) is None:
        return
    expected = f"Expected a model without an adapter in {folder}, got {name}"
    remedy = f"merge the two by {MERGE} {folder} NEW_FOLDER, or move it away to leave it out"
    raise BadInput(f"{expected}: {remedy}")


def _check_shard(path: Path, names: set[str], entries: Mapping[str, Entry]) -> None:
    if missing := sorted(names - entries.keys()):
        expected = f"the tensors of {INDEX}"
        raise _contradiction(path, expected, f"one in which {brief(missing[0])} is missing")
    if unknown := sorted(entries.keys() - names):
        raise _contradiction(path, f"the tensors of {INDEX}", f"also {brief(unknown[0])}")


def _no_weights(folder: Path) -> BadInput:
    expected = f"Expected {WEIGHTS} or {INDEX} in {folder}"
    for pattern in PICKLES:
        if files := sorted(folder.glob(pattern)):
            got = f"{files[0].name}, a pickle, which could run any program"
            remedy = f"where you trust it, write safetensors by {CONVERT} {folder} NEW_FOLDER"
            return BadInput(f"{expected}, got {got}: {remedy}")
    for pattern, kind in OTHERS.items():
        if files := sorted(folder.glob(pattern)):
            got = f"{files[0].name}, weights for {kind}"
            return BadInput(f"{expected}, got {got}: download the safetensors.")
    if others := sorted(folder.glob("*.safetensors")):
        got = f"{others[0].name}"
        return BadInput(f"{expected}, got {got}: name that file, or download the index.")
    return BadInput(f"{expected}, got none: download the weights as well.")


def _contradiction(where: Path, expected: str, got: str) -> BadInput:
    return BadInput(f"Expected {expected} in {where}, got {got}: copy the folder again.")
