"""What the collapse page shows, by the names of its template."""

from collections.abc import Mapping
from typing import Any

from glassesjax.report.colors import series_of
from glassesjax.report.models import model_name
from glassesjax.report.render import Plot, answer, page
from glassesjax.runs.constants import ModelConstants
from glassesjax.runs.run import Run
from glassesjax.studies.collapse import words
from glassesjax.studies.collapse.charts import Look, family_name
from glassesjax.studies.collapse.fits import has_exponent, is_flat
from glassesjax.studies.collapse.records import CollapseRow
from glassesjax.studies.collapse.summary import CollapseSummary
from glassesjax.tasks.sequences import FAMILIES


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
      An HTML document that loads nothing from outside. The same rows give the same text.
    """
    curves, known = look.curves, run.constants
    own = [each.format for each in summary.formats if each.differing]
    model = model_name(known.model)
    names, first, last = curves.positions, curves.lengths[0], curves.lengths[-1]
    encoding = f"{len(names)} positional encodings"
    if len(names) == 1:
        encoding = words.POSITIONS.get(names[0], (names[0], ""))[0]
    count = f"{len(curves.lengths)} lengths"
    span = f"n = {first} to {last}, {count}" if first < last else f"n = {last}"
    sizes = f"prompt families: {len(curves.families)}", span, " ".join(curves.formats)
    mode = lambda name: next(each.mode for each in summary.select(format=name) if each.mode)
    return page(
        "glassesjax.studies.collapse",
        run=run,
        summary=summary,
        model=model,
        facts=[known.weights or model, encoding, *sizes],
        figure=figures["distance"],
        lengths=curves.lengths,
        formats=own,
        every=[
            name for name in curves.formats if any(e.stored for e in summary.select(format=name))
        ],
        series_of=series_of,
        colors=look.colors,
        family_name=family_name,
        rail=_rail(look),
        outside=[each["family"] for each in values(look) if each["outside"]],
        table=_table(look),
        bounded=[each for each in summary.panels if each.layer_bounds],
        encodings=[(name, name.replace("_", " ")) for name in curves.positions],
        shown_format=look.format or summary.finest_format,
        stored_format=look.stored,
        panels=_panels(look, figures),
        families=[(name, FAMILIES[name].meaning) for name in curves.families if name in FAMILIES],
        positions=[words.POSITIONS[name] for name in curves.positions if name in words.POSITIONS],
        modes=[{"format": name, "mode": mode(name)} for name in own],
    )


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
            family, fit = one.panel.family, one.fit
            # Why no exponent is read off; only a fit that spans a decade has a tail to judge.
            if one.unfinite:
                why = "not finite"
            elif not one.resolved:
                why = "equal"
            elif not fit.spans_decade:
                why = "under a decade"
            elif fit.law == "exponential":
                why = "exponential"
            else:
                why = "no trend" if is_flat(fit) else "not settled"
            panels = look.summary.select(positions=positions, family=family)
            known = {each.panel.format: each for each in panels}
            rows.append(
                {
                    "signal": one,
                    "meaning": FAMILIES[family].meaning if family in FAMILIES else "",
                    "fit": fit if has_exponent(fit) and not is_flat(fit) else None,
                    "no_fit": why,
                    "formats": [known[name] for name in look.curves.formats if name in known],
                }
            )
    return rows


def _panels(look: Look, figures: Mapping[str, Plot]) -> list[dict[str, Any]]:
    return [
        {
            "positions": positions,
            "equal": figures.get(f"equal-{positions}"),
            "families": [
                (family, figures[f"{positions}-{family}"])
                for family in look.colors
                if f"{positions}-{family}" in figures  # not all are measured under each encoding
            ],
        }
        for positions in look.curves.positions
    ]
