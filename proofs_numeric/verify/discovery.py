"""The claims by the files of their groups; a claim is imported when it is needed."""

import functools
import importlib
import pkgutil
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from proofs_numeric.claim import Claim, Kind

# The folders of claims in the order of the ledger, and of what kind the claims of each are.
GROUPS: Mapping[str, Kind] = {
    "paper": "statement",
    "multi_state": "statement",
    "errata": "erratum",
    "figures": "figure",
    "follow_ups": "follow_up",
}
COLLAPSE = ("lem_b1", "lem_b2", "prefix_identity", "thm_4_2", "thm_4_2_exact", "decay", "prop_b4")
SQUASHING = (
    *(
        "thm_5_1",
        "thm_5_1_true",
        "thm_5_1_families",
        "normal_form",
        "path_count",
        "lem_b6",
        "lem_b7",
        "prop_5_2",
    ),
    "closed_forms",
)
COUNTING = ("prop_6_1", "cor_6_2", "cor_6_2_bits", "cor_6_2_counter")
# Within a folder claims come by name, numbers by value, but for these: they come first, in the
# order in which the papers lead from one to the next.
ORDER = (
    *(*COLLAPSE, *SQUASHING, *COUNTING, "dispersion"),
    *("msrnn_unbounded", "msrnn_capacity", "msrnn_prefill", "msrnn_window"),
    *("msrnn_receptive_field", "msrnn_pruned_bound", "msrnn_slots", "msrnn_shift"),
    *("msrnn_fixtures", "msrnn_memory"),
    *("rank_collapse", "fu_pure_attention", "fu_sinks", "fu_sharpness", "fu_ssmax"),
    *("fu_critical", "fu_rotary", "fu_position_bias", "fu_birth", "fu_hamming"),
    *("fu_stored_row", "fu_fp8_sink", "fu_running_sum", "fu_block_zero"),
)


class Topic(NamedTuple):
    """A topic of claims, as on the page."""

    name: str
    """That of a folder for all of its claims that no topic names."""
    title: str
    about: str
    """The papers."""
    claims: tuple[str, ...] = ()


TOPICS = (
    Topic("collapse", "Collapse", "2406.04267, sec. 4", COLLAPSE),
    Topic("squashing", "Over-squashing", "2406.04267, sec. 5", SQUASHING),
    Topic("counting", "Counting, rounding", "2406.04267, sec. 6", COUNTING),
    Topic("paper", "Other statements", ""),
    Topic("multi_state", "KV-cache policies", "2401.06104"),
    Topic("errata", "Errata", "of 2406.04267"),
    Topic("figures", "Figures", "of 2406.04267"),
    Topic("follow_ups", "Related papers", "later preprints", ("dispersion",)),
)


def topic_of(claim: str) -> str:
    """The topic of a claim.

    Returns:
      A name of ``TOPICS``.
    """
    # A topic that names the claim comes before that of its folder.
    folder = modules()[claim].split(".")[-2]
    named = [topic.name for topic in TOPICS if claim in topic.claims]
    own = [topic.name for topic in TOPICS if topic.name == folder]
    return [*named, *own, "paper"][0]


@functools.cache
def modules() -> Mapping[str, str]:
    """The module of each claim by the claim's name, in the order of the ledger."""
    by_name = {}
    for group in GROUPS:
        package = importlib.import_module(f"proofs_numeric.{group}")  # imports none of its claims
        names = in_order(module.name for module in pkgutil.iter_modules(package.__path__))
        by_name |= {name: f"proofs_numeric.{group}.{name}" for name in names}
    return by_name


def load(names: Iterable[str]) -> tuple[Claim, ...]:
    """Imports claims.

    Returns:
      The claims, in the order of ``names``.
    """
    return tuple(importlib.import_module(modules()[name]).CLAIM for name in names)


def in_order(names: Iterable[str]) -> list[str]:
    """Names of one folder in the order of the ledger.

    Returns:
      Those of ``ORDER``, then the others.
    """
    rank = {name: at for at, name in enumerate(ORDER)}
    # Splitting at digits alternates text and numbers, so that fig_8 comes before fig_10.
    parts = lambda name: [int(p) if p.isdigit() else p for p in re.split(r"(\d+)", name)]
    return sorted(names, key=lambda name: (rank.get(name, len(rank)), parts(name)))
