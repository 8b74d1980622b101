"""The ledger's page: every claim with its formula, its numbers and what breaks it."""

import importlib.resources
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from glassesjax.report.document import document, glossary, origin
from glassesjax.report.formulas import formula, prose
from glassesjax.report.markup import Markup, bullets, element, escape, fold, table
from glassesjax.report.numbers import MISSING, decimal, short
from glassesjax.runs.run import Run
from proofs_numeric.claim import Claim
from proofs_numeric.verify import words
from proofs_numeric.verify.records import MeasurementRow, VerifyConstants, VerifyRow
from proofs_numeric.verify.sentences import (
    claim_sentences,
    counter_case_words,
    counter_sentence,
    hypotheses_words,
    measured_hypotheses,
    ratio,
    verdict_words,
    violation_line,
)
from proofs_numeric.verify.summary import ClaimRows, ClaimSummary, VerifySummary, by_claim

STYLE = importlib.resources.files("proofs_numeric.verify") / "page.css"


class Entry(NamedTuple):
    """What the page shows of a claim."""

    claim: Claim
    summary: ClaimSummary
    rows: ClaimRows
    drawing: str
    """The ``svg`` element of its figure; empty where it has none."""


def ledger_page(
    run: Run[VerifyRow, VerifyConstants],
    summary: VerifySummary,
    claims: Sequence[Claim],
    drawings: Mapping[str, str],
) -> str:
    """One self-contained page on the ledger.

    Args:
      run: Its settings and where it was made are shown as they are.
      summary: What it comes down to.
      claims: Those with rows, in the order of the ledger.
      drawings: The ``svg`` element of each claim that has a ladder, by the claim's name.

    Returns:
      An HTML document without scripts or outside resources. The same rows give the same text.

    Raises:
      ValueError: A formula cannot be rendered.
    """
    rows = by_claim(run.rows)
    entries = [
        Entry(each, summary.claims[each.name], rows[each.name], drawings.get(each.name, ""))
        for each in claims
    ]
    body = element(
        "main",
        _header(summary, run.constants.suite),
        _tiles(summary),
        _wrong([violation_line(each) for each in summary.violations]),
        _index(entries),
        *(_kind(kind, entries) for kind in words.KINDS),
        _editorial(),
        glossary(words.GLOSSARY),
        element("section", element("h2", "Methods"), bullets(words.METHODS, "says")),
        origin(run.settings, run.made),
        element("footer", "Made by glassesjax from the rows of this run; every number is theirs."),
    )
    return document("The ledger: does it hold?", body, STYLE)


def _header(summary: VerifySummary, suite: str) -> Markup:
    counts = (
        f"{summary.measured} of {summary.total} claims",
        f"{summary.measurements} measurements",
        f"suite {suite}",
    )
    return element(
        "header",
        element("p", "glassesjax · numerical proofs", class_="kicker"),
        element("h1", "The ledger: does it hold, and what breaks it?"),
        *(element("p", sentence, class_="lead") for sentence in words.LEAD),
        element("p", " · ".join(counts), class_="facts"),
    )


def _tiles(summary: VerifySummary) -> Markup:
    each = {
        "claims stand: they hold, and their counter-cases fail": summary.standing,
        "claims were attacked by gradient ascent": summary.attacked,
        "claims are certified in ball arithmetic": summary.certified,
    }
    standing, *others = (_tile(count, summary.measured, text) for text, count in each.items())
    fail = _tile(summary.failing, summary.counter_cases, "counter-cases fail, as they must")
    return element("ul", standing, fail, *others, class_="tiles")


def _tile(count: int, total: int, text: str) -> Markup:
    figure = element("b", str(count), " ", element("small", f"of {total}"))
    return element("li", figure, element("span", text))


def _wrong(lines: Sequence[str]) -> Markup:
    if not lines:
        return element("p", element("span", "The ledger stands", class_="holds all"))
    count = f"{len(lines)} thing{'s' * (len(lines) > 1)} in the ledger not as it must be"
    badge = element("p", element("span", count, class_="holds none"))
    return Markup(badge + bullets(lines, "wrong"))


def _index(entries: Sequence[Entry]) -> Markup:
    # What a reader looks for stands first: a narrow screen shows two or three columns.
    heads = "claim", "verdict", "counter-case", "what it says", "tightness", "ascent", "held"
    body = table([*heads, "certified", "source"], [_index_line(entry) for entry in entries])
    title = element("h2", "All claims")
    return element("section", title, body, class_="index")


def _index_line(entry: Entry) -> list[object]:
    claim, summary = entry.claim, entry.summary
    return [
        element("a", claim.name, href=f"#{_anchor(claim)}"),
        _mark(summary.verdict == "holds", verdict_words(summary)),
        _mark(summary.counter_case == "fails", _fails(summary)),
        prose(claim.title),
        ratio(summary.tightness),
        ratio(summary.ascent.tightness if summary.ascent else None),
        f"{summary.held} of {summary.tried}",
        "yes" if summary.certified else MISSING,
        claim.source,
    ]


def _mark(good: bool, text: str) -> Markup:
    return element("span", text, class_="good" if good else "bad")


def _fails(summary: ClaimSummary) -> str:
    return (summary.counter_case or "cut_off").replace("_", " ")


def _anchor(claim: Claim) -> str:
    return f"claim-{claim.name}"


def _kind(kind: str, entries: Sequence[Entry]) -> Markup:
    mine = [entry for entry in entries if entry.claim.kind == kind]
    if not mine:
        return Markup()
    title, text = words.KINDS[kind]
    return element("section", element("h2", title), element("p", text), *map(_claim, mine))


def _claim(entry: Entry) -> Markup:
    claim, summary = entry.claim, entry.summary
    assumes = [element("li", prose(text)) for text in claim.assumes]
    cases = [counter_sentence(row) for row in entry.rows.part("counter_case")]
    return element(
        "section",
        element("h3", prose(claim.title)),
        element("p", f"{claim.source} · ", element("code", claim.name), class_="facts"),
        formula(claim.statement),
        element("p", "Presumes:") if assumes else "",
        element("ul", *assumes, class_="says") if assumes else "",
        element("p", prose(claim.note)) if claim.note else "",
        _badges(summary),
        bullets(claim_sentences(summary), "says"),
        element("p", "Without a hypothesis:"),
        bullets(cases, "says"),
        _drawing(claim, entry.drawing),
        fold(f"Rows ({summary.rows})", element("div", _rows(entry.rows), class_="rows")),
        class_="claim",
        id=_anchor(claim),
    )


def _badges(summary: ClaimSummary) -> Markup:
    verdict, case = verdict_words(summary), _fails(summary)
    state = {"holds": "all", "violated": "none"}.get(verdict, "other")
    fails = "all" if case == "fails" else "none"
    badges = [
        element("span", verdict, class_=f"holds {state}"),
        element("span", f"counter-case {case}", class_=f"holds {fails}"),
    ]
    if summary.certified:
        badges.append(element("span", "certified in ball arithmetic", class_="holds all"))
    return element("div", *badges, class_="badges")


def _drawing(claim: Claim, drawing: str) -> Markup:
    if not drawing:
        return Markup()
    label = escape(f"{claim.title}: measured and bound against {claim.climbs}")
    svg = drawing.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
    return element("figure", Markup(svg), element("figcaption", words.LADDER_CAPTION))


def _rows(rows: ClaimRows) -> Markup:
    heads = "setting", "part", "measured", "bound", "at least", "rounding", "tightness"
    more = "verdict", "counter-case", "hypotheses as measured"
    return table([*heads, *more], [_row(row) for row in rows.measured])


def _row(row: MeasurementRow) -> list[object]:
    return [
        row.setting,
        row.part.replace("_", "-"),
        decimal(row.measured),
        decimal(row.bound),
        MISSING if row.floor is None else short(row.floor),
        decimal(row.roundoff),
        ratio(row.tightness),
        row.verdict.replace("_", " "),
        counter_case_words(row),
        measured_hypotheses(row) or hypotheses_words(row),
    ]


def _editorial() -> Markup:
    text = "Slips in the paper with nothing to measure, numbered as the errata above."
    title = element("h2", "Errata without a number to check")
    return element("section", title, element("p", text), bullets(words.EDITORIAL, "says"))
