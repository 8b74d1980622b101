"""What the generate page shows, by the names of its template."""

from collections.abc import Mapping, Sequence
from typing import Any

from glassesjax.report.models import arithmetic_facts, model_name
from glassesjax.report.numbers import size_text
from glassesjax.report.render import Plot, answer, csv_text, page
from glassesjax.report.tokens import visible
from glassesjax.runs.run import Run
from glassesjax.studies.generate.charts import evictions, steps_shown
from glassesjax.studies.generate.records import AnswerToken, GenerateConstants, TokenRow
from glassesjax.studies.generate.summary import GenerateSummary
from glassesjax.studies.generate.texts import Texts


def headline(summary: GenerateSummary) -> str:
    """The run in a line."""
    return answer("glassesjax.studies.generate", summary)


def generate_page(
    run: Run[TokenRow, GenerateConstants],
    summary: GenerateSummary,
    texts: Texts,
    figures: Mapping[str, Plot],
) -> str:
    """One self-contained page on a generate run.

    Returns:
      An HTML document without references to anything outside it. The same rows give the same text.
    """
    constants = run.constants
    model, own = model_name(constants.model), summary.own
    positions = [f"positions {own.position_ids}"] if own.position_ids != "original" else []
    prompts = []
    for at, prompt in enumerate(summary.prompts):
        # Of two answers that are the same no token is marked as the first that differs.
        differs = None if prompt.same else prompt.agreement
        columns = []
        for state, written in zip(summary.states, prompt.texts, strict=True):
            text = texts(state.policy, at)
            columns.append(
                {
                    "state": state,
                    "cut": written.prompt_cut,
                    "prompt": _tokens(text.prompt[written.prompt_cut :]),
                    "answer": _tokens(text.answer, differs),
                }
            )
        prompts.append({"summary": prompt, "columns": columns})
    return page(
        "glassesjax.studies.generate",
        run=run,
        summary=summary,
        model=model,
        facts=[
            constants.weights or model,
            own.policy,
            f"layers: {constants.num_layers}",
            f"prompt read {constants.mode}",
            f"temperature {constants.temperature:g}" if constants.temperature else "greedy",
            *arithmetic_facts(constants.dtype, constants.rounding),
            *positions,
        ],
        size=size_text,
        num_layers=constants.num_layers,
        prompts=prompts,
        figures=figures,
        steps=steps_shown(summary),
        counts={"id": "cached", "csv": csv_text(values(texts, summary))},
        policy_pairs=[(each.policy, each.policy) for each in summary.states],
    )


def values(texts: Texts, summary: GenerateSummary) -> list[dict[str, Any]]:
    """What the slider reads: of each text how many tokens are cached after a position."""
    rows = []
    for at in range(texts.count):
        first, last = evictions(texts(summary.own.policy, at))
        for step in steps_shown(summary):
            end = min(step, len(first) - 1)  # of a shorter text
            by_all, by_none = (first[: end + 1] > end).sum(), (last[: end + 1] <= end).sum()
            rows.append({"position": step, "text": at + 1, "by_all": by_all, "by_none": by_none})
    return rows


def _tokens(rows: Sequence[TokenRow], differs: int | None = None) -> list[dict[str, Any]]:
    """Tokens as they are shown; a part of a character is shown by the token that completes it."""
    tokens = []
    for row in rows:
        # The end token is no text, and is shown by its name.
        ends = isinstance(row, AnswerToken) and row.ended == "token"
        text = row.text or (row.token_text if ends else "")
        parts = isinstance(row, AnswerToken) and row.step == differs
        if text or parts:
            # Spaces as such, and a line break behind its sign.
            shown = visible(text).replace("␣", " ").replace("⏎", "⏎\n")
            tokens.append({"row": row, "text": shown, "parts": parts})
    return tokens
