"""The ledger's page: every claim with its formula, its numbers and what breaks it."""

import importlib.resources
from collections.abc import Mapping, Sequence

from glassesjax.files import Row
from glassesjax.report.document import document, glossary, origin
from glassesjax.report.fields import number
from glassesjax.report.formulas import formula, prose
from glassesjax.report.markup import Markup, bullets, element, escape, fold, table
from glassesjax.report.numbers import MISSING, short
from proofs_numeric.claim import Claim
from proofs_numeric.verify import words
from proofs_numeric.verify.sentences import claim_sentences, counter_sentences, ratio
from proofs_numeric.verify.summary import Entry, entries
from proofs_numeric.verify.verdicts import violations

STYLE = importlib.resources.files("proofs_numeric.verify") / "page.css"


def ledger_page(
    rows: Sequence[Row],
    claims: Sequence[Claim],
    settings: Mapping[str, object],
    provenance: Mapping[str, object],
    *,
    drawings: Mapping[str, str],
    total: int,
) -> str:
    """One self-contained page on the ledger.

    Args:
      rows: Rows of the ledger.
      claims: In the order of the ledger; those without rows are not shown.
      settings: The run's settings, shown as they are.
      provenance: Where the rows were made, shown as it is.
      drawings: The ``svg`` element of each claim that has a ladder, by the claim's name.
      total: How many claims there are, with rows or without.

    Returns:
      An HTML document without scripts or outside resources. The same rows give the same text.

    Raises:
      ValueError: No row is of one of the claims, or a formula cannot be rendered.
    """
    listed = entries(rows, claims)
    if not listed:
        wanted = "Wanted rows of the ledger; found none of these claims"
        raise ValueError(f"{wanted}: run glassesjax verify first.")
    body = element(
        "main",
        _header(listed, total, settings),
        _tiles(listed, rows),
        _wrong(violations(rows)),
        _index(listed),
        *(_kind(kind, listed, drawings) for kind in words.KINDS),
        _editorial(),
        glossary(words.GLOSSARY),
        element("section", element("h2", "Methods"), bullets(words.METHODS, "says")),
        origin(settings, provenance),
        element("footer", "Made by glassesjax from the rows of this run; every number is theirs."),
    )
    return document("The ledger: does it hold?", body, STYLE)


def _header(listed: Sequence[Entry], total: int, settings: Mapping[str, object]) -> Markup:
    measured = sum(len(entry.rows) - 1 for entry in listed)
    counts = (f"{len(listed)} of {total} claims", f"{measured} measurements")
    suite = f"suite {settings['suite']}" if "suite" in settings else ""
    return element(
        "header",
        element("p", "glassesjax · numerical proofs", class_="kicker"),
        element("h1", "The ledger: does it hold, and what breaks it?"),
        *(element("p", sentence, class_="lead") for sentence in words.LEAD),
        element("p", " · ".join(filter(None, (*counts, suite))), class_="facts"),
    )


def _tiles(listed: Sequence[Entry], rows: Sequence[Row]) -> Markup:
    cases = [row for entry in listed for row in entry.part("counter_case")]
    fail = sum(row["counter_case"] == "fails as it must" for row in cases)
    climbed = sum(entry.ascent is not None for entry in listed)
    certified = sum(entry.closing.get("certified") is True for entry in listed)
    standing = sum(entry.stands for entry in listed)
    return element(
        "ul",
        _tile(standing, len(listed), "claims stand: they hold, and their counter-cases fail"),
        _tile(fail, len(cases), "counter-cases fail, as they must"),
        _tile(climbed, len(listed), "claims were attacked by gradient ascent"),
        _tile(certified, len(listed), "claims are certified in ball arithmetic"),
        class_="tiles",
    )


def _tile(count: int, total: int, said: str) -> Markup:
    figure = element("b", str(count), " ", element("small", f"of {total}"))
    return element("li", figure, element("span", said))


def _wrong(lines: Sequence[str]) -> Markup:
    if not lines:
        return element("p", element("span", "The ledger stands", class_="holds all"))
    count = f"{len(lines)} thing{'s' * (len(lines) > 1)} in the ledger not as it must be"
    badge = element("p", element("span", count, class_="holds none"))
    return Markup(badge + bullets(lines, "wrong"))


def _index(listed: Sequence[Entry]) -> Markup:
    # What a reader looks for stands first: a narrow screen shows two or three columns.
    heads = "claim", "verdict", "counter-case", "what it says", "tightness", "ascent", "held"
    body = table([*heads, "certified", "source"], [_index_line(entry) for entry in listed])
    title = element("h2", "All claims")
    return element("section", title, body, class_="index")


def _index_line(entry: Entry) -> list[object]:
    claim, closing = entry.claim, entry.closing
    return [
        element("a", claim.name, href=f"#{_anchor(claim)}"),
        _told(closing.get("verdict") == "holds", _verdict(entry)),
        _told(closing.get("counter_case") == "fails as it must", _bite(entry)),
        prose(claim.title),
        ratio(number(closing, "tightness")),
        ratio(number(entry.ascent, "tightness") if entry.ascent else None),
        f"{len(entry.held)} of {len(entry.tried)}",
        "yes" if closing.get("certified") else MISSING,
        claim.source,
    ]


def _told(good: bool, text: str) -> Markup:
    return element("span", text, class_="good" if good else "bad")


def _verdict(entry: Entry) -> str:
    return str(entry.closing.get("verdict", "cut off")).replace("_", " ")


def _bite(entry: Entry) -> str:
    bites = entry.closing.get("counter_case") == "fails as it must"
    return "fails" if bites else str(entry.closing.get("counter_case", "cut off"))


def _anchor(claim: Claim) -> str:
    return f"claim-{claim.name}"


def _kind(kind: str, listed: Sequence[Entry], drawings: Mapping[str, str]) -> Markup:
    mine = [entry for entry in listed if entry.claim.kind == kind]
    if not mine:
        return Markup()
    title, said = words.KINDS[kind]
    shown = [_claim(entry, drawings.get(entry.claim.name, "")) for entry in mine]
    return element("section", element("h2", title), element("p", said), *shown)


def _claim(entry: Entry, drawing: str) -> Markup:
    claim = entry.claim
    assumes = [element("li", prose(text)) for text in claim.assumes]
    return element(
        "section",
        element("h3", prose(claim.title)),
        element("p", f"{claim.source} · ", element("code", claim.name), class_="facts"),
        formula(claim.statement),
        element("p", "Presumes:") if assumes else "",
        element("ul", *assumes, class_="says") if assumes else "",
        element("p", prose(claim.note)) if claim.note else "",
        _badges(entry),
        bullets(claim_sentences(entry), "says"),
        element("p", "Without a hypothesis:"),
        bullets(counter_sentences(entry), "says"),
        _drawing(claim, drawing),
        fold(f"Rows ({len(entry.rows) - 1})", element("div", _rows(entry), class_="rows")),
        class_="claim",
        id=_anchor(claim),
    )


def _badges(entry: Entry) -> Markup:
    verdict = _verdict(entry)
    state = {"holds": "all", "violated": "none"}.get(verdict, "other")
    badges = [
        element("span", verdict, class_=f"holds {state}"),
        element(
            "span",
            f"counter-case {_bite(entry)}",
            class_=f"holds {'all' if _bite(entry) == 'fails' else 'none'}",
        ),
    ]
    if entry.closing.get("certified"):
        badges.append(element("span", "certified in ball arithmetic", class_="holds all"))
    return element("div", *badges, class_="badges")


def _drawing(claim: Claim, drawing: str) -> Markup:
    if not drawing:
        return Markup()
    label = escape(f"{claim.title}: measured and bound against {claim.climbs}")
    svg = drawing.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
    return element("figure", Markup(svg), element("figcaption", words.LADDER_CAPTION))


def _rows(entry: Entry) -> Markup:
    heads = "setting", "part", "measured", "bound", "at least", "rounding", "tightness"
    more = "verdict", "counter-case", "hypotheses as measured"
    lines = [_row(row) for row in entry.rows if row["part"] != "closing"]
    return table([*heads, *more], lines)


def _row(row: Row) -> list[object]:
    said = row["counter_case"] or MISSING
    floor = number(row, "floor")
    return [
        row["setting"],
        str(row["part"]).replace("_", "-"),
        short(number(row, "measured")),
        short(number(row, "bound")),
        MISSING if floor is None else short(floor),
        short(number(row, "roundoff")),
        ratio(number(row, "tightness")),
        str(row["verdict"]).replace("_", " "),
        said,
        row["hypotheses_measured"] or row["hypotheses"],
    ]


def _editorial() -> Markup:
    said = "Slips in the paper with nothing to measure, numbered as the errata above."
    title = element("h2", "Errata without a number to check")
    return element("section", title, element("p", said), bullets(words.EDITORIAL, "says"))
