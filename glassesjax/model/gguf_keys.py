"""A GGUF file's keys of its architecture: each is used, without effect, or refused by name."""

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np

from glassesjax.errors import BadInput, brief, escaped

Neutral = bool | int | float | str
# Keys that change the function of a model, with the one value that does not. Any other key that is
# not read is refused, since its meaning is unknown.
NEUTRAL: Mapping[str, Neutral] = {
    "attention.causal": True,
    "attention.clamp_kqv": 0,
    "attention.max_alibi_bias": 0,
    "attention.output_scale": 1,
    "attention.shared_kv_layers": 0,
    "attention.sliding_window": 0,
    "attention.temperature_length": 0,
    "attention.temperature_scale": 0,
    "attn_logit_softcapping": 0,
    "embedding_scale": 1,
    "expert_count": 0,
    "expert_group_count": 0,
    "expert_group_used_count": 0,
    "expert_shared_count": 0,
    "expert_used_count": 0,
    "final_logit_softcapping": 0,
    "leading_dense_block_count": 0,
    "logit_scale": 1,
    "nextn_predict_layers": 0,
    "pooling_type": 0,
    "residual_scale": 1,
    "rope.scaling.attn_factor": 1,
    "rope.scaling.yarn_attn_factor": 1,
    "rope.scaling.yarn_ext_factor": 1,
    "rope.scaling.yarn_log_multiplier": 0,
    "swin_norm": False,
    "use_parallel_residual": False,
}
# First parts of keys of files that are no model by themselves: changes of one, encoders of images
# or sounds, statistics for quantization.
PARTS = ("adapter", "clip", "imatrix")
NOTES = ("general", "split", "tokenizer")  # of keys that are read elsewhere
ARCHITECTURE = "general.architecture"


def contradiction(expected: str, got: str) -> BadInput:
    """The error for a file that no supported model has."""
    return BadInput(f"Expected a GGUF file with {expected}, got {got}: use another file.")


def check_beginnings(metadata: Mapping[str, Any], beginning: str, names: Collection[str]) -> None:
    """Refuses a key whose end is known and whose beginning is not: it would go unread.

    Args:
      metadata: A file's key-value pairs.
      beginning: Of keys, such as ``llama.``.
      names: What may be behind it.

    Raises:
      BadInput: There is one.
    """
    ends = tuple(names)
    for key in metadata:
        others = key.startswith(beginning) or key.partition(".")[0] in NOTES
        if not others and key.endswith(ends):
            raise contradiction(f"keys that begin with {beginning}", escaped(key))


class GgufKeys:
    """The keys of a file's architecture, with a note of those that were read.

    Attributes:
      architecture: Begin of the keys.
      shapes: Of the file's tensors, outermost axis first.
      constants: Names of tensors that were read as constants of the architecture.
    """

    def __init__(
        self,
        metadata: Mapping[str, Any],
        architecture: str,
        shapes: Mapping[str, tuple[int, ...]],
        read: Callable[[str], np.ndarray],
    ) -> None:
        self.architecture, self.shapes = architecture, shapes
        self.constants: set[str] = set()
        self._metadata, self._tensor, self._used = metadata, read, set[str]()
        self._known = set[str]()  # those that this architecture may have

    def name(self, key: str) -> str:
        """The key in the file."""
        return f"{self.architecture}.{key}"

    def __contains__(self, key: str) -> bool:
        self._known.add(key)
        return self.name(key) in self._metadata

    def value(self, key: str, default: Any = None) -> Any:  # noqa: ANN401
        """The value under a key, or the default."""
        self._known.add(key)
        self._used.add(key)
        return self._metadata.get(self.name(key), default)

    def count(self, key: str, default: int | None = None, *, least: int = 1) -> int:
        """A whole number."""
        return self._number(key, default, least, "whole number", int)

    def number(self, key: str, default: float | None = None, *, positive: bool = False) -> float:
        """A finite number; of float32, the shortest decimal that rounds to it.

        A whole number is none: where a file's type is damaged, its bits stand for another.
        """
        value = float(self._number(key, default, 0, "floating-point number", float))
        if positive and value == 0:
            raise contradiction(f"{self.name(key)} over 0", "0")
        return decimal(value)

    def flag(self, key: str, *, default: bool) -> bool:
        """True or false."""
        if not isinstance(value := self.value(key, default), bool):
            raise contradiction(f"{self.name(key)} true or false", brief(value))
        return value

    def same(self, key: str, wanted: int, what: str) -> None:
        """Refuses a number that contradicts another: readers differ in which one they believe."""
        if (got := self.count(key, wanted)) != wanted:
            raise contradiction(f"{self.name(key)} {what}", f"{got}")

    def constant(self, name: str, size: int) -> list[float] | None:
        """A vector of positive numbers that is no weight; None where the file has none."""
        if name not in self.shapes:
            return None
        self.constants.add(name)
        if (shape := self.shapes[name]) != (size,):
            raise contradiction(
                "tensors that fit its sizes", f"{list(shape)} for [{size}] in {name}"
            )
        values = self._tensor(name)
        if not np.all(values > 0):
            raise contradiction(f"positive numbers in {name}", brief(float(values.min())))
        return [decimal(value) for value in values.tolist()]

    def check_all_read(self, neutral: Mapping[str, Neutral]) -> None:
        """Refuses a key that was not read and may have an effect.

        Args:
          neutral: Values without effect of keys for which the architecture has others.

        Raises:
          BadInput: There is one, or one of a file that is no model by itself.
        """
        values = {**NEUTRAL, **neutral}
        check_beginnings(self._metadata, f"{self.architecture}.", self._known | values.keys())
        for key, value in self._metadata.items():
            family, _, name = key.partition(".")
            if family in PARTS:
                raise contradiction("a whole model", f"{escaped(key)} = {brief(value)}")
            if family != self.architecture or name in self._used:
                continue
            if name not in values:
                expected = f"keys of a plain {self.architecture} model"
                raise contradiction(expected, f"{escaped(key)} = {brief(value)}")
            # Of its type as well: true is not 1, though Python has them equal; 1.0 is.
            kind = str if isinstance(values[name], str) else int | float
            typed = isinstance(value, kind)
            typed &= isinstance(value, bool) == isinstance(values[name], bool)
            if not typed or value != values[name]:
                raise contradiction(f"{key} = {values[name]} or without it", brief(value))

    def _number(self, key: str, default: Any, least: int, kind: str, python: Any) -> Any:  # noqa: ANN401
        value = self.value(key, default)
        got = brief(value)
        if value is None:
            got = "none"
        elif isinstance(value, list | np.ndarray):  # of models whose layers differ
            got = "one for each layer, which is not supported"
        elif isinstance(value, python) and type(value) is not bool and least <= value < math.inf:
            return value
        raise contradiction(f"a {kind} {self.name(key)} of at least {least}", got)


def decimal(value: float) -> float:
    """The shortest decimal that rounds to a float32, if the number is one: 1e-05, not 9.99e-06."""
    with np.errstate(over="ignore"):  # of a number beyond float32, which is no float32
        narrow = np.float32(value)
    return float(str(narrow)) if float(narrow) == value else value
