"""Prompts: families of runs, and files of text."""

from glassesjax.tasks.sequences import FAMILIES as FAMILIES
from glassesjax.tasks.sequences import Family as Family
from glassesjax.tasks.sequences import repeats_last_token as repeats_last_token
from glassesjax.tasks.sequences import run_family as run_family
from glassesjax.tasks.text import king_james_verses as king_james_verses
from glassesjax.tasks.text import read_text as read_text
