"""``python -m glassesjax``: the command, also where no script is on the path."""

from glassesjax.cli import main

if __name__ == "__main__":
    main()
