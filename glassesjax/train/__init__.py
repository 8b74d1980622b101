"""Training small decoders on tasks: one compiled step, many seeds in one program."""

from glassesjax.train.evaluate import Score as Score
from glassesjax.train.evaluate import evaluate as evaluate
from glassesjax.train.step import Learner as Learner
from glassesjax.train.step import Recipe as Recipe
from glassesjax.train.step import begin as begin
from glassesjax.train.step import learn as learn
