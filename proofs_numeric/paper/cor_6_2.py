"""Corollary 6.2 repaired: a margin certifies that two representations have one token."""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from glassesjax.precision import BF16
from glassesjax.theory.margin import margin_certificate, margin_certificates
from glassesjax.theory.norms import Norm
from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite

CLAIM = Claim(
    name="cor_6_2",
    title="When two representations give one token",
    source="arXiv 2406.04267v2, Corollary 6.2 (B.10)",
    statement=r"\lVert w_a - w_b \rVert_* \lVert y' - y \rVert < \langle w_a - w_b, y \rangle"
    r" \Rightarrow \#\{\mathrm{pairs\ of\ two\ tokens}\} \le 0",
    assumes=("a margin certificate: closeness alone does not do",),
    norm="L2",
    note="The corollary infers equal answers from closeness. The certificate is sharp: a step"
    " just longer than it allows can change the token.",
)

U = 2.0**-53
DIM, VOCAB, EACH = 8, 16, 32
NORMS: tuple[Norm, ...] = (1, 2, "inf")
NAMES = {1: "L1", 2: "L2", "inf": "Linf"}
STEPS = (2.0**-30, 2.0**-10, 2.0**-5, 2.0)


@jax.jit
def _certified(
    y: Float[Array, "pairs d"], y_next: Float[Array, "pairs d"], unembed: Float[Array, "vocab d"]
) -> Float[Array, "checks 3 pairs"]:
    """Worst ratio and the two tokens: in each norm, and last for logits rounded to bfloat16."""

    def check(norm: Norm, unit_roundoff: float | None, rounded: bool) -> Array:
        certify = lambda a, b: margin_certificate(a, b, unembed, norm, unit_roundoff)
        ratio = jax.vmap(certify)(y, y_next).worst_ratio  # (pairs, d) twice -> (pairs)
        logits = [jnp.matmul(rows, unembed.T, precision="highest") for rows in (y, y_next)]
        # (pairs, vocab) -> (pairs); as floats, so that one array holds ratio and tokens.
        tokens = [jnp.argmax(BF16.round(each) if rounded else each, axis=1) for each in logits]
        return jnp.stack([ratio, *(token.astype(ratio.dtype) for token in tokens)])

    checks = [check(norm, None, rounded=False) for norm in NORMS]
    return jnp.stack([*checks, check(2, BF16.unit_roundoff, rounded=True)])


def _random(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unembedding (vocab, d), and representations (pairs, d) before and after their steps."""
    unembed = rng.normal(size=(VOCAB, DIM))
    # Half of them lean toward a token, so that there are margins of all sizes.
    lean = np.arange(len(STEPS) * EACH) % 2
    y = (
        rng.normal(size=(len(lean), DIM))
        + 3 * lean[:, None] * unembed[np.arange(len(lean)) % VOCAB]
    )
    moves = np.repeat(STEPS, EACH)[:, None] * rng.normal(size=y.shape)
    return unembed, y, y + moves


def _dual(apart: np.ndarray, norm: Norm) -> np.ndarray:
    """Size of rows in the norm dual to this one."""
    return np.linalg.norm(apart, ord={1: np.inf, 2: 2, "inf": 1}[norm], axis=-1)


def _shares(y: np.ndarray, y_next: np.ndarray, unembed: np.ndarray, norm: Norm) -> np.ndarray:
    """Share of its margin that each pair's step takes: from the inputs, token by token."""
    measured = np.zeros(len(y))
    for i, (row, step) in enumerate(zip(y, y_next - y, strict=True)):
        top = int(np.argmax(unembed @ row))
        apart = np.delete(unembed[top] - unembed, top, axis=0)  # (vocab - 1, d)
        size = np.linalg.norm(step, ord=np.inf if norm == "inf" else norm)
        measured[i] = np.max(_dual(apart, norm) * size / (apart @ row))
    return measured


def _some(shares: np.ndarray) -> Hypothesis:
    """Half the margin is enough whatever rounding the certificate allows for."""
    near = np.any(shares < 0.5)  # False for NaN
    return Hypothesis(name="no pair within half its margin", distance=float(not near))


# Powers of two by which representations, the unembedding, or one up and the other down, are
# multiplied: from subnormal numbers to the largest, past where squares under- and overflow.
SCALES = {
    "float64": (-1063, -1030, -1000, -565, -300, 0, 300, 565, 996),
    "float32": (-147, -133, -120, -63, -20, 0, 20, 63, 110, 124),
}


@jax.jit
def _certified_at_scale(
    y: Float[Array, "pairs d"], y_next: Float[Array, "pairs d"], unembed: Float[Array, "vocab d"]
) -> Bool[Array, "checks pairs"]:
    """Whether each pair is certified: in each norm, and by the products of many pairs."""
    # Each norm alone, vmapped over the pairs: (pairs, d) twice -> (pairs).
    one = lambda norm: jax.vmap(lambda a, b: margin_certificate(a, b, unembed, norm).certified)
    alone = [one(norm)(y, y_next) for norm in NORMS]
    return jnp.stack([*alone, margin_certificates(y, y_next, unembed).certified])


def _scales(suite: Suite) -> Iterator[Measurement]:
    """Certified pairs with two tokens when all is multiplied by a power of two: still none."""
    unembed, y, near = _random(np.random.default_rng(1))
    # With rows of one length, a representation along a row has that row's token.
    unembed /= np.linalg.norm(unembed, axis=1, keepdims=True)
    near = y + (near - y) * np.where(np.arange(len(y)) % 2, 1e-3, 1)[:, None]
    # Every fourth is turned to another token's row, at its own length: never the same token.
    others = np.roll(unembed, 1, axis=0)[np.argmax(y @ unembed.T, axis=1)]
    turned = others * (np.linalg.norm(y, axis=1) / np.linalg.norm(others, axis=1))[:, None]
    y_next = np.where(np.arange(len(y))[:, None] % 4 == 0, turned, near)
    for dtype, exponents in SCALES.items():
        chosen = exponents if suite == "full" else exponents[::3]
        most = np.finfo(dtype).maxexp - 4  # all entries stay finite
        for height, table in ((k, m) for k in chosen for m in sorted({0, k, -k}) if m <= most):
            both = ((y, height), (y_next, height), (unembed, table))
            scaled = [np.ldexp(x, k).astype(dtype) for x, k in both]
            # What is stored may have been rounded to subnormal numbers: its tokens, exactly.
            first, second, rows = (
                np.ldexp(x.astype(np.float64), -k) for x, (_, k) in zip(scaled, both, strict=True)
            )
            differ = np.argmax(first @ rows.T, axis=1) != np.argmax(second @ rows.T, axis=1)
            certified = np.asarray(_certified_at_scale(*map(jnp.asarray, scaled)))
            with np.errstate(divide="ignore", invalid="ignore"):  # a tie among rounded numbers
                shares: dict[object, np.ndarray] = {
                    norm: _shares(first, second, rows, norm) for norm in NORMS
                }
            for measured, check in zip(certified, (*NORMS, "many"), strict=True):
                yield Measurement(
                    setting=f"certified pairs with two tokens, y times 2^{height},"
                    f" W times 2^{table}, {check=}, {dtype}",
                    measured=float(np.sum(measured & differ)),
                    bound=0.0,
                    hypotheses=(_some(shares[2 if check == "many" else check]),),
                    norm="L2" if check == "many" else NAMES[check],
                    dtype=dtype,
                )


class Attack(NamedTuple):
    """A step straight toward the nearest competitor."""

    lost: float  # share of the gap that the step took
    ratio: float  # share that the certificate allows for
    tokens: tuple[float, float]
    roundoff: float


def _attack(norm: Norm, share: float) -> Attack:
    """The shortest step, in a norm, that takes this share of the nearest competitor's gap."""
    unembed, rows, _ = _random(np.random.default_rng(7))
    y = rows[0]
    apart = unembed[np.argmax(unembed @ y)] - unembed
    size, gap = _dual(apart, norm), apart @ y
    # The top token itself, at distance zero, is no competitor.
    nearest = int(np.argmin(np.where(size > 0, gap / np.where(size > 0, size, 1), np.inf)))
    # Steps that attain Hoelder's inequality against w: a coordinate, w itself, all signs.
    w = apart[nearest]
    along = {1: np.sign(w) * (np.arange(DIM) == np.argmax(abs(w))), 2: w / size[nearest]}
    direction = along[norm] if norm in along else np.sign(w)
    y_next = y - share * gap[nearest] / size[nearest] * direction
    # (d) -> (pairs, d): copies, so that the compiled check of many pairs serves for one.
    copies = [np.repeat(each[None], len(rows), axis=0) for each in (y, y_next)]
    checks = np.asarray(_certified(*copies, unembed))
    ratio, token, other = checks[NORMS.index(norm), :, 0].tolist()
    w = unembed[int(token)] - unembed[nearest]
    # Products of DIM terms, twice, and the certificate's allowance: all over the gap.
    terms = np.sum(abs(unembed[int(token)]) + abs(unembed[nearest]))
    scale = terms * (np.max(abs(y)) + np.max(abs(y_next))) / (w @ y)
    return Attack(
        lost=float(w @ (y - y_next) / (w @ y)),
        ratio=ratio,
        tokens=(token, other),
        roundoff=float(4 * (DIM + 16) * DIM * U * scale),
    )


def _within(attack: Attack) -> Hypothesis:
    return Hypothesis(name="share of the gap over one", distance=max(attack.lost - 1, 0.0))


def _tight() -> Iterator[Measurement]:
    """The certificate's ratio is attained, in each norm, and just below one the token stays."""
    for norm in NORMS:
        for share in (0.5, 1 - 2.0**-20):
            attack = _attack(norm, share)
            yield Measurement.equality(
                setting=f"share of the gap taken by the shortest step, {share=:g}, {norm=}",
                measured=attack.lost,
                expected=attack.ratio,
                roundoff=attack.roundoff,
                norm=NAMES[norm],
            )
            yield Measurement(
                setting=f"another token after the shortest step, {share=:g}, {norm=}",
                measured=float(attack.tokens[0] != attack.tokens[1]),
                bound=0.0,
                hypotheses=(_within(attack),),
                norm=NAMES[norm],
            )


@CLAIM.part("ladder")
def _measure(suite: Suite) -> Iterator[Measurement]:
    """Certified pairs with different tokens, of which there must be none; and equality."""
    for seed in range(1 if suite == "quick" else 32):
        unembed, y, y_next = _random(np.random.default_rng(seed))
        y_next[-1] = np.nan
        checks = np.asarray(_certified(y, y_next, unembed))
        numbers = np.all(np.isfinite(y_next), axis=1)
        shares: dict[object, np.ndarray] = {n: _shares(y, y_next, unembed, n) for n in NORMS}
        for (ratio, token, other), check in zip(checks, (*NORMS, "bf16"), strict=True):
            rounded = check == "bf16"
            for i, step in enumerate(STEPS):
                block = slice(i * EACH, (i + 1) * EACH)  # the pairs whose step has this size
                differ = (ratio[block] < 1) & (token[block] != other[block])
                broken = np.isnan(ratio[block]) & numbers[block]  # counts as wrong too
                yield Measurement(
                    setting=f"certified pairs with two tokens, step {step:g}, {check=}, {seed=}",
                    measured=float(np.sum(differ | broken)),
                    bound=0.0,
                    hypotheses=(_some(shares[2 if rounded else check][block]),),
                    norm="L2" if rounded else NAMES[check],
                    rounding="logits to bf16" if rounded else "none",
                )
    yield from _scales(suite)
    unembed, y, y_next = _random(np.random.default_rng(0))
    y_next[-1] = np.nan
    _, token, other = np.asarray(_certified(y, y_next, unembed))[NORMS.index(2), :, -1]
    infinite = float(np.sum(~np.isfinite(y_next[-1])))
    yield Measurement(
        setting="a representation that is not a number",
        measured=float(token != other),
        bound=0.0,
        hypotheses=(Hypothesis(name="entries that are not finite", distance=infinite),),
    )
    yield from _tight()


@CLAIM.part("counter_case")
def _counter_case() -> Iterator[Measurement]:
    for norm in NORMS:
        attack = _attack(norm, 1 + 2.0**-20)
        yield Measurement(
            setting=f"a step just longer than the margin, {norm=}",
            measured=float(attack.tokens[0] != attack.tokens[1]),
            bound=0.0,
            hypotheses=(_within(attack),),
            norm=NAMES[norm],
        )
