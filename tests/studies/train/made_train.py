"""What tests of trainings and sweeps share: rows without the speed of the machine."""

RATES = ("tokens_per_second", "model_steps_per_second")


def timeless(rows):
    """The rows without what a clock gave."""
    return [{name: value for name, value in row.items() if name not in RATES} for row in rows]
