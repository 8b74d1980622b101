"""What the last token of a decoder-only Transformer can still see.

``model`` opens or builds a decoder, ``trace`` turns it into arrays, ``theory`` holds the papers'
statements on arrays, ``cache`` bounds what a decoder remembers, ``precision`` has the number
formats, ``tasks`` the prompts. Each is imported where it is first named.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from glassesjax import cache as cache
    from glassesjax import model as model
    from glassesjax import precision as precision
    from glassesjax import tasks as tasks
    from glassesjax import theory as theory
    from glassesjax import trace as trace
    from glassesjax.errors import BadInput as BadInput
    from glassesjax.model import Decoder as Decoder
    from glassesjax.model import DecoderConfig as DecoderConfig
    from glassesjax.model import Layout as Layout
    from glassesjax.model.pretrained import LanguageModel as LanguageModel
    from glassesjax.model.pretrained import open_model as open_model
    from glassesjax.precision import FloatFormat as FloatFormat
    from glassesjax.precision import RoundingPlan as RoundingPlan
    from glassesjax.precision import float_format as float_format

_PACKAGES = ("cache", "model", "precision", "tasks", "theory", "trace")
_HOMES = {
    "BadInput": "errors",
    "Decoder": "model",
    "DecoderConfig": "model",
    "Layout": "model",
    "LanguageModel": "model.pretrained",
    "open_model": "model.pretrained",
    "FloatFormat": "precision",
    "RoundingPlan": "precision",
    "float_format": "precision",
}


def __getattr__(name: str) -> object:
    """A package, or a public name out of one.

    The command can answer an interrupt before JAX is imported, which takes seconds.
    """
    if name in _PACKAGES:
        return import_module(f"{__name__}.{name}")
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_PACKAGES, *_HOMES})
