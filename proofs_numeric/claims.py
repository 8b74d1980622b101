"""All claims, in the order of the papers; a new one is one file and one line here."""

from proofs_numeric import lem_b1
from proofs_numeric.claim import Claim

CLAIMS: tuple[Claim, ...] = tuple(module.CLAIM for module in (lem_b1,))
