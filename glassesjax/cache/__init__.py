"""The multi-state cache: what a Transformer remembers when it may not remember everything."""

from glassesjax.cache.advance import Unrolled as Unrolled
from glassesjax.cache.advance import advance as advance
from glassesjax.cache.advance import logits as logits
from glassesjax.cache.advance import unroll as unroll
from glassesjax.cache.budget import check_context as check_context
from glassesjax.cache.budget import resolve_slots as resolve_slots
from glassesjax.cache.budget import state_bytes as state_bytes
from glassesjax.cache.policies import POLICIES as POLICIES
from glassesjax.cache.policies import Candidates as Candidates
from glassesjax.cache.policies import Policy as Policy
from glassesjax.cache.policies import policy as policy
from glassesjax.cache.prefill import prefill as prefill
from glassesjax.cache.replay import Replay as Replay
from glassesjax.cache.replay import replay as replay
from glassesjax.cache.replay import retained as retained
from glassesjax.cache.slots import KVCache as KVCache
from glassesjax.cache.slots import State as State
from glassesjax.cache.slots import empty_state as empty_state
