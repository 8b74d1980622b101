"""Families of prompt pairs whose last representations are compared.

A family gives for each length n a shorter and a longer prompt as tuples of symbols: digits, commas,
or the beginning-of-sequence mark. Each symbol is the token that it has in the model's vocabulary,
whatever the model's tokenizer makes of the joined text. The family ``ones_text`` is that text.
"""

import dataclasses
from collections.abc import Callable, Sequence

from glassesjax.errors import BadInput
from glassesjax.memory import check_memory

BOS = "<bos>"
SYMBOLS = (*"0123456789", ",", BOS)
POINTER = 8  # bytes that a tuple takes for each of its symbols

Prompt = tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Family:
    """A pair of prompts for each length.

    Attributes:
      name: As on the command line.
      title: As in a table.
      label: As at the end of a line, in a few letters.
      meaning: One sentence on what differs within a pair.
      make: From a length n (at least 1) and a seed to the shorter and the longer prompt.
      text: Whether the symbols are joined to a text, which the model's tokenizer splits.
    """

    name: str
    title: str
    label: str
    meaning: str
    make: Callable[[int, int], tuple[Prompt, Prompt]]
    text: bool = False

    def pair(self, length: int, seed: int) -> tuple[Prompt, Prompt]:
        """The shorter and the longer prompt of a length.

        Args:
          length: At least 1.
          seed: Seed of random digits.

        Returns:
          Both.

        Raises:
          BadInput: They do not fit into memory.
        """
        remedy = "use a lower --max-tokens, or shorter --lengths"
        # Before the tuples are made: symbols are shared, their places are not.
        check_memory(2 * POINTER * length, f"two prompts of {length} tokens", remedy)
        return self.make(length, seed)


def repeats_last_token(shorter: Sequence[object], longer: Sequence[object]) -> bool:
    """Whether the longer prompt is the shorter one with its last token repeated.

    This is the hypothesis of Theorem 4.2 on the two prompts.

    Args:
      shorter: One prompt, not empty, in tokens or symbols.
      longer: The other.

    Returns:
      True where the hypothesis holds.
    """
    return tuple(longer) == (*shorter, shorter[-1])


def run_family(name: str) -> Family:
    """The family of that name.

    Args:
      name: A key of ``FAMILIES``.

    Returns:
      The family.

    Raises:
      BadInput: There is no such family.
    """
    if name not in FAMILIES:
        expected = f"Expected a family of runs out of {', '.join(FAMILIES)}"
        raise BadInput(f"{expected}, got {name!r}: choose one.")
    return FAMILIES[name]


def _doubled(stream: Prompt) -> tuple[Prompt, Prompt]:
    return stream, (*stream, stream[-1])


def _doubled_digits(length: int, seed: int) -> tuple[Prompt, Prompt]:
    import numpy as np

    # Drawn one after another from one stream, so that shorter prompts are prefixes of longer ones.
    digits = np.random.default_rng(seed).integers(10, size=length)
    return _doubled(tuple(str(digit) for digit in digits))


def _grouped_from_start(length: int) -> Prompt:
    """A comma after every third one, the last group included."""
    return tuple("".join("1," if i % 3 == 2 else "1" for i in range(length)))


def _grouped_from_end(length: int) -> Prompt:
    """A comma before every third one counted from the end: the last group is always full."""
    return tuple("".join(",1" if i % 3 == 0 and i < length else "1" for i in range(length, 0, -1)))


FAMILIES = {
    family.name: family
    for family in (
        Family(
            "ones",
            "Ones",
            "ones",
            "n ones against n + 1 ones.",
            lambda n, seed: (("1",) * n, ("1",) * (n + 1)),
        ),
        Family(
            "ones_zero",
            "Ones, then a zero",
            "ones, then a zero",
            "n ones and a zero against n + 1 ones and a zero.",
            lambda n, seed: ((*("1",) * n, "0"), (*("1",) * (n + 1), "0")),
        ),
        Family(
            "ones_bos",
            "Start token, then ones",
            "start token, then ones",
            "The beginning-of-sequence token and n ones against the same with n + 1 ones.",
            lambda n, seed: ((BOS, *("1",) * n), (BOS, *("1",) * (n + 1))),
        ),
        Family(
            "doubled_digits",
            "Random digits, the last one repeated",
            "random digits",
            "n random digits against the same digits with the last one repeated.",
            _doubled_digits,
        ),
        Family(
            "alternating",
            "Alternating 1 0, the last one repeated",
            "alternating 1 0",
            "n alternating ones and zeros against the same with the last one repeated.",
            lambda n, seed: _doubled(tuple("10"[i % 2] for i in range(n))),
        ),
        Family(
            "separators_in_phase",
            "Ones with commas, in phase",
            "commas, in phase",
            "n against n + 1 ones, grouped by threes from the end: both sides end on the same full"
            " group, and the added one joins the first group, far from the last token.",
            lambda n, seed: (_grouped_from_end(n), _grouped_from_end(n + 1)),
        ),
        Family(
            "separators_confounded",
            "Ones with commas, shifted",
            "commas, shifted",
            "n against n + 1 ones, a comma after every third from the start, as in the paper: the"
            " added one also shifts the place of the last comma, so two things differ at once.",
            lambda n, seed: (_grouped_from_start(n), _grouped_from_start(n + 1)),
        ),
        Family(
            "ones_text",
            "Ones as a text",
            "ones as a text",
            "The text of n ones against that of n + 1, as the model's tokenizer splits it: n counts"
            " characters. Where several make one token, runs of tokens are shorter, and the last"
            " token changes with n.",
            lambda n, seed: (("1",) * n, ("1",) * (n + 1)),
            text=True,
        ),
    )
}
SYMBOL_FAMILIES = tuple(name for name, family in FAMILIES.items() if not family.text)
"""Those whose prompts are tokens of symbols, the same for every tokenizer."""
