"""Measures the memory that opening a made folder takes, against the weights that it keeps."""

import dataclasses
import json
import resource
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import tyro


@dataclasses.dataclass(frozen=True)
class Settings:
    """Opens a random LLaMA-shaped folder in bf16; a minute."""

    layers: int = 24
    """Number of layers; 24 make about a gigabyte."""
    dtype: str | None = None
    """Of the weights in memory; the file's if absent."""


def main(settings: Settings) -> None:
    """Makes the folder, opens it and prints the peak of anonymous memory."""
    with tempfile.TemporaryDirectory() as name:
        folder = make(Path(name), settings.layers)
        import jax
        import jax.numpy as jnp

        from glassesjax import open_model
        from glassesjax.model import flat_parameters

        jnp.zeros(1).block_until_ready()
        open_model("toy")  # what is imported and compiled once
        peak, done = [anonymous()], threading.Event()
        before = peak[0]

        def watch() -> None:
            while not done.wait(0.002):
                peak[0] = max(peak[0], anonymous())

        watcher = threading.Thread(target=watch)
        watcher.start()
        start = time.perf_counter(), sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
        model = open_model(folder, dtype=settings.dtype)
        jax.block_until_ready(flat_parameters(model.decoder))
        wall = time.perf_counter() - start[0]
        cpu = sum(resource.getrusage(resource.RUSAGE_SELF)[:2]) - start[1]
        done.set()
        watcher.join()
        kept = sum(array.nbytes for array in flat_parameters(model.decoder).values())
        share = (peak[0] - before) / kept
        print(f"kept {kept / 1e9:.2f} GB, peak {share:.2f} x, {wall:.1f} s, {cpu:.1f} s of CPU")


def anonymous() -> int:
    """Anonymous memory of this process in bytes: pages of mapped files do not count."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


def make(folder: Path, layers: int) -> Path:
    """Writes a folder of a width of 2048, tensor by tensor."""
    dim, hidden, vocab = 2048, 5632, 32000
    config = {
        "model_type": "llama",
        "vocab_size": vocab,
        "hidden_size": dim,
        "intermediate_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": 32,
        "num_key_value_heads": 4,
        "max_position_embeddings": 2048,
        "tie_word_embeddings": True,
    }
    (folder / "config.json").write_text(json.dumps(config))
    shapes = {"model.embed_tokens": (vocab, dim), "model.norm": (dim,)}
    for layer in range(layers):
        at = f"model.layers.{layer}."
        attention = {"q": (dim, dim), "k": (256, dim), "v": (256, dim), "o": (dim, dim)}
        shapes |= {f"{at}self_attn.{name}_proj": shape for name, shape in attention.items()}
        mlp = {"gate": (hidden, dim), "up": (hidden, dim), "down": (dim, hidden)}
        shapes |= {f"{at}mlp.{name}_proj": shape for name, shape in mlp.items()}
        norms = ("input_layernorm", "post_attention_layernorm")
        shapes |= {f"{at}{name}": (dim,) for name in norms}
    header, at = {}, 0
    for name, shape in shapes.items():
        end = at + 2 * int(np.prod(shape))
        entry = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, end]}
        header[f"{name}.weight"], at = entry, end
    text, rng = json.dumps(header).encode(), np.random.default_rng(0)
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for shape in shapes.values():
            # The upper halves of small float32 numbers are bfloat16 numbers.
            numbers = rng.standard_normal(int(np.prod(shape)), np.float32) * np.float32(0.02)
            file.write((numbers.view(np.uint32) >> 16).astype("<u2").tobytes())
    return folder


if __name__ == "__main__":
    main(tyro.cli(Settings))
