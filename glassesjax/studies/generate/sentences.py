"""What the rows of a generate run say in plain sentences."""

from glassesjax.report.numbers import MISSING, short
from glassesjax.studies.generate.summary import GenerateSummary, PromptSummary, StateSummary

ENDED = {
    "length": "the length asked for was reached",
    "token": "the model ended it",
    "text": "a stop string ended it",
}


def headline(summary: GenerateSummary) -> str:
    """The run in a line, its numbers first.

    Args:
      summary: Of the run.

    Returns:
      The size of the state, and of the full one where it was written from beside.
    """
    own, full = summary.own, summary.full
    beside = f", {size(full.bytes)} of the full one" if full else ""
    state = f"{size(own.bytes)} of state for {own.policy} with {own.slots} slots{beside}"
    return "; ".join([*summary.passes.phrases("written tokens"), state])


def generate_headlines(summary: GenerateSummary) -> list[str]:
    """A few sentences on the whole run, with their numbers.

    Args:
      summary: Of the run.

    Returns:
      Plain text on memory, on what is still cached, and on agreement with the full state.
    """
    several = len(summary.prompts) > 1
    each = [
        f"Text {prompt.number}: {line}" if several else line
        for prompt in summary.prompts
        for line in _of_prompt(prompt)
    ]
    return [*summary.passes.sentences("written tokens"), _memory(summary), *each]


def size(count: int) -> str:
    """Bytes in the unit that suits them."""
    value, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.0f} {unit}" if value >= 100 or unit == "B" else f"{value:.1f} {unit}"


def rate(state: StateSummary) -> str:
    """New tokens a second, where enough were written to tell."""
    value = state.tokens_per_second
    return MISSING if value is None else short(value)


def _memory(summary: GenerateSummary) -> str:
    own, full = summary.own, summary.full
    text = f"The state of {own.policy} has {own.slots} slots a layer, {size(own.bytes)}"
    if full is None or summary.full_over_own is None:
        return f"{text} a text."
    times = short(summary.full_over_own)
    room = f"with room for all {full.slots} tokens it would take {size(full.bytes)}"
    return f"{text} a text; {room}, {times} times that."


def _of_prompt(prompt: PromptSummary) -> list[str]:
    own = prompt.texts[0]
    if own.not_finite:
        count = f"{own.not_finite} of {own.answer_tokens} tokens"
        return [f"The logits are not finite, in {count}: what was written is no choice."]
    why = why_ended(own.ended)
    lines = [
        f"{own.answer_tokens} tokens were written after {own.prompt_tokens}; {why}.",
        f"Of {own.read} tokens that were read, all layers still hold {own.retained_by_all} and"
        f" none holds {own.retained_by_none}.",
    ]
    if prompt.agreement is None:
        return lines
    some = f"the same {prompt.agreement} tokens, then another text"
    first = "the same text" if prompt.same else some
    return [*lines, f"With all tokens kept the model writes {first}."]


def why_ended(ended: str | None) -> str:
    """What ended a text, in words; a dash where its rows do not say."""
    return ENDED[ended] if ended else MISSING
