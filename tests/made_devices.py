"""A process with four CPU devices: commands on one of them and on all, and refusals.

Argument: an empty folder. Run folders are ``NAME-DEVICES`` in it; ``ended.json`` has the exit
statuses, the lines of refusals and the shares of weights that the first device holds.
"""

import contextlib
import io
import json
import os
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from model import made_folders
from model.made_gguf import llama_file
from model.made_tokenizers import folder_of
from studies.made_diverged import saved_pair
from studies.made_reader import made_verses

from glassesjax import open_model
from glassesjax.cli import run
from glassesjax.model import flat_parameters
from glassesjax.model.opening import open_one
from glassesjax.studies.recall import measure as recall
from glassesjax.studies.retention.settings import RetentionSettings

ROWS = 420  # more than tokens, as usual; four devices divide them
CACHE = "--max-tokens 8 --slots 4 --policies"
# By name: the verb, its model, and its flags.
CASES = {
    "collapse": "collapse toy --families ones --lengths 1 4 --formats bf16 --positions rotary",
    "bounded": "bounded toy --lengths 2 4 --max-tokens 6 --slots 4 --policies full tova"
    " --positions none --method exact --format f32",
    "influence": "influence TRAINED --max-tokens 6 --passages 1 --method exact",
    "perplexity": f"perplexity TRAINED {CACHE} full short tova",
    "retention": f"retention toy {CACHE} tova h2o",
    "generate": "generate GGUF --prompt ab abc --slots 4 --max-tokens 4 --save STATE",
    "resumed": "generate GGUF --resume STATE --slots 4 --max-tokens 2",
    "longform": f"longform toy {CACHE} h2o --samples 2",
    "recall": "recall FOLDER --tasks verse --lengths 400 --depths 0 --items 1 --words 2"
    " --policies full tova --slots 90",
}


def text_folder(path):
    """A folder of a random decoder that reads any text."""
    rng = np.random.default_rng(3)
    tensors = made_folders.llama_tensors()
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        tensors[name] = rng.normal(size=(ROWS, 8)).astype(np.float32)
    config = {**made_folders.LLAMA, "vocab_size": ROWS, "max_position_embeddings": 2048}
    return folder_of(made_folders.folder(path, config, tensors), "qwen3")


def held(model):
    """By weight the share of it that the first device holds, of a model opened over four."""
    decoder = open_one(RetentionSettings(model=model, devices=4), "none").read().decoder
    return {
        name: array.addressable_shards[0].data.size / array.size
        for name, array in flat_parameters(decoder).items()
    }


def called(words):
    """Exit status and lines of a command."""
    text = io.StringIO()
    with contextlib.redirect_stderr(text), contextlib.redirect_stdout(io.StringIO()):
        status = run(words)
    return status, text.getvalue().splitlines()


def main(out):
    """Runs all."""
    Figure.savefig = lambda figure, file, **options: file.write("<svg></svg>")
    recall.king_james_verses = made_verses
    saved_pair(out / "trained")
    llama_file(out / "text.gguf")
    text_folder(out / "folder")
    models = {
        "TRAINED": out / "trained", "GGUF": out / "text.gguf", "FOLDER": out / "folder",
    }  # fmt: skip
    ended = {}
    for name, line in CASES.items():
        for devices in (1, 4):
            # A state goes on with the other number of devices.
            saved = 5 - devices if name == "resumed" else devices
            places = {**models, "STATE": out / f"state-{saved}.npz"}
            words = [str(places.get(word, word)) for word in line.split()]
            words += ["--devices", str(devices), "--out", str(out / f"{name}-{devices}")]
            ended[f"{name}-{devices}"] = called(words)
    again = ["retention", "toy", *CASES["retention"].split()[2:], "--devices"]
    ended["another"] = called([*again, "1", "--out", str(out / "retention-4")])
    ended["five"] = called([*again, "5", "--out", str(out / "five")])
    del os.environ["OPENBLAS_NUM_THREADS"]
    ended["threads"] = called([*again, "4", "--out", str(out / "threads")])
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    shares = {name: held(str(path)) for name, path in {"toy": "toy", **models}.items()}
    shares["one"] = {
        name: array.addressable_shards[0].data.size / array.size
        for name, array in flat_parameters(open_model("toy").decoder).items()
    }
    (out / "ended.json").write_text(json.dumps({"ended": ended, "held": shares}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
