"""A language model: a decoder with its tokenizer, and what is known before its weights are read."""

import dataclasses
from collections.abc import Callable, Mapping

from glassesjax.model.config import DecoderConfig
from glassesjax.model.decoder import Decoder
from glassesjax.model.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class LanguageModel:
    """A decoder with its tokenizer and where its weights come from.

    Attributes:
      name: As on the command line.
      decoder: Float32 weights.
      tokenizer: Text and symbols to token numbers.
      source: What identifies the weights, for provenance: flat and JSON-ready.
      seed: Which of several decoders of that name this is: of the toy, or of a run folder; None
        where the name has one decoder only.
    """

    name: str
    decoder: Decoder
    tokenizer: Tokenizer
    source: Mapping[str, str]
    seed: int | None = None

    @property
    def config(self) -> DecoderConfig:
        """Sizes and switches of the decoder."""
        return self.decoder.config

    @property
    def columns(self) -> dict[str, str | int | None]:
        """What each row says of the model: ``source`` and ``model_seed``, flat and JSON-ready."""
        return {**self.source, "model_seed": self.seed}


@dataclasses.dataclass(frozen=True)
class ModelHeader:
    """What a model says before a weight of it is read: enough to refuse what it cannot do.

    Attributes:
      name: As on the command line.
      config: Sizes and switches of its decoder.
      tokenizer: Text and symbols to token numbers.
      read: The model itself, with its weights: all the work there is.
    """

    name: str
    config: DecoderConfig
    tokenizer: Tokenizer
    read: Callable[[], LanguageModel]
