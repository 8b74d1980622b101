"""What the last token of a decoder-only Transformer can still see.

``model`` opens or builds a decoder, ``trace`` turns it into arrays, ``theory`` holds the papers'
statements on arrays, ``cache`` bounds what a decoder remembers, ``precision`` has the number
formats, ``tasks`` the prompts.
"""

from glassesjax import cache as cache
from glassesjax import model as model
from glassesjax import precision as precision
from glassesjax import tasks as tasks
from glassesjax import theory as theory
from glassesjax import trace as trace
from glassesjax.errors import BadInput as BadInput
from glassesjax.model import Decoder as Decoder
from glassesjax.model import DecoderConfig as DecoderConfig
from glassesjax.model import Layout as Layout
from glassesjax.model.pretrained import LanguageModel as LanguageModel
from glassesjax.model.pretrained import open_model as open_model
from glassesjax.precision import FloatFormat as FloatFormat
from glassesjax.precision import RoundingPlan as RoundingPlan
from glassesjax.precision import float_format as float_format
