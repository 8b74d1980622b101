"""All claims, in the order of the papers; a new one is one file and one line here."""

from proofs_numeric import (
    decay,
    err_e01,
    err_e02,
    err_e03,
    err_e04,
    err_e05,
    err_e06,
    err_e13,
    err_e18,
    err_e20,
    fig_8,
    fig_10,
    lem_b1,
    prefix_identity,
    prop_6_1,
    rank_collapse,
    thm_4_2,
    thm_4_2_exact,
)
from proofs_numeric.claim import Claim

CLAIMS: tuple[Claim, ...] = tuple(
    module.CLAIM
    for module in (
        lem_b1,
        prefix_identity,
        thm_4_2,
        thm_4_2_exact,
        decay,
        prop_6_1,
        err_e01,
        err_e02,
        err_e03,
        err_e04,
        err_e05,
        err_e06,
        err_e13,
        err_e18,
        err_e20,
        fig_8,
        fig_10,
        rank_collapse,
    )
)
