"""The decoder, its settings, and pretrained weights."""

from glassesjax.model.config import Alibi as Alibi
from glassesjax.model.config import Bidirectional as Bidirectional
from glassesjax.model.config import Causal as Causal
from glassesjax.model.config import ConstantNorm as ConstantNorm
from glassesjax.model.config import DecoderConfig as DecoderConfig
from glassesjax.model.config import LayerNorm as LayerNorm
from glassesjax.model.config import Learned as Learned
from glassesjax.model.config import Mlp as Mlp
from glassesjax.model.config import NoNorm as NoNorm
from glassesjax.model.config import NoPositions as NoPositions
from glassesjax.model.config import Prefix as Prefix
from glassesjax.model.config import RMSNorm as RMSNorm
from glassesjax.model.config import Rotary as Rotary
from glassesjax.model.config import Sinusoidal as Sinusoidal
from glassesjax.model.config import Window as Window
from glassesjax.model.decoder import Decoder as Decoder
from glassesjax.model.decoder import Trace as Trace
from glassesjax.model.positions import Layout as Layout
from glassesjax.model.pretrained import TOY_POSITIONS as TOY_POSITIONS
from glassesjax.model.pretrained import LanguageModel as LanguageModel
from glassesjax.model.pretrained import open_gguf as open_gguf
from glassesjax.model.pretrained import open_model as open_model
from glassesjax.model.weights import build_decoder as build_decoder
from glassesjax.model.weights import flat_parameters as flat_parameters
