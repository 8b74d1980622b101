"""The kinds of error that a command reports in one line, without a traceback."""

MODELS_WANTED = (
    "Expected the packages that read models, got none: pip install 'glassesjax[models]'."
)


class BadInput(ValueError):
    """A user's mistake: the message says what was wanted, what was found, and what to do."""


class Busy(BadInput):
    """What is wanted is there, and another process is writing it."""
