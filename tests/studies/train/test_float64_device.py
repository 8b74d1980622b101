"""Passes of the trained decoders in float64 run where the backend's float64 is exact."""

import jax
import pytest

from glassesjax.model import Decoder
from glassesjax.precision import wide
from glassesjax.studies.train import pair_rows, ratio_rows
from glassesjax.studies.train.settings import TrainSettings
from glassesjax.tasks import named_format

TINY = {"layers": 1, "heads": 1, "width": 8, "lengths": (2, 4), "steps": 1, "batch": 1}


class MovedError(Exception):
    """Raised where a decoder is stored, with whether it was moved before."""


@pytest.mark.parametrize("task", ["count_ones", "count_mixed"])
def test_weights_are_moved_before_they_are_widened(task, monkeypatch):
    settings = TrainSettings(task=task, **TINY)
    decoder = jax.eval_shape(lambda: Decoder(settings.config, key=jax.random.key(0)))
    moved, module = [], pair_rows if task == "count_ones" else ratio_rows
    monkeypatch.setattr(module, "on_float64_device", lambda tree: moved.append(tree) or tree)
    # The CPU takes the place of both devices.
    monkeypatch.setattr(wide, "_fault", lambda backend: "whose float64 has fewer bits")

    def at(stored, plan):
        raise MovedError(stored, jax.config.jax_default_device)

    monkeypatch.setattr(Decoder, "at", at)
    run = {
        "count_ones": lambda: pair_rows.ask(settings, 0, decoder),
        "count_mixed": lambda: list(
            ratio_rows.ratio_rows(decoder, named_format("none"), (2, 4), 0, {})
        ),
    }[task]
    with pytest.raises(MovedError) as seen:
        run()
    stored, device = seen.value.args
    assert moved == [decoder]
    assert stored is decoder
    assert device == jax.devices("cpu")[0]  # of new arrays
