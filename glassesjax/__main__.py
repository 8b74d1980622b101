"""The command: ``glassesjax``, or ``python -m glassesjax`` where no script is on the path."""

import sys
from collections.abc import Callable

from glassesjax.process import run_to_end


def main() -> None:
    """Runs the verb that the process was started with, and ends the process."""

    def load() -> Callable[[], int]:
        # Inside, for interrupts are handled from before this import, which takes seconds.
        from glassesjax.cli import run

        return lambda: run(sys.argv[1:], whole_process=True)

    run_to_end(load)


if __name__ == "__main__":
    main()
