"""The papers' statements as pure functions of arrays and numbers; none of them knows a model."""

from glassesjax.theory import collapse as collapse
from glassesjax.theory import collapse_forms as collapse_forms
from glassesjax.theory import collapse_records as collapse_records
from glassesjax.theory import dispersion as dispersion
from glassesjax.theory import margin as margin
from glassesjax.theory import norms as norms
from glassesjax.theory import softmax as softmax
