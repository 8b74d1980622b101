"""Which kind of model a path is: by content, never by the ending of its name."""

import os
import re
import zipfile
from pathlib import Path
from typing import Literal

from glassesjax.errors import BadInput
from glassesjax.files import regular_file
from glassesjax.model.folder import CONFIG, CONVERT
from glassesjax.model.safetensors_file import LENGTH, read_safetensors_header
from glassesjax.model.stored_header import HEADER

Kind = Literal["gguf", "trained", "run", "folder", "weights"]
RUN_RECORD = "settings.json"
DECODER_NAME = re.compile(r"model-\d+\.safetensors")
_STARTS = {b"GGUF": "gguf", b"FUGG": "gguf", b"\x80\x02": "pickle", b"\x80\x04": "pickle"}


def kind_of(path: Path) -> Kind | None:
    """The kind of model at a path; None where there is none.

    Args:
      path: A file or a folder.

    Returns:
      ``gguf``; ``trained``, a decoder that ``glassesjax train`` wrote, or ``run``, a folder of
      them; ``folder``, a folder with a configuration or a file of JSON in it; ``weights``, another
      safetensors file.

    Raises:
      BadInput: It is a pickle, or a damaged file.
    """
    if path.is_dir():
        return _folder_kind(path)
    if not path.exists():
        return None
    regular_file(path, "a model")
    with path.open("rb") as file:
        start = file.read(LENGTH + 1)
    kind = next((kind for mark, kind in _STARTS.items() if start.startswith(mark)), None)
    if kind == "pickle" or (start.startswith(b"PK") and _holds_pickle(path)):
        got = f"{path}, a pickle, which could run any program"
        remedy = f"where you trust it, write safetensors by {CONVERT} {path.parent} NEW_FOLDER"
        raise BadInput(f"Expected weights in a safetensors file, got {got}: {remedy}")
    if kind == "gguf":
        return "gguf"
    if start.lstrip()[:1] == b"{":  # the configuration or the index
        return "folder" if os.path.lexists(path.parent / CONFIG) else None
    if start[LENGTH:] == b"{":
        ours = HEADER in read_safetensors_header(path).metadata
        return "trained" if ours else "weights"
    return None


def _holds_pickle(path: Path) -> bool:
    """Whether it is an archive with a pickle, as PyTorch writes it."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("data.pkl") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError, NotImplementedError):
        return False


def _folder_kind(folder: Path) -> Kind | None:
    trained = any(DECODER_NAME.fullmatch(path.name) for path in folder.glob("model-*.safetensors"))
    config = os.path.lexists(folder / CONFIG)
    if trained and (not config or (folder / RUN_RECORD).exists()):
        return "run"
    marks = ("*.safetensors*", "*.bin", "*.h5", "*.msgpack", "adapter_config.json")
    if config or any(True for mark in marks for _ in folder.glob(mark)):
        return "folder"
    return None
