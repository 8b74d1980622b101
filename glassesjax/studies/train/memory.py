"""Minimum memory of a training, checked before a decoder is made."""

import functools
from collections.abc import Iterator

from glassesjax.memory import check_memory
from glassesjax.model.weights import decoder_bytes
from glassesjax.studies.train.settings import TrainSettings

FLOAT = 4  # bytes of float32
COPIES = 3  # of each weight: itself, and the optimizer's two moments


def check_training(settings: TrainSettings) -> None:
    """Raises an error for a training that does not fit into memory.

    Raises:
      BadInput: The training states, a part of a batch, the steps of a call or the examples that are
        answered do not fit.
    """
    seed, data, model = settings.mesh
    for needed, what, parts in _needs(settings):
        check_memory(needed, what, "use less", parts=parts * seed * data * model if parts else 1)


_bytes = functools.lru_cache(maxsize=1024)(decoder_bytes)  # a sweep has many cells of one decoder


def _needs(settings: TrainSettings) -> Iterator[tuple[int, str, bool]]:
    """Bytes, what takes them, and whether they are divided over the devices of the mesh."""
    config, seeds = settings.config, settings.seeds
    sizes = f"--layers {config.num_layers} and --width {config.model_dim}"
    states = COPIES * seeds * _bytes(config)
    # They are made on one device, and divided then.
    yield states, f"{seeds} --seeds of decoders of {sizes}", False
    rows, row = seeds * settings.batch // settings.parts, settings.row
    what = f"a part of --batch {settings.batch} with --lengths up to {settings.lengths[1]}"
    # Scores over the vocabulary, and for the gradient what one layer attends to: of each row at
    # least the keys that stand before it.
    yield rows * row * (config.vocab_size + config.num_heads * row // 2) * FLOAT, what, True
    steps = seeds * min(settings.chunk, settings.steps)
    yield 3 * steps * FLOAT, f"what {steps} steps of a --chunk tell", False
    asked = settings.examples * settings.room * config.vocab_size * FLOAT
    what = f"scores of {settings.examples} --examples of {settings.room} tokens"
    yield asked, what, False
