"""The ledger: every claim's measurements as rows, and what in them is a failure."""

import dataclasses
import functools
import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax

import glassesjax
from glassesjax.errors import BadInput
from glassesjax.files import Row, Value
from glassesjax.runs.provenance import provenance
from glassesjax.settings import check_settings
from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite

# What tells one row of the ledger from another. Other code makes other rows: a claim that was
# edited is measured again, and no row of yesterday's answers for it.
KEY = ("fingerprint", "claim", "part", "setting")
CODE = ("commit", "source_sha256")
MEASURED = ("ladder", "adversary", "certified")  # parts, each of which must apply somewhere
OPTIMIZATIONS_OFF = "jax_disable_most_optimizations"  # of the whole process: a command's to set
AT_A_TIME = 2  # claims; compiling is most of the work, and does not wait for Python


def all_claims() -> tuple[Claim, ...]:
    """Every claim; imported only when asked for, since no other verb needs them."""
    from proofs_numeric.verify.claims import CLAIMS

    return CLAIMS


@dataclasses.dataclass(frozen=True, kw_only=True)
class VerifySettings:
    """Does every statement of the papers hold, and does every counter-case fail?"""

    only: tuple[str, ...] = ()
    """Names of claims; all if none is named."""
    suite: Suite = "quick"
    """quick: small ladders, under 90 s on two cores. full: longer ladders and ascents."""
    certified: bool = False
    """Enclose small instances in ball arithmetic as well; needs the extra ``certified``."""

    def __post_init__(self) -> None:
        check_settings(self)
        names = [claim.name for claim in all_claims()]
        if unknown := [name for name in self.only if name not in names]:
            wanted = f"Wanted claims out of {', '.join(names)}"
            raise BadInput(f"{wanted}; found {unknown[0]!r}.")
        if self.certified:
            _require_balls()

    @property
    def claims(self) -> tuple[Claim, ...]:
        """The claims to be measured, in the order of the ledger."""
        return tuple(claim for claim in all_claims() if not self.only or claim.name in self.only)


def _require_balls() -> None:
    try:
        import flint  # noqa: F401
    except ImportError:
        install = "pip install 'glassesjax[certified]'"
        raise BadInput(f"Wanted python-flint for --certified; found none: {install}.") from None


def verify(
    settings: VerifySettings, done: Callable[[Row], bool] = lambda row: False
) -> Iterator[tuple[Claim, list[Row]]]:
    """Measures the claims, two at a time.

    No setting of the process is changed. The quick suite takes a quarter of the time where most of
    XLA's optimizations are off, which the command sets, and ``optimized`` tells.

    Args:
      settings: Which claims, and how far.
      done: Whether a claim's rows are there already, asked with the claim's closing row.

    Yields:
      Each claim with its rows, the closing row last; in the order of the ledger.
    """
    closing = {"fingerprint": fingerprint(), "part": "closing", "setting": "all"}
    wanted = [claim for claim in settings.claims if not done(closing | {"claim": claim.name})]
    shared = provenance() | {
        "study": "verify",
        "suite": settings.suite,
        "fingerprint": fingerprint(),
        "matmul_default": "highest",  # as _rows_of asks for
        "optimized": not jax.config.values[OPTIMIZATIONS_OFF],
    }
    pool = ThreadPoolExecutor(AT_A_TIME)
    try:
        found = [pool.submit(_rows_of, claim, settings) for claim in wanted]
        for claim, rows in zip(wanted, found, strict=True):
            yield claim, [{**shared, **row} for row in rows.result()]
    finally:
        pool.shutdown(cancel_futures=True)


@functools.cache
def fingerprint() -> str:
    """Digest of the code that makes the rows, and of the versions and the device it runs on."""
    # Not the commit: it changes with files that make no row. The sources are digested below.
    told = {name: value for name, value in provenance().items() if name not in CODE}
    digest = hashlib.sha256(repr(sorted(told.items())).encode())
    for root in (Path(glassesjax.__file__).parent, Path(__file__).parents[1]):
        for path in sorted(root.rglob("*.py")):
            name = path.relative_to(root)
            if name.parts[0] not in ("report", "cli.py"):  # which only read rows
                digest.update(f"{name}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _rows_of(claim: Claim, settings: VerifySettings) -> list[Row]:
    """All rows of a claim, in a thread of its own: JAX's contexts are the thread's."""
    # Proofs are read in float64; the caller's setting is not touched.
    # Counter-cases put NaN in and look for it in what comes out: it is no fault there.
    with (
        jax.enable_x64(True),
        jax.default_matmul_precision("highest"),
        jax.debug_nans(False),
    ):
        rows = list(claim_rows(claim, settings))
    return [*rows, _closing(claim, rows)]


def claim_rows(claim: Claim, settings: VerifySettings) -> Iterator[Row]:
    """One row for each measurement of a claim.

    Args:
      claim: What is measured.
      settings: How far.

    Yields:
      Flat rows without the provenance; ``part`` says where a row comes from.

    Raises:
      ValueError: Two measurements of a part have one setting, so that one would hide the other.
    """
    parts: dict[str, Iterable[Measurement]] = {"ladder": claim.measure(settings.suite)}
    if claim.adversary:
        parts["adversary"] = claim.adversary(settings.suite)
    parts["counter_case"] = claim.counter_case()
    if settings.certified and claim.certify:
        parts["certified"] = claim.certify()
    for part, measurements in parts.items():
        seen = set()
        for measurement in measurements:
            if measurement.setting in seen:
                found = f"{claim.name} has two of {measurement.setting!r} in its {part}"
                raise ValueError(f"Wanted different settings; {found}: name what differs.")
            seen.add(measurement.setting)
            yield _row(claim, part, measurement)


def failures(rows: Sequence[Row]) -> list[str]:
    """What in a ledger is not as it must be, a line each; empty for a ledger that stands.

    A closing row repeats what its claim's rows say, so that it is not counted again.

    Args:
      rows: Rows of the ledger.

    Returns:
      The lines, in the order of the rows.
    """
    closed = {row["claim"] for row in rows if row["part"] == "closing"}
    cut = dict.fromkeys(str(row["claim"]) for row in rows if row["claim"] not in closed)
    found = [f"{claim}: was cut off before its closing row" for claim in cut]
    measured = [row for row in rows if row["part"] in MEASURED]
    decided = {(r["claim"], r["part"]) for r in measured if r["verdict"] != "not_applicable"}
    idle = dict.fromkeys(
        (r["claim"], r["part"]) for r in measured if (r["claim"], r["part"]) not in decided
    )
    found += [f"{claim}: nothing of its {part} met the hypotheses" for claim, part in idle]
    for row in rows:
        name = f"{row['claim']} ({row['part']}, {row['setting']})"
        if row["part"] == "closing":
            if not row["measurements"]:
                found.append(f"{row['claim']}: no measurement")
            if not row["counter_cases"]:
                found.append(f"{row['claim']}: no counter-case")
        elif row["verdict"] == "violated":
            found.append(f"{name}: violated, {row['measured']} against {row['bound']}")
        elif str(row["hypotheses"]).startswith("unmeasured"):
            found.append(f"{name}: a hypothesis could not be measured, {row['hypotheses']}")
        elif row["counter_case"] == "does not fail":
            found.append(f"{name}: a counter-case that does not fail")
        elif row["part"] == "certified" and row["verdict"] != "holds":
            found.append(f"{name}: not certified, {row['hypotheses']}")
    return found


def _row(claim: Claim, part: str, found: Measurement) -> dict[str, Value]:
    detail = "; ".join(map(_words, found.hypotheses))
    return {
        "claim": claim.name,
        "kind": claim.kind,
        "source": claim.source,
        "part": part,
        "setting": found.setting,
        "size": found.size,
        "norm": found.norm or claim.norm,
        "dtype": found.dtype,
        "rounding": found.rounding,
        "hypotheses": _state(found.hypotheses),
        "hypotheses_measured": detail,
        "measured": found.measured,
        "bound": found.bound,
        "floor": found.floor,
        "roundoff": found.roundoff,
        "tightness": found.tightness,
        "verdict": found.verdict,
        "counter_case": _bite(found) if part == "counter_case" else None,
        "certified": found.certified,
    }


def _bite(found: Measurement) -> str:
    """A counter-case must lie outside the hypotheses, and the inequality must fail by numbers."""
    outside = not found.applies and all(each.measured for each in found.hypotheses)
    known = not math.isnan(found.measured) and math.isfinite(found.bound)
    return "fails as it must" if outside and known and not found.within else "does not fail"


def _state(hypotheses: tuple[Hypothesis, ...]) -> str:
    if unmeasured := [each.name for each in hypotheses if not each.measured]:
        return f"unmeasured: {', '.join(unmeasured)}"
    if unmet := [each.name for each in hypotheses if not each.met]:
        return f"unmet: {', '.join(unmet)}"
    return "met" if hypotheses else "none needed"


def _words(hypothesis: Hypothesis) -> str:
    return f"{hypothesis.name}: {hypothesis.distance:.3g} (allowed {hypothesis.allowed:.3g})"


def _closing(claim: Claim, rows: Sequence[Row]) -> dict[str, Value]:
    """One row a claim: its worst tightness, and that the claim is complete."""
    tried = [row for row in rows if row["part"] != "counter_case"]
    held = [row for row in tried if row["verdict"] == "holds"]
    # Equalities are at one but for rounding; what is asked is how close an inequality comes.
    known = [
        float(row["tightness"])
        for row in held
        if row["tightness"] is not None and row["floor"] != row["bound"]
    ]
    bad = any(row["verdict"] == "violated" for row in tried)
    cases = [row["counter_case"] for row in rows if row["part"] == "counter_case"]
    return {
        "claim": claim.name,
        "kind": claim.kind,
        "source": claim.source,
        "part": "closing",
        "setting": "all",
        "norm": claim.norm,
        "measurements": len(tried),
        "holding": len(held),
        "counter_cases": len(cases),
        "tightness": max(known, default=None),
        "verdict": "violated" if bad else "holds" if held else "not_applicable",
        "counter_case": "fails as it must"
        if cases and all(case == "fails as it must" for case in cases)
        else "does not fail",
        "certified": any(row["certified"] and row["verdict"] == "holds" for row in tried),
    }
