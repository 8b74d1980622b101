from . import intervals as intervals
from . import ranks as ranks
