"""Plans that every verb takes, and what rows and records must say of them."""

from glassesjax.precision import model_plan

# What separates two orders of the same pass: sums of some dozen float32 products in another order
# through three layers; of e4m3fn a weight that one order rounds up and the other down, 2^-4 of one
# token of many; of bf16 every store may be a step of 2^-8 apart.
PLANS = {"bf16@weights": 1e-4, "e4m3fn@attn_weights": 1e-2, "native-bf16": 0.1}
OVERFLOWS = "e2m2@residual"  # of numbers up to 3.5
OVERFLOW = {"overflow_site", "overflow_layer"}


def check_constants(constants, name):
    """Format, dtype and rounding of a record or a row."""
    plan = model_plan(name)
    assert constants.format == name
    assert constants.dtype == ("bfloat16" if name == "native-bf16" else "float32")
    assert constants.rounding == ("none" if name == "native-bf16" else plan.name)


def check_overflow(summary, rows):
    """Rows that are not finite name the site, and so does the failure."""
    (lost, *_) = [row for row in rows if "overflow_site" in row]
    assert lost["overflow_site"] == "residual"
    (line,) = summary.passes.failures
    assert line.startswith("the pass under simulated e2m2 residual is not finite, in ")
    assert line.endswith(f"first at residual in layer {lost['overflow_layer']}")
