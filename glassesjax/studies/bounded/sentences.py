"""What the rows of a bounded run say, in sentences."""

from collections.abc import Iterator

from glassesjax.studies.bounded.summary import BoundedSummary, RunsSummary, TextSummary


def headline(summary: BoundedSummary) -> str:
    """The run in a line, its numbers first.

    Args:
      summary: Of the run.

    Returns:
      In how many cases runs of n and n + 1 have collapsed, and what evicted tokens carry.
    """
    parts = summary.passes.phrases()
    if summary.known:
        count = f"{summary.collapsed} of {summary.known} cases (policy, family)"
        parts.append(f"{count} have collapsed at the longest n")
    carried = [
        f"{text.panel.positions}, {text.panel.state} {text.evicted.share:.1%}"
        for text in summary.texts
        if text.evicted.tokens and not text.not_finite
    ]
    if carried:
        parts.append(f"influence of tokens that no layer has cached: {', '.join(carried)}")
    return "; ".join(parts) or "no token is evicted"


def bounded_headlines(summary: BoundedSummary) -> list[str]:
    """What the rows say.

    Args:
      summary: Of the run.

    Returns:
      Sentences.
    """
    return [
        *summary.passes.sentences(),
        *_collapse(summary),
        *map(_influence, summary.texts),
        *map(_capital, summary.violations),
    ]


def _capital(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _collapse(summary: BoundedSummary) -> Iterator[str]:
    groups: dict[tuple[str, str], list[str]] = {}
    for runs in summary.runs:
        panel = runs.panel
        groups.setdefault((panel.positions, panel.family), []).append(
            f"{panel.state} {_ends(runs)}"
        )
    for (positions, family), ends in groups.items():
        yield f"Positions {positions}, {family}: {'; '.join(ends)}."


def _ends(runs: RunsSummary) -> str:
    if runs.not_finite:
        return f"is not finite, in {runs.not_finite} of {runs.lengths} lengths"
    if runs.equal_from is None:
        return f"differs by {runs.distance:.2g} at n = {runs.last}"
    least = f" (must from {runs.must_from})" if runs.must_from is not None else ""
    return f"equal from n = {runs.equal_from}{least}"


def _influence(text: TextSummary) -> str:
    panel = text.panel
    if text.not_finite:
        count = f"{text.not_finite} of {text.tokens} tokens"
        return f"Positions {panel.positions}, {panel.state}: not finite, in {count}."
    largest = "".join(
        f"; of those in no layer {token!r} at {position} has the most ({share:.1%})"
        for position, token, share in text.largest[:1]
        if text.one_leads
    )
    return (
        f"Positions {panel.positions}, {panel.state}: {text.evicted.tokens} of {text.tokens} tokens"
        f" are in no layer any more, and carry {text.evicted.share:.1%} of the squared influence;"
        f" {text.without_path} have no path left; the first token has {text.first_share:.1%}, the"
        f" last {text.last_share:.1%}{largest}."
    )
