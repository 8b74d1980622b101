"""Where a model becomes arrays: last representations and how far apart they are."""

from glassesjax.trace.attention import AttentionStatistics as AttentionStatistics
from glassesjax.trace.attention import attention_statistics as attention_statistics
from glassesjax.trace.certificate import LayerRows as LayerRows
from glassesjax.trace.certificate import certificate_rows as certificate_rows
from glassesjax.trace.collapse import Distance as Distance
from glassesjax.trace.collapse import Tree as Tree
from glassesjax.trace.collapse import distance as distance
from glassesjax.trace.collapse import last_representations as last_representations
from glassesjax.trace.collapse import pack as pack
from glassesjax.trace.collapse import pass_size as pass_size
from glassesjax.trace.constants import LayerConstants as LayerConstants
from glassesjax.trace.decay import DecayFit as DecayFit
from glassesjax.trace.decay import fit_decay as fit_decay
from glassesjax.trace.decay import loglog_slope as loglog_slope
from glassesjax.trace.heads import LayerHeads as LayerHeads
from glassesjax.trace.heads import attention_rows as attention_rows
from glassesjax.trace.heads import layer_heads as layer_heads
from glassesjax.trace.influence import Influence as Influence
from glassesjax.trace.influence import estimated_influence as estimated_influence
from glassesjax.trace.influence import exact_influence as exact_influence
from glassesjax.trace.rollout import BlockStack as BlockStack
from glassesjax.trace.rollout import Rollout as Rollout
from glassesjax.trace.rollout import block_stack as block_stack
from glassesjax.trace.rollout import printed_bound as printed_bound
from glassesjax.trace.rollout import printed_rollout as printed_rollout
from glassesjax.trace.rollout import rollout as rollout
