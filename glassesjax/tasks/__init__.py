"""Prompts and tasks: families of runs, files of text, and what toys are trained on."""

from glassesjax.tasks.glasses import REMEDIES as REMEDIES
from glassesjax.tasks.glasses import Example as Example
from glassesjax.tasks.glasses import Glasses as Glasses
from glassesjax.tasks.glasses import batch as batch
from glassesjax.tasks.glasses import example as example
from glassesjax.tasks.glasses import lay_out as lay_out
from glassesjax.tasks.glasses import named_glasses as named_glasses
from glassesjax.tasks.sequences import FAMILIES as FAMILIES
from glassesjax.tasks.sequences import Family as Family
from glassesjax.tasks.sequences import repeats_last_token as repeats_last_token
from glassesjax.tasks.sequences import run_family as run_family
from glassesjax.tasks.table import TASKS as TASKS
from glassesjax.tasks.table import named_task as named_task
from glassesjax.tasks.task import LengthMix as LengthMix
from glassesjax.tasks.task import Parts as Parts
from glassesjax.tasks.task import Task as Task
from glassesjax.tasks.text import king_james_verses as king_james_verses
from glassesjax.tasks.text import read_text as read_text
