"""What rows record of prompts of a family of runs as text."""

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class PromptText:
    """The prompts as text; missing in rows of before it was recorded, whose texts were read so."""

    text_round_trips: bool
    """Whether the model's tokenizer makes exactly these tokens of the prompts' texts, the start
    apart."""
    token_characters: float
    """Characters of the longer prompt's text over its tokens, the start apart."""
