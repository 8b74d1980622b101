"""The kinds of error that a command reports in one line, without a traceback."""


class BadInput(ValueError):
    """A user's mistake: the message says what was wanted, what was found, and what to do."""


class PeerLost(RuntimeError):
    """Of several processes of one program another one ended, or did not come in time."""


class Busy(BadInput):
    """What is wanted is there, and another process is writing it."""
