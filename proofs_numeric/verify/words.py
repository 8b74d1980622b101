"""The fixed words of the ledger's page: how it is read, and what has no number to check."""

LEAD = (
    "Every statement that this package rests on is put as an inequality, measured ≤ bound, which"
    " one measurement can contradict. Here are the measurements.",
    "Each statement is measured along a ladder of sizes, where it is tight, and under stress;"
    " gradient ascent looks for the instance that comes closest to breaking it; and with a"
    " hypothesis dropped it must fail, or the check would not be one.",
)

# Kinds of claims in the order of the page: title, and what a reader should know first.
KINDS = {
    "statement": ("Statements", "In the form in which this package uses them."),
    "erratum": (
        "Errata",
        "Each of these is about a printed form, and says that it is false: measured ≤ bound means"
        " that the printed inequality is broken by the instance. In the counter-case the repaired"
        " form stands in place of the printed one, and nothing breaks it.",
    ),
    "follow_up": ("Follow-ups", "Statements of later papers, and of our own that extend these."),
    "figure": ("Figures", "What a figure shows, put as an inequality."),
}

# Whether a counter-case fails, as a reader sees it.
COUNTER_CASES = {"fails": "fails as it must", "does_not_fail": "does not fail"}

EDITORIAL = (
    "E16. Figure 7: the image of Gemma's histogram is, byte for byte, the one of Figure 4 (Gemini):"
    " there is no separate histogram for Gemma.",
    "E17. Figure 6: the caption names 3 of the 12 panels.",
    "E19. Cross references: “Appendix (Section 4)” means B.1; “3.2” in the caption of Figure 2"
    " means 3.1; the caption of Figure 12 is cut off.",
)

GLOSSARY = {
    "holds": "All hypotheses were measured and are met, and the number is within its bound: up to"
    " what rounding alone may do, which is counted and stands in each row.",
    "violated": "All hypotheses are met, and the number is not within its bound, or is not a"
    " number.",
    "not applicable": "A hypothesis is not met: the instance says nothing, for or against.",
    "tightness": "Measured over bound: at one the bound is attained, and none better is true."
    " A claim's tightness is the largest of its instances, equalities aside.",
    "counter-case": "An instance that lies outside one hypothesis, as measured, and where the"
    " inequality fails. It shows that the check can fail, and that the hypothesis is needed.",
    "adversary": "Adam on the logarithm of measured over bound, over inputs and weights, from"
    " several starts. The best instance is then measured like any other.",
    "certified": "The same inequality for small instances in ball arithmetic: both numbers are"
    " outer ends of enclosures, and rounding is no longer in question.",
}

METHODS = (
    "What holds here was measured and is not proved: a ladder ends, and an ascent may miss the"
    " worst instance. What is violated here is refuted.",
    "All is computed in float64 with JAX's highest precision of products; a row that was computed"
    " otherwise says so.",
    "The quick suite is compiled without most of XLA's optimizations, since there compiling is"
    " the cost; the full suite is compiled as usual. Rows say which.",
    "Rows carry a fingerprint of the code, the versions and the device: what was measured by other"
    " code is measured again.",
)

LADDER_CAPTION = (
    "Left: measured (solid) and bound (dashed) along the ladder; the gray strip holds what is zero,"
    " negative or under 10⁻¹⁰⁰. Right: measured over bound. Instances outside the"
    " hypotheses are left out."
)
