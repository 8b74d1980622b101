"""The generate page on rows whose every number is known."""

import re

import numpy as np
import pytest
from studies.collapse.test_page import Reader, answer, findings
from studies.generate.made_generate import made_result, made_rows, run_of

from glassesjax.errors import BadInput
from glassesjax.report.maps import SHADES
from glassesjax.studies.generate.page import values
from glassesjax.studies.generate.summary import summarize
from glassesjax.studies.generate.texts import PROMPT_SHOWN, Texts


def page_of(rows=None):
    return made_result(rows).files()["index.html"]


def answers_of(other):
    """Two policies, of which one writes what the other does."""
    rows = made_rows(policies=(other, other))
    half = len(rows) // 2
    return [row | {"policy": "tova" if at < half else "full"} for at, row in enumerate(rows)]


@pytest.fixture(scope="module")
def page():
    return page_of()


def test_the_page_is_whole_and_stands_alone(page):
    reader = Reader(page)
    assert reader.open == []
    assert len(reader.ids) == len(set(reader.ids))
    assert not reader.tags & {"link", "img", "iframe", "a"}
    assert "http" not in page.replace("http://www.w3.org", "")
    assert set(re.findall(r"url\((.)", page)) <= {"#"}


def test_what_comes_from_data_is_escaped_and_line_ends_show(page):
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert ">&lt;b&gt;</span>" in page
    assert "> a⏎\n</span>" in page


def test_the_ground_is_the_share_of_layers_that_cache_the_token(page):
    tokens = re.findall(r'style="--i:(\d+)%" data-tip="position (\d), ([^"]*)"', page)
    assert [(int(at), int(share)) for share, at, _ in tokens[:6]] == [
        (0, 100), (1, 50), (2, 0), (3, 100), (4, 25), (5, 0)
    ]  # fmt: skip
    tips = [tip.split("&#10;") for _, _, tip in tokens[:6]]
    assert tips[1][1:] == ["cached by 2 of 4 layers at the end", "first evicted after position 5"]
    assert tips[2][2:] == ["first evicted after position 3", "evicted by all after position 4"]
    assert tips[5][1] == "chosen last, and never read"
    assert page.count('class=" gone"') == 1
    assert page.count('style="--i:') == 6 + 2  # of the policy's text, and of the legend
    assert re.findall(r'data-life="(\d \d? \d?)"', page) == ["0  ", "1 5 ", "2 3 4", "3  ", "4 5 "]
    assert re.findall(r'data-life="(\d)"', page) == ["5", *"012345"]


def test_the_slider_counts_what_is_cached_after_each_position():
    run = run_of(made_rows())
    rows = values(Texts(run.rows), summarize(run))
    assert [row["position"] for row in rows] == [0, 1, 2, 3, 4]
    assert [row["by_all"] for row in rows] == [1, 2, 3, 3, 4]
    assert [row["by_none"] for row in rows] == [0, 0, 0, 0, 1]


def test_a_shorter_text_stays_as_it_ended():
    shorter = [row | {"prompt": 1} for row in made_rows() if row["position"] < 5]
    for row in shorter:
        if row["position"] == 4:
            for name in ("retained_layers", "retained_share", "first_evicted_at"):
                row.pop(name, None)
    run = run_of([*made_rows(), *shorter])
    rows = [row for row in values(Texts(run.rows), summarize(run)) if row["text"] == 2]
    assert [row["by_all"] for row in rows] == [1, 2, 3, 3, 3]
    assert [row["by_none"] for row in rows] == [0, 0, 0, 0, 0]


def test_the_map_has_the_state_of_each_token_after_each_position():
    (draw,) = made_result().figures.values()
    (image,) = draw().axes[0].images
    opacity = np.asarray(image.get_array())[..., 3]
    assert opacity[2] == pytest.approx([0, 0, 1, np.sqrt(0.5), 0], abs=0.5 / SHADES)
    assert not made_result(answers_of("full")).figures


def test_the_first_token_that_differs_is_marked_in_both_texts(page):
    assert re.findall(r'class="parts[^>]*>([^<]*)<', page) == ["y", "w"]
    assert 'class="parts' not in page_of(made_rows(policies=("tova",)))


def test_a_token_that_ends_the_text_is_shown_by_its_name(page):
    assert ">&lt;end&gt;</span>" in page


MANY = [row | {"prompt": prompt} for prompt in (0, 1) for row in made_rows()]


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        (made_rows(), "parts from that of the full cache after 1 of 3 tokens: “y” instead of “w”"),
        (
            [
                r | ({"token": 7} if (r["policy"], r["position"]) == ("full", 3) else {})
                for r in MANY[:12]
            ],
            "parts from that of the full cache at the first token: “␣x” instead of “␣x”",
        ),
        (
            MANY,
            "2 of 2 texts under tova part from those of the full cache, the earliest after token 1",
        ),
        (answers_of("tova"), "tova with 2 slots writes the same 3 tokens as the full cache"),
        (answers_of("full"), "All 5 tokens that were read are cached by all layers: nothing is"),
        (made_rows(policies=("tova",)), "tova with 2 slots evicts 3 of 5 tokens in at least one"),
        (
            [r | ({"finite": False} if r["kind"] == "answer" else {}) for r in made_rows()],
            "The logits are not finite in 6 of 6 written tokens",
        ),
    ],
    ids=["parts", "at once", "several", "same", "nothing evicted", "alone", "not finite"],
)
def test_the_texts_are_titled_by_the_answer(rows, text):
    page = page_of(rows)
    assert text in answer(page)
    assert Reader(page).open == []


def test_the_summary_by_hand():
    whole = summarize(run_of(made_rows()))
    assert (whole.read, whole.retained_by_all, whole.retained_by_none, whole.evicted) == (
        5,
        2,
        1,
        3,
    )
    assert (whole.agreement, whole.parted, whole.first_parting) == (1, 1, 1)
    assert whole.prompts[0].parting == ["y", "w"]
    alone = summarize(run_of(made_rows(policies=("tova",))))
    assert (alone.agreement, alone.parted, alone.prompts[0].parting) == (None, 0, [])


def test_findings_are_numbers_of_the_summary(page):
    assert findings(page)[:2] == ["2 of 5", "2.3\N{MULTIPLICATION SIGN}"]
    assert findings(page_of(made_rows(policies=("tova",))))[1] == "3.00 KiB"


def test_each_text_under_each_policy_is_a_record(page):
    assert re.findall(r'<tbody data-policy="(\w+)"', page) == ["tova", "full"]
    assert re.findall(r'<tbody data-policy="(\w+)"', page_of(MANY)) == ["tova", "full"] * 2


def test_the_order_of_the_rows_means_nothing(page):
    assert page_of(made_rows()[::-1]) == page


def test_of_a_long_prompt_the_last_tokens_are_shown():
    rows = made_rows(policies=("tova",))
    prompt = next(row for row in rows if row["kind"] == "prompt")
    answers = [row for row in rows if row["kind"] == "answer"]
    count = PROMPT_SHOWN + 5
    many = [prompt | {"position": at, "prompt_tokens": count} for at in range(count)]
    moved = [row | {"position": count + row["step"], "prompt_tokens": count} for row in answers]
    page = page_of([*many, *moved])
    assert "… 5 tokens before" in page
    assert page.count(">&lt;b&gt;</span>") == PROMPT_SHOWN


@pytest.mark.parametrize("lacking", [("full", 1), ("tova", 0)])
def test_a_run_that_was_cut_off_within_a_text_is_one_line(lacking):
    rows = [row | {"prompt": prompt} for prompt in (0, 1) for row in made_rows()]
    summarize(run_of(rows))
    kept = [r for r in rows if (r["policy"], r["prompt"]) != lacking or r["kind"] == "prompt"]
    with pytest.raises(BadInput, match="Expected what {} wrote after prompt {}".format(*lacking)):
        summarize(run_of(kept))
