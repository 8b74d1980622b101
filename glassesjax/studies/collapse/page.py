"""What the collapse page shows, by the names of its template."""

from collections.abc import Mapping, Sequence
from typing import Any

from glassesjax.report.models import model_name
from glassesjax.report.render import Plot, answer, page
from glassesjax.runs.constants import ModelConstants
from glassesjax.runs.run import Run
from glassesjax.studies.collapse import words
from glassesjax.studies.collapse.charts import Look, family_name
from glassesjax.studies.collapse.fits import has_exponent, is_flat
from glassesjax.studies.collapse.records import CollapseRow
from glassesjax.studies.collapse.summary import CollapseSummary, PanelSummary
from glassesjax.tasks.sequences import FAMILIES
from glassesjax.trace.decay import DecayFit


def headline(summary: CollapseSummary) -> str:
    """The run in a line."""
    return answer("glassesjax.studies.collapse", summary)


def collapse_page(
    run: Run[CollapseRow, ModelConstants],
    summary: CollapseSummary,
    look: Look,
    figures: Mapping[str, Plot],
) -> str:
    """One self-contained page on a collapse run.

    Returns:
      An HTML document that asks for nothing outside it. The same rows give the same text.
    """
    curves, known = look.curves, run.constants
    own = [each.format for each in summary.formats if each.differing]
    model = model_name(known.model)
    return page(
        "glassesjax.studies.collapse",
        run=run,
        summary=summary,
        model=model,
        facts=_facts(look, known, model),
        figure=figures["distance"],
        lengths=curves.lengths,
        formats=own,
        every=curves.formats,
        colors=look.colors,
        family_name=family_name,
        rail=_rail(look),
        outside=[each["family"] for each in values(look) if each["outside"]],
        table=_table(look),
        encodings=[(name, name.replace("_", " ")) for name in curves.positions],
        shown_format=look.format or summary.finest_format,
        panels=_panels(look, figures),
        families=[(name, FAMILIES[name].meaning) for name in curves.families if name in FAMILIES],
        positions=[words.POSITIONS[name] for name in curves.positions if name in words.POSITIONS],
        modes=[{"format": name, "mode": _mode(summary, name)} for name in own],
    )


def _facts(look: Look, known: ModelConstants, model: str) -> list[str]:
    curves = look.curves
    names = curves.positions
    title = f"{len(names)} positional encodings"
    if len(names) == 1:
        title = words.POSITIONS.get(names[0], (names[0], ""))[0]
    first, last = curves.lengths[0], curves.lengths[-1]
    span = (
        f"n = {first} to {last}, {len(curves.lengths)} lengths" if first < last else f"n = {last}"
    )
    families = f"prompt families: {len(curves.families)}"
    return [known.weights or model, title, families, span, " ".join(curves.formats)]


def _mode(summary: CollapseSummary, format: str) -> str:
    return next(each.mode for each in summary.select(format=format) if each.mode)


def values(look: Look) -> list[dict[str, Any]]:
    """The data behind the first figure: a row a length, family and encoding.

    Returns:
      Values by name; none for what is equal or not finite.
    """
    rows = []
    for positions in look.curves.positions:
        for panel in reversed(look.shown(positions)):
            family = panel.panel.family
            errors = {
                format: look.error(positions, family, format) for format in look.curves.formats
            }
            for point in panel.signal:
                distance = point.distance if point.drawable else None
                known = {f: errors[f].get(point.length) for f in look.curves.formats}
                rows.append(
                    {
                        "n": point.length,
                        "positions": positions,
                        "family": family,
                        "distance": distance,
                        "times": look.times_error(positions, family, point.length),
                        **{f"error_{format}": value for format, value in known.items()},
                        "color": look.colors[family],
                        "outside": panel.repeats_last < panel.lengths,
                    }
                )
    return rows


def _rail(look: Look) -> list[tuple[str, list[tuple[str, dict[str, Any]]]]]:
    """The values at the longest length: of each family those under each encoding."""
    last = [each for each in values(look) if each["n"] == look.curves.lengths[-1]]
    known = {(each["positions"], each["family"]): each for each in last}
    none = {"distance": None, "times": None}
    return [
        (family, [(name, known.get((name, family), none)) for name in look.curves.positions])
        for family in dict.fromkeys(each["family"] for each in last)
    ]


def _table(look: Look) -> list[dict[str, Any]]:
    rows = []
    for positions in look.curves.positions:
        for one in reversed(look.shown(positions)):
            family = one.panel.family
            formats = look.summary.select(positions=positions, family=family)
            rows.append(
                {
                    "signal": one,
                    "meaning": FAMILIES[family].meaning if family in FAMILIES else "",
                    "fit": one.fit if has_exponent(one.fit) and not is_flat(one.fit) else None,
                    "no_fit": _no_fit(one, one.fit),
                    "formats": _in_order(formats, look.curves.formats),
                }
            )
    return rows


def _in_order(panels: Sequence[PanelSummary], formats: Sequence[str]) -> list[PanelSummary]:
    known = {each.panel.format: each for each in panels}
    return [known[name] for name in formats if name in known]


def _no_fit(panel: PanelSummary, fit: DecayFit) -> str:
    """Why no exponent is read off, in a word or two."""
    if panel.unfinite:
        return "not finite"
    if not panel.resolved:
        return "equal"
    if not fit.spans_decade:
        return "under a decade"
    if fit.law == "exponential":
        return "exponential"
    return "no trend" if is_flat(fit) else "not settled"


def _panels(look: Look, figures: Mapping[str, Plot]) -> list[dict[str, Any]]:
    return [
        {
            "positions": positions,
            "equal": figures[f"equal-{positions}"],
            "families": [
                (family, figures[f"{positions}-{family}"])
                for family in look.colors
                if f"{positions}-{family}" in figures
            ],
        }
        for positions in look.curves.positions
    ]
