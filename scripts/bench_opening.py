"""Measures the memory that opening a made folder takes, against the weights that it keeps."""

import dataclasses
import resource
import tempfile
import threading
import time
from pathlib import Path

import tyro
from large_folder import gigabyte, write_folder


@dataclasses.dataclass(frozen=True)
class Settings:
    """Opens a random LLaMA-shaped folder in bf16; a minute."""

    layers: int = 10
    """Number of layers; 10 make a gigabyte."""
    dtype: str | None = None
    """Of the weights in memory; the file's if absent."""


def main(settings: Settings) -> None:
    """Makes the folder, opens it and prints the peak of anonymous memory."""
    with tempfile.TemporaryDirectory() as name:
        folder = write_folder(Path(name), gigabyte(settings.layers))
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


if __name__ == "__main__":
    main(tyro.cli(Settings))
