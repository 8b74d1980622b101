"""A rounding plan as a table of text."""

import itertools

from glassesjax.precision.plan import RoundingPlan, Site


def plan_table(plan: RoundingPlan) -> str:
    """A line for each site that rounds, and a column for each run of layers with one plan.

    Args:
      plan: Any plan.

    Returns:
      Text with aligned columns; a dash where nothing is rounded.
    """
    runs = [
        list(run) for _, run in itertools.groupby(range(len(plan.layers)), plan.layers.__getitem__)
    ]
    heads = [f"layers {run[0]} to {run[-1]}" if len(run) > 1 else f"layer {run[0]}" for run in runs]
    columns = [plan.layers[run[0]] for run in runs]
    outside = ["outside", *heads] if runs else ["format"]
    rows = [["site", *outside]]
    for site in (site for site in Site if site in plan.sites):
        formats = (each.rounded.get(site) for each in (plan, *columns))
        rows.append([site.value, *("-" if fmt is None else fmt.name for fmt in formats)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    pad = lambda row: "  ".join(map(str.ljust, row, widths)).rstrip()
    return "\n".join(map(pad, rows))
