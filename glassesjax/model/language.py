"""A language model: a decoder with its tokenizer, and the header of one without weights."""

import dataclasses
from collections.abc import Callable, Mapping

from glassesjax.model.config import DecoderConfig
from glassesjax.model.decoder import Decoder
from glassesjax.model.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class LanguageModel:
    """A decoder with its tokenizer and the source of its weights.

    Attributes:
      name: As on the command line.
      decoder: Its weights in float32, or narrower and computed with in float32.
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
        """Columns of each row for the model: ``source`` and ``model_seed``, flat and JSON-ready."""
        return {**self.source, "model_seed": self.seed}


@dataclasses.dataclass(frozen=True)
class ModelHeader:
    """Settings and tokenizer of a model whose weights are not read yet, for validation.

    Attributes:
      name: As on the command line.
      config: Sizes and switches of its decoder.
      tokenizer: Text and symbols to token numbers.
      read: Function that reads the weights and returns the model.
      itemsize: Bytes of a weight in memory.
    """

    name: str
    config: DecoderConfig
    tokenizer: Tokenizer
    read: Callable[[], LanguageModel]
    itemsize: int = 4
