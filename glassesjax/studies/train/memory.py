"""Minimum memory of a training, checked before a decoder is made."""

import functools

from glassesjax.memory import check_memory
from glassesjax.model.weights import decoder_bytes
from glassesjax.studies.train.settings import TrainSettings

FLOAT = 4  # bytes of float32
COPIES = 3  # of each weight: itself, and the optimizer's two moments


_bytes = functools.lru_cache(maxsize=1024)(decoder_bytes)  # a sweep has many cells of one decoder


def check_training(settings: TrainSettings) -> None:
    """Raises an error for a training that does not fit into memory.

    Raises:
      BadInput: The training states, a part of a batch, the steps of a call or the examples that are
        answered do not fit.
    """
    seed, data, model = settings.mesh
    config, seeds, row = settings.config, settings.seeds, settings.row
    sizes = f"--layers {config.num_layers} and --width {config.model_dim}"
    states = COPIES * seeds * _bytes(config)
    rows = seeds * settings.batch // settings.parts
    # Scores over the vocabulary, and for the gradient what one layer attends to: of each row at
    # least the keys that stand before it.
    batch = rows * row * (config.vocab_size + config.num_heads * row // 2) * FLOAT
    steps = seeds * min(settings.chunk, settings.steps)
    answers = settings.examples * settings.room * config.vocab_size * FLOAT
    for needed, what, parts in (
        # They are made on one device, and divided then.
        (states, f"{seeds} --seeds of decoders of {sizes}", 1),
        (
            batch,
            f"a part of --batch {settings.batch} with --lengths up to {settings.lengths[1]}",
            seed * data * model,
        ),
        (3 * steps * FLOAT, f"what {steps} steps of a --chunk tell", 1),
        (answers, f"scores of {settings.examples} --examples of {settings.room} tokens", 1),
    ):
        check_memory(needed, what, "use less", parts=parts)
