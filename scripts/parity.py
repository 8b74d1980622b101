"""Compares models of every family with transformers: logits, cached decoding, tokens.

Each case is a fresh random model, saved as users have it in two dialects of its configuration, in
one file or in parts, and as a GGUF file where the format has a place for all of it. Logits must
agree to 1e-4 of the largest of their row, with the same token first at every position; decoding
token by token with our cache must equal our full pass to the same share. Exit status 1 if one does
not. With ``accelerate`` installed, GGUF files are also compared with what transformers reads.
"""

import dataclasses
import importlib.util
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import gguf
import jax
import jax.numpy as jnp
import numpy as np
import torch
import tyro
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "model"))
from made_conversions import NotInGguf, converted
from made_tokenizers import AWKWARD, CONFIGS, KINDS, folder_of
from parity_models import CASES, TOKENS, made, saved

from glassesjax import open_model
from glassesjax.cache import policy, replay
from glassesjax.model import Decoder
from glassesjax.model.folder_tokenizer import tokenizer_from_folder

PEERS = ("llama", "qwen2", "bloom")  # whose keys it reads
SHARE = 1e-4  # of the largest logit of a row


@dataclasses.dataclass(frozen=True)
class Settings:
    """Compares random models of every family with transformers."""

    seeds: tuple[int, ...] = (0, 1)
    """Of the weights and the texts."""
    length: int = 30
    """Tokens of each text."""
    only: tuple[str, ...] = tuple(CASES)
    """Which cases."""


class Difference(NamedTuple):
    """How far one model is from its peer, relative to the largest logit of each row."""

    full: float
    """The full pass."""
    cached: float
    """Decoding with a cache against our full pass."""
    first: bool
    """Whether the same token is first in every row."""
    file: float | None
    """The full pass of the GGUF file; None where the format has no place for the model."""
    peer: float | None
    """The same, of ours against transformers on that file; None where it does not read it."""

    @property
    def agrees(self) -> bool:
        """Whether all of it is within the share; NaN is not."""
        files = all(each is None or each <= SHARE for each in (self.file, self.peer))
        return self.first and self.full <= SHARE and self.cached <= SHARE and files


@jax.jit
def _logits(decoder: Decoder, tokens: jax.Array) -> jax.Array:
    return decoder.logits(decoder(tokens)[0])


def compared(name: str, seed: int, length: int, folder: Path, older: bool) -> Difference:
    """One case, saved into a folder.

    Args:
      name: A key of ``CASES``.
      seed: Of weights and text.
      length: Tokens of the text.
      folder: New; it is left there.
      older: Whether the configuration is in the older dialect, and the weights in parts.
    """
    model = made(name, seed)
    tokens = np.random.default_rng(seed).integers(0, TOKENS, length).astype(np.int32)
    with torch.no_grad():
        theirs = model(torch.tensor(tokens[None].astype(np.int64))).logits[0].numpy()
    saved(model, folder, older=older, parts=older)
    decoder = open_model(folder).decoder
    ours = np.asarray(_logits(decoder, jnp.asarray(tokens)))
    cached = np.asarray(replay(decoder, tokens, policy("full"), slots=length).logits)
    apart = lambda x, y: float(np.max(np.max(abs(x - y), axis=1) / np.max(abs(y), axis=1)))
    first = bool(np.all(np.argmax(ours, axis=1) == np.argmax(theirs, axis=1)))
    file = peer = None
    if not older and (path := gguf_of(folder)) is not None:
        of_file = np.asarray(_logits(open_model(path).decoder, jnp.asarray(tokens)))
        file = apart(of_file, theirs)
        if (read := peer_logits(path, tokens)) is not None:
            peer = apart(of_file, read)
    return Difference(apart(ours, theirs), apart(cached, ours), first, file, peer)


def gguf_of(folder: Path) -> Path | None:
    """A GGUF file of a folder's model, by the package's own writer; None where it has no place."""
    config = json.loads((folder / "config.json").read_text())
    tensors = load_file(folder / "model.safetensors")
    try:
        pairs, arrays = converted(config, tensors)
    except NotInGguf:
        return None
    path = folder.with_suffix(".gguf")
    writer = gguf.GGUFWriter(path, pairs.pop("general.architecture"))
    add = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32}
    add |= {str: writer.add_string, list: writer.add_array}
    for key, value in pairs.items():
        add[type(value)](key, value)
    for name, array in arrays.items():
        writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def peer_logits(path: Path, tokens: np.ndarray) -> np.ndarray | None:
    """Logits of transformers on a GGUF file; None where it does not read it, or not all of it."""
    record = gguf.GGUFReader(path).fields
    name = record["general.architecture"].contents()
    # It ignores the scale and the pattern of windows, biases, and all scalings of rotations.
    ignored = ("attention.scale", "sliding_window_pattern", "rope.scaling", "softcapping")
    tensors = [tensor.name for tensor in gguf.GGUFReader(path).tensors]
    if importlib.util.find_spec("accelerate") is None:  # which transformers needs for it
        return None
    if name not in PEERS or any(part in key for key in record for part in ignored):
        return None
    if any("rope" in tensor for tensor in tensors) or (
        name == "llama" and any(tensor.endswith("bias") for tensor in tensors)
    ):
        return None
    model = AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32, attn_implementation="eager"
    )
    with torch.no_grad():
        return model(torch.tensor(tokens[None].astype(np.int64))).logits[0].numpy()


def texts_apart(root: Path) -> Iterator[str]:
    """Texts whose tokens are not those of transformers, by kind of tokenizer."""
    for kind in KINDS:
        folder = folder_of(root / kind, kind, bos_token=CONFIGS[kind]["bos_token"] and "<bos>")
        theirs, ours = AutoTokenizer.from_pretrained(folder), tokenizer_from_folder(folder)
        for text in AWKWARD:
            got, wanted = list(ours.encode(text)), theirs(text)["input_ids"]
            if got != wanted:
                yield f"{kind} {text!r}: {got} for {wanted}"


def main(settings: Settings) -> int:
    """Prints a row a case, and returns the exit status."""
    wrong = []
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        print(
            f"{'case':30} {'dialect':8} seed  full pass  cached  same first token  GGUF  peer on it"
        )
        for case in settings.only:
            for seed in settings.seeds:
                for older in (False, True):
                    folder = root / f"{list(CASES).index(case)}-{seed}-{older}"
                    found = compared(case, seed, settings.length, folder, older)
                    dialect = "4, parts" if older else "5"
                    row = f"{case:30} {dialect:8} {seed:4}  {found.full:9.1e} {found.cached:7.1e}"
                    shares = [f"{each:.1e}" if each is not None else "-" for each in found[3:]]
                    print(row, "yes" if found.first else "no", *shares, flush=True)
                    wrong += [] if found.agrees else [f"{case}, seed {seed}, dialect {dialect}"]
        wrong += texts_apart(root)
    print(f"{len(wrong)} differ" if wrong else "All agree.")
    print(*wrong, sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Settings, description=__doc__)))
