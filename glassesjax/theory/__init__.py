"""The papers' statements as pure functions of arrays and numbers; none of them knows a model."""

from glassesjax.theory import absorption as absorption
from glassesjax.theory import birth as birth
from glassesjax.theory import blocks as blocks
from glassesjax.theory import closed_forms as closed_forms
from glassesjax.theory import collapse as collapse
from glassesjax.theory import collapse_forms as collapse_forms
from glassesjax.theory import collapse_records as collapse_records
from glassesjax.theory import counting as counting
from glassesjax.theory import dispersion as dispersion
from glassesjax.theory import hamming as hamming
from glassesjax.theory import margin as margin
from glassesjax.theory import masked_rollouts as masked_rollouts
from glassesjax.theory import norm_jacobians as norm_jacobians
from glassesjax.theory import norms as norms
from glassesjax.theory import position_bias as position_bias
from glassesjax.theory import pruned as pruned
from glassesjax.theory import rank as rank
from glassesjax.theory import rotary as rotary
from glassesjax.theory import sharpness as sharpness
from glassesjax.theory import sinks as sinks
from glassesjax.theory import softmax as softmax
from glassesjax.theory import squashing as squashing
