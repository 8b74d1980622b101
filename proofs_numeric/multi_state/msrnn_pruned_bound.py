"""Theorem 5.1 for a bounded state: the path sum over pruned attention weights."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from glassesjax.theory.pruned import (
    flow_through_state,
    pruned_path_bound,
    pruned_weights,
    retained_pairs,
    window_reach,
)
from glassesjax.theory.squashing import attention_rollout, path_bound
from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite
from proofs_numeric.support import paper_decoder
from proofs_numeric.support.adversary import ascend
from proofs_numeric.support.paper_decoder import PaperDecoder, quotients
from proofs_numeric.support.pruned_decoder import LAYERS, LENGTH, Pruned, evict, last_row

CLAIM = Claim(
    name="msrnn_pruned_bound",
    title="Over-squashing in a bounded state: the path sum over pruned weights",
    source="arXiv 2406.04267v2, Theorem 5.1, for the states of arXiv 2401.06104v2; ours",
    statement=r"\left\lVert \frac{\partial y_n}{\partial v_i^{(0)}} \right\rVert \le"
    r" C \left[ \prod_\ell \left( \frac{\tilde\Lambda^{(\ell)}}{\beta_1^{(\ell)}} + I \right)"
    r" \right]_{n,i}, \quad \tilde\alpha_{tj} = 0 \mathrm{\ unless\ } j \le t \le f_j",
    assumes=(
        "the weights of the pruned pass itself",
        "attention weights that do not depend on the values",
        "norms that divide by constants, MLPs with a bounded derivative",
    ),
    norm="2",
    climbs="k",
    note="For eviction at any steps. Equality for linear MLPs. The rollout of the past is exactly"
    " what flows through the cached tokens, and tokens beyond $L k$ have no influence under a"
    " window.",
)

U = 2.0**-53
BATCH = 16


@jax.jit
def _all(cases: Pruned, sigma: Array, evicted_at: Array) -> tuple[Array, ...]:
    """Derivatives, logits, and the bound for the given eviction steps."""

    def one(case: Pruned, sigma: Array, evicted_at: Array) -> tuple[Array, ...]:
        run = lambda resid: last_row(case, resid)
        jacobian, logits = jax.jacrev(run, has_aux=True)(case.decoder.resid)
        decoder = case.decoder
        divisors = decoder.beta1, decoder.beta2, decoder.beta3
        return jacobian, logits, pruned_path_bound(logits, evicted_at, *divisors, sigma)

    return jax.vmap(one)(cases, sigma, evicted_at)


class _Result(NamedTuple):
    norms: np.ndarray
    bounds: np.ndarray
    dependence: float
    missed: float  # difference between the steps given to the bound and the eviction steps
    broken: float
    case: Pruned
    logits: np.ndarray


def _run(cases: list[Pruned], evicted_at: list[np.ndarray] | None = None) -> Iterator[_Result]:
    """Instances in batches of one shape, each also with constant attention weights."""
    evicted_at = [case.evicted_at for case in cases] if evicted_at is None else evicted_at
    for begin in range(0, len(cases), BATCH):
        some, of = cases[begin : begin + BATCH], evicted_at[begin : begin + BATCH]
        filled, steps = some + some[-1:] * (BATCH - len(some)), of + of[-1:] * (BATCH - len(of))
        constant = [
            case._replace(decoder=case.decoder._replace(moves=np.float64(0))) for case in filled
        ]
        # (2 BATCH, ...): the cases, then the same with constant weights
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *filled, *constant)
        sigma = np.stack([paper_decoder.sigma(case.decoder) for case in filled] * 2)
        jacobians, logits, bounds = map(np.asarray, _all(stacked, sigma, np.stack(steps * 2)))
        for at, (case, given) in enumerate(zip(some, of, strict=True)):
            blocks = jacobians[at].transpose(1, 0, 2)  # (d, seq, d) -> (seq, d, d)
            finite = np.isfinite(blocks).all()  # LAPACK raises for others
            still = jacobians[BATCH + at]
            parts = [leaf for name, leaf in case.decoder._asdict().items() if name != "beta1"]
            yield _Result(
                norms=np.linalg.norm(blocks, 2, (-2, -1)) if finite else np.full(LENGTH, np.nan),
                bounds=bounds[at],
                dependence=float(np.max(np.abs(jacobians[at] - still))) if finite else 0.0,
                missed=float(np.max(np.abs(given - case.evicted_at))),
                broken=float(sum(np.sum(~np.isfinite(leaf)) for leaf in parts)),
                case=case,
                logits=logits[at],
            )


def _against(
    setting: str, measured: _Result, *, attained: bool = False, size: float | None = None
) -> Measurement:
    """The token whose derivative comes closest to its bound, or lies farthest from it."""
    ratios = quotients(measured.norms, measured.bounds)
    if attained:  # a token without influence is at zero on both sides
        ratios = np.where(measured.bounds > 0, np.abs(ratios - 1), ratios)
    token = int(np.argmax(ratios))
    bound = float(measured.bounds[token])
    names = ("derivative of the attention weights", "steps by which the bound's state differs")
    hypotheses = (
        Hypothesis(name=names[0], distance=measured.dependence),
        Hypothesis(name=names[1], distance=measured.missed),
        Hypothesis(name="weights and inputs that are not finite", distance=measured.broken),
    )
    return Measurement(
        setting=setting,
        measured=float(measured.norms[token]),
        bound=bound,
        floor=bound if attained else -np.inf,
        roundoff=paper_decoder.relative_roundoff(measured.case.decoder) * bound,
        hypotheses=hypotheses,
        size=size,
    )


def _case(policy: str, slots: int, seed: int, **options: Any) -> Pruned:  # noqa: ANN401
    decoder = paper_decoder.draw(seed, length=LENGTH, layers=LAYERS, **options)
    return Pruned(decoder, evict(policy, slots, seed))


@CLAIM.part("ladder")
def _measure(suite: Suite) -> Iterator[Measurement]:
    ladder = (2, 3, 8) if suite == "quick" else tuple(range(2, LENGTH + 1))
    kinds = {"linear": (True, 1.0), "sines": (False, 1.0), "logits times 700": (False, 700.0)}
    cases, settings = [], []
    for slots in ladder:
        for policy in ("window", "random", "sink"):
            for name, (linear, scale) in kinds.items():
                options = {"linear": linear, "logit_scale": scale}
                cases.append(_case(policy, slots, slots, **options))
                settings.append((linear, slots, f"{policy}, k={slots}, {name}"))
    measured = list(_run(cases))
    for (linear, slots, setting), one in zip(settings, measured, strict=True):
        yield _against(setting, one, attained=linear, size=slots)
    broken = cases[0].decoder._replace(resid=np.full_like(cases[0].decoder.resid, np.nan))
    [one] = _run([cases[0]._replace(decoder=broken)])
    yield _against("inputs that are not numbers", one)
    # The second case: two slots under a window without sinks, and an MLP of sines.
    reach = window_reach(LAYERS, 2)
    far = measured[1].norms[: LENGTH - 1 - reach]
    yield Measurement.equality(
        setting=f"window, k=2: the largest derivative of {len(far)} tokens beyond L k",
        measured=float(np.max(far)),
        expected=0.0,
        roundoff=0.0,
    )
    yield from _conserved(measured[: 3 * len(kinds)])


def _conserved(measured: list[_Result]) -> Iterator[Measurement]:
    """Influence of the past passes through the state: it equals the flow of all cached tokens."""
    step = LENGTH // 2
    for number, one in enumerate(measured):
        shares = 1 / (1 + one.case.decoder.beta1)  # of attention: 1 / beta1 against one
        flow, share, lost = map(np.asarray, _flows(one.logits, one.case.evicted_at, shares, step))
        setting = f"rollout of the past through the state, instance {number}"
        yield Measurement.equality(
            setting=setting,
            measured=float(flow),
            expected=float(share),
            roundoff=4 * LAYERS * (LENGTH + 16) * U,
            size=step,
        )
        yield Measurement.equality(
            setting=f"through what was dropped, instance {number}",
            measured=float(lost),
            expected=0.0,
            roundoff=0.0,
        )


@jax.jit
def _flows(logits: Array, evicted_at: Array, shares: Array, step: int) -> tuple[Array, ...]:
    weights = pruned_weights(logits, retained_pairs(evicted_at))
    flow = flow_through_state(weights, shares, step)
    past = jnp.arange(LENGTH, dtype=jnp.int32) <= step
    share = jnp.sum(jnp.where(past, attention_rollout(weights, shares), 0))
    # flow, evicted_at: (layers, seq); what is evicted by this step passes nothing on
    return jnp.sum(flow), share, jnp.sum(jnp.where(evicted_at <= step, flow, 0))


def _ratio(free: tuple[Array, ...]) -> Float[Array, ""]:
    """Measured over bound of the first token, which a sink keeps; Frobenius norms as in thm_5_1."""
    decoder = _instance(free)
    case = Pruned(decoder, jnp.asarray(_EVICTED_AT))
    run = lambda row: last_row(case, decoder.resid.at[0].set(row))
    jacobian, logits = jax.jacfwd(run, has_aux=True)(decoder.resid[0])
    weights = pruned_weights(logits, retained_pairs(case.evicted_at))
    size = lambda matrices: jnp.sqrt(jnp.sum(matrices**2, axis=(-2, -1)))
    root = paper_decoder.WIDTH**-0.5
    sigma = root * size(decoder.linear) + size(decoder.down) * size(decoder.up)
    bounds = path_bound(weights, decoder.beta1, decoder.beta2, decoder.beta3, sigma)
    return root * size(jacobian) / bounds[0]


_EVICTED_AT = evict("sink", 3, 0)


def _instance(free: tuple[Array, ...]) -> PaperDecoder:
    resid, query, key, linear, down, up, logs = free  # logs: (2, layers), of positive divisors
    constants = (jnp.exp(logs[0]), jnp.exp(logs[1]), jnp.ones(()), jnp.zeros(()))
    return PaperDecoder(resid, query, key, linear, down, up, *constants, jnp.zeros((), jnp.int32))


@CLAIM.part("adversary")
def _adversary(suite: Suite) -> Iterator[Measurement]:
    steps, starts = (60, 4) if suite == "quick" else (400, 8)
    random = np.random.default_rng(5)
    matrices = [random.normal(size=(starts, LAYERS, 4, 4)) / 2 for _ in range(5)]
    inputs, logs = random.normal(size=(starts, LENGTH, 4)), random.normal(size=(starts, 2, LAYERS))
    free = ascend(_ratio, (inputs, *matrices, logs), steps=steps).instance
    [measured] = _run([Pruned(jax.tree.map(np.asarray, _instance(free)), _EVICTED_AT)])
    yield _against(f"{starts} starts, {steps} steps over weights, inputs, divisors", measured)


@CLAIM.part("counter_case")
def _counter_case() -> Iterator[Measurement]:
    """The weights of full attention; then attention weights that depend on the input."""
    # Single draws may meet the bound by chance: the worst of a batch does not.
    cases = [_case("window", 2, seed, linear=True) for seed in range(BATCH)]
    everything = np.full((LAYERS, LENGTH), LENGTH, np.int32)
    worst = lambda one: np.max(quotients(one.norms, one.bounds))
    full = _run(cases, [everything] * len(cases))
    yield _against("weights of full attention, the worst of 16 draws", max(full, key=worst))
    moving = [_case("sink", 3, seed, logit_scale=6.0, moves=True) for seed in range(BATCH)]
    yield _against("attention as it is, logit scale 6, of 16 draws", max(_run(moving), key=worst))
