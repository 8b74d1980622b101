"""Training small decoders on tasks: one compiled step, many seeds in one program."""

from glassesjax.train.evaluate import Score as Score
from glassesjax.train.evaluate import evaluate as evaluate
from glassesjax.train.hosts import agree as agree
from glassesjax.train.hosts import connect as connect
from glassesjax.train.hosts import ended as ended
from glassesjax.train.hosts import fetch as fetch
from glassesjax.train.hosts import is_writer as is_writer
from glassesjax.train.hosts import share as share
from glassesjax.train.mesh import make_mesh as make_mesh
from glassesjax.train.mesh import place as place
from glassesjax.train.step import Learner as Learner
from glassesjax.train.step import Recipe as Recipe
from glassesjax.train.step import begin as begin
from glassesjax.train.step import learn as learn
