"""Number formats as values, and where a model rounds to them."""

from glassesjax.precision.backend import backend_report as backend_report
from glassesjax.precision.formats import BF16 as BF16
from glassesjax.precision.formats import E2M1 as E2M1
from glassesjax.precision.formats import E4M3FN as E4M3FN
from glassesjax.precision.formats import E5M2 as E5M2
from glassesjax.precision.formats import F16 as F16
from glassesjax.precision.formats import F32 as F32
from glassesjax.precision.formats import F64 as F64
from glassesjax.precision.formats import FORMATS as FORMATS
from glassesjax.precision.formats import TF32 as TF32
from glassesjax.precision.formats import FloatFormat as FloatFormat
from glassesjax.precision.formats import float_format as float_format
from glassesjax.precision.integers import INT4 as INT4
from glassesjax.precision.integers import INT4_CHANNEL as INT4_CHANNEL
from glassesjax.precision.integers import INT8 as INT8
from glassesjax.precision.integers import INT8_CHANNEL as INT8_CHANNEL
from glassesjax.precision.integers import INTEGER_FORMATS as INTEGER_FORMATS
from glassesjax.precision.integers import IntegerFormat as IntegerFormat
from glassesjax.precision.integers import NumberFormat as NumberFormat
from glassesjax.precision.integers import number_format as number_format
from glassesjax.precision.plan import PLACES as PLACES
from glassesjax.precision.plan import RoundingPlan as RoundingPlan
from glassesjax.precision.rounding import bitwise_equal as bitwise_equal
from glassesjax.precision.rounding import first_collision as first_collision
from glassesjax.precision.rounding import last_distinct as last_distinct
from glassesjax.precision.rounding import ulp_distance as ulp_distance
