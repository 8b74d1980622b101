"""The settings of ``verify``; JAX and the claims are imported when they are measured."""

import dataclasses

from glassesjax.errors import BadInput
from glassesjax.settings import check_settings
from proofs_numeric.claim import Suite
from proofs_numeric.verify import discovery

OPTIMIZATIONS_OFF = "jax_disable_most_optimizations"  # of the whole process: a command's to set


@dataclasses.dataclass(frozen=True, kw_only=True)
class VerifySettings:
    """Does every statement hold, and does it fail where a hypothesis is dropped?"""

    only: tuple[str, ...] = ()
    """Names of claims; all if none is named."""
    suite: Suite = "quick"
    """quick: small ladders, under 90 s on two cores. full: longer ladders and ascents."""
    certified: bool = False
    """Enclose small instances in ball arithmetic as well; needs the extra ``certified``."""

    def __post_init__(self) -> None:
        check_settings(self)
        names = discovery.modules()
        if unknown := [name for name in self.only if name not in names]:
            expected = f"Expected claims out of {', '.join(names)}, got {unknown[0]!r:.60}"
            raise BadInput(f"{expected}: name one of these.")
        if self.certified:
            # Refused before anything is measured, not after minutes.
            try:
                import flint  # noqa: F401
            except ImportError:
                install = "pip install 'glassesjax[certified]'"
                expected = "Expected python-flint for --certified, got none"
                raise BadInput(f"{expected}: {install}.") from None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the claims to be measured, in the order of the ledger."""
        return tuple(name for name in discovery.modules() if not self.only or name in self.only)
