"""``python -m glassesjax``: the command, also where no script is on the path."""

from glassesjax.cli import main

main()
