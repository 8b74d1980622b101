"""Where a model becomes arrays: last representations and how far apart they are."""

from glassesjax.trace.certificate import LayerRows as LayerRows
from glassesjax.trace.certificate import certificate_rows as certificate_rows
from glassesjax.trace.collapse import DecayFit as DecayFit
from glassesjax.trace.collapse import Distance as Distance
from glassesjax.trace.collapse import Tree as Tree
from glassesjax.trace.collapse import distance as distance
from glassesjax.trace.collapse import fit_decay as fit_decay
from glassesjax.trace.collapse import last_representations as last_representations
from glassesjax.trace.collapse import pack as pack
from glassesjax.trace.collapse import pass_size as pass_size
