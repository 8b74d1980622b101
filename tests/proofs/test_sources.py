"""What is cited: nothing from hearsay, and what is "after" a paper is proved or enclosed."""

import re
from pathlib import Path

import pytest

import glassesjax
import proofs_numeric
from proofs_numeric.claim import Kind
from proofs_numeric.verify.discovery import load, modules

CLAIMS = load(modules())
ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "statements"
SOURCES = [
    *sorted(Path(glassesjax.__file__).parent.rglob("*.py")),
    *sorted(Path(proofs_numeric.__file__).parent.rglob("*.py")),
    *sorted(PAGES.glob("*.md")),
    *sorted(ROOT / "docs" / f"{name}.md" for name in ("verify", "tasks", "commands", "training")),
    ROOT / "README.md",
]
# A statement is read in its paper, or proved here; there is no third way to cite one.
HEARSAY = re.compile(
    r"read in (?:an? )?(?:summar|review)|\bsummaries\b|\brecalled\b|from memory|as others quote"
    r"|[(,] ?secondary|secondary source",
    re.IGNORECASE,
)
PROVED = re.compile(r"docs/statements/(\w+)\.md")
# Papers of which we have not read the whole; a source that names one says "after".
AFTER = (
    *("2410.01104", "2501.19399", "2510.05554", "2508.17821", "2504.02732", "2602.16837"),
    *("2603.10123", "2103.03404", "2505.10606", "2108.12409", "1706.03762"),
)


def unproved(claims, pages):
    """Claims after a paper whose page has no proof, and that no ball encloses."""
    proofs = {name for name, text in pages.items() if re.search(r"^## Proof$", text, re.MULTILINE)}
    return [
        claim.name
        for claim in claims
        if "after" in claim.source and claim.page not in proofs and claim.certify is None
    ]


def sources():
    """Each source of a docstring in the package, by file: from its head to the next section."""
    for path in SOURCES:
        if path.suffix == ".py":
            text = path.read_text(encoding="utf-8")
            for found in re.finditer(r"^ +Source: (.*?)(?=\n\n|\n +Differs:)", text, re.M | re.S):
                yield path, " ".join(found[1].split())


def pages():
    return {path.stem: path.read_text(encoding="utf-8") for path in PAGES.glob("*.md")}


def test_nothing_is_cited_from_hearsay():
    texts = {path: path.read_text(encoding="utf-8") for path in SOURCES}
    found = {path.name: HEARSAY.findall(text) for path, text in texts.items()}
    assert {name: hits for name, hits in found.items() if hits} == {}


@pytest.mark.parametrize(
    "text",
    [
        "Source: arXiv 2504.02732 (secondary).",
        "source='arXiv 2504.02732 (recalled; the constant is ours)'",
        "The papers' limits were read in summaries.",
        "Source: arXiv 2501.19399 (read in a summary).",
    ],
)
def test_hearsay_is_recognized(text):
    assert HEARSAY.search(text)


def test_a_claim_after_a_paper_has_a_proof_on_its_page_or_an_enclosure():
    assert unproved(CLAIMS, pages()) == []
    assert sum("after" in claim.source for claim in CLAIMS) > 5


def test_a_page_without_a_proof_is_noticed():
    without = {name: text.replace("## Proof", "## Why") for name, text in pages().items()}
    enclosed = {claim.name for claim in CLAIMS if claim.certify}
    after = {claim.name for claim in CLAIMS if "after" in claim.source}
    assert set(unproved(CLAIMS, without)) == after - enclosed != set()


def test_pages_of_claims_exist_and_follow_ups_have_one():
    named = {claim.page for claim in CLAIMS if claim.page}
    assert named <= pages().keys()
    assert all(claim.page for claim in CLAIMS if claim.kind == "follow_up")


def test_a_source_names_a_paper_that_was_not_read_only_as_after_it():
    plain = [
        (path.name, source)
        for path, source in sources()
        for paper in AFTER
        if paper in source and "after" not in source
    ]
    assert plain == []
    bare = [c.name for c in CLAIMS for p in AFTER if p in c.source and "after" not in c.source]
    assert bare == []


def test_a_source_that_says_proved_leads_to_a_proof():
    found = [(path, name) for path, source in sources() for name in PROVED.findall(source)]
    assert len(found) > 20
    texts = pages()
    assert [(path.name, name) for path, name in found if "\n## Proof\n" not in texts[name]] == []


def test_a_statement_after_a_paper_is_a_definition_or_proved():
    loose = [
        (path.name, source)
        for path, source in sources()
        if re.search(r"\bafter arXiv", source)
        and "definition" not in source
        and not PROVED.search(source)
    ]
    assert loose == []


def test_the_pages_say_how_many_claims_there_are():
    counts = {kind: sum(claim.kind == kind for claim in CLAIMS) for kind in Kind.__args__}
    text = " ".join((ROOT / "docs" / "verify.md").read_text(encoding="utf-8").split())
    assert (
        f"{len(CLAIMS)} claims: {counts['statement']} statements, {counts['erratum']} errata, "
        f"{counts['follow_up']} follow-ups and {counts['figure']} figures"
    ) in text
    assert f"{len(CLAIMS)} claims" in " ".join((ROOT / "README.md").read_text("utf-8").split())
