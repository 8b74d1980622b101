"""Pages in a browser: each control does what it says, at two widths; and what stands without it."""

import html
import importlib.resources
import json
import math
import random
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from report.made_pages import MADE

import glassesjax
from glassesjax import registry
from glassesjax.report.numbers import number, percent
from glassesjax.report.render import TEMPLATES

CHROMIUM = shutil.which("chromium")
STORED = Path(__file__).parents[1] / "data" / "schema_1"
PROBE = Path(__file__).with_name("probe.js")
FRAMES = {"wide": 1280, "phone": 390, "plain": 1280}
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--enable-logging=stderr",
)  # fmt: skip
# What is thrown or asked for is caught, before anything else of the page is read.
CATCH = """<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<script>window.errors = [];
addEventListener("error", e => errors.push(String(e.message)));
addEventListener("unhandledrejection", e => errors.push(String(e.reason)));
addEventListener("securitypolicyviolation", e => errors.push(`asked for ${e.blockedURI}`));
console.error = console.warn = (...words) => errors.push(words.join(" "));</script>"""


def templated():
    """The verbs whose page is a template."""
    for verb, place in registry.VERBS.items():
        package = place.partition(":")[0].rpartition(".")[0]
        if (importlib.resources.files(package) / "page.html.j2").is_file():
            yield verb


def results_of(verb):
    """What is shown of a verb: its stored runs and the made ones, by name."""
    for path in sorted(STORED.iterdir()):
        if path.name.partition("-")[0] == verb:
            yield path.name, glassesjax.read(path)
    yield from MADE.get(verb, dict)()


def framed(page):
    """A page that holds another one in three frames, the last without script, and the probe."""
    caught = page.replace("<head>", f"<head>{CATCH}", 1)
    frames = [
        f'<iframe name="{name}" width="{width}" height="900" srcdoc="{html.escape(caught)}"'
        f"{' sandbox=allow-same-origin' if name == 'plain' else ''}></iframe>"
        for name, width in FRAMES.items()
    ]
    script = f"<script>{PROBE.read_text('utf-8')}</script>"
    return f'<!doctype html><meta charset="utf-8"><body>{"".join(frames)}{script}</body>'


def dumped(file):
    """What a browser makes of a page: its elements as text, and the console's lines."""
    profile = f"--user-data-dir={file.parent / 'profile'}"
    words = [CHROMIUM, *QUIET, profile, "--window-size=1400,1000", "--dump-dom", file.as_uri()]
    return subprocess.run(words, capture_output=True, text=True, timeout=300, check=True)


def probed(page, folder):
    """What the probe says of a page, by frame, and the console's errors."""
    file = folder / "framed.html"
    file.write_text(framed(page), "utf-8")
    done = dumped(file)
    answer = re.search(r"<pre>(.*?)</pre>", done.stdout, re.DOTALL)
    # Chromium says of the frame without script that it ran none.
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return json.loads(html.unescape(answer[1])), [x for x in console if "sandboxed" not in x]


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium on the PATH")
@pytest.mark.parametrize("verb", [*templated()])
def test_every_control_of_a_page_does_what_it_says(verb, tmp_path):
    wrong, used = {}, dict.fromkeys(("sorts", "folds", "words", "marks"), 0)
    for name, result in results_of(verb):
        answers, console = probed(result.files()["index.html"], tmp_path)
        assert [*answers] == [*FRAMES]
        faults = {frame: each["faults"] for frame, each in answers.items() if each["faults"]}
        faults |= {"console": console} if console else {}
        wrong |= {name: faults} if faults else {}
        used = {key: count + answers["phone"]["used"][key] for key, count in used.items()}
    assert wrong == {}
    assert all(used.values()), used


def grid():
    """Numbers of all sizes, and those that lie half-way between two short ones or nearly so."""
    near = [at / 2**k for at in range(1, 200) for k in (0, 1, 3, 5)]
    near += [at * 10.0**e for at in (1, 1.25, 2.5, 9.949, 9.96, 9.996) for e in range(-7, 8)]
    draw = random.Random(0)
    near += [10 ** draw.uniform(-9, 9) for _ in range(300)]
    return [0.0, math.nan, math.inf, *near, *(-x for x in near)]


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium on the PATH")
def test_the_script_writes_numbers_as_python_does(tmp_path):
    values = grid()
    shares = [x if 0 <= x <= 1 else math.nan for x in values]
    lines = "".join(f"1,{at},{x!r},{shares[at]!r}\n" for at, x in enumerate(values))
    rows = "".join(
        f'<tr data-row="{at}"><td data-field="value"></td>'
        '<td data-field="share" data-unit="share"></td></tr>'
        for at in range(len(values))
    )
    slider = '<input type="range" max="0" value="0" data-slider="d" data-key="at" data-values="1">'
    data = f'<script type="text/csv" id="d">n,at,value,share\n{lines}</script>'
    script = (importlib.resources.files(TEMPLATES) / "page.js").read_text("utf-8")
    file = tmp_path / "numbers.html"
    page = f"<figure>{slider}<table>{rows}</table>{data}</figure><script>{script}</script>"
    file.write_text(f'<!doctype html><meta charset="utf-8"><body>{page}</body>', "utf-8")
    cells = re.findall(r'<td data-field="\w+"[^>]*>([^<]*)</td>', dumped(file).stdout)
    wanted = [text for at, x in enumerate(values) for text in (number(x), percent(shares[at]))]
    pairs = zip(cells, wanted, strict=True)
    assert [pair for pair in pairs if pair[0] != pair[1]] == []


@pytest.mark.slow
@pytest.mark.parametrize("verb", [*templated()])
def test_no_page_names_an_address_but_that_of_svg(verb):
    for _, result in results_of(verb):
        page = result.files()["index.html"]
        assert set(re.findall(r"https?://[^\s\"'<>)]*", page)) <= {
            "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink",
            "http://www.w3.org/1998/Math/MathML",
        }  # fmt: skip
        # A sweep links to the pages of its cells, which lie beside its own.
        assert not re.search(
            r'(?:src|href)="(?!#|cells/|data:image/png;base64,)|@import|url\((?!#)', page
        )


BLOCK = re.compile(r"(?<=:root)([^{]*)\{([^}]*--paper[^}]*)\}")
TEXT = ("ink", "soft", "link", "c1", "c2", "c3", "c4", "c5", "c6")
GROUNDS = ("paper", "wash", "band")


def style():
    return (importlib.resources.files(TEMPLATES) / "page.css").read_text("utf-8")


def themes():
    """The colors of each theme: light, dark by the system's choice, dark by the button."""
    blocks = [dict(re.findall(r"--(\w+):(#\w{6})", block)) for _, block in BLOCK.findall(style())]
    return dict(zip(("light", "dark", "forced"), blocks, strict=True))


def luminance(color):
    """Relative luminance as WCAG 2.2 defines it."""
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
    return sum(w * x for w, x in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(first, second):
    low, high = sorted(luminance(color) for color in (first, second))
    return (high + 0.05) / (low + 0.05)


def test_contrast_by_hand():
    assert contrast("#ffffff", "#000000") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)  # WebAIM's example


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_texts_stand_out_from_their_ground(theme):
    tokens = themes()[theme]
    pairs = [(text, ground) for text in TEXT for ground in GROUNDS]
    pairs += [("paper", "ink"), ("ink", "h1")]  # of a pressed button and a tip; of a full heat cell
    weak = {pair: contrast(*(tokens[name] for name in pair)) for pair in pairs}
    assert {pair: ratio for pair, ratio in weak.items() if ratio < 4.5} == {}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_states_stand_out_from_the_paper(theme):
    """Three to one, as of what is no text."""
    tokens = themes()[theme]
    weak = {name: contrast(tokens[name], tokens["paper"]) for name in ("h1", "h2", "h3")}
    assert {name: ratio for name, ratio in weak.items() if ratio < 3} == {}


def test_the_style_sheet_colors_texts_by_these_tokens_alone():
    used = set(re.findall(r"(?<![\w-])color:\s*([^;}]+)", style()))
    assert used <= {*(f"var(--{name})" for name in (*TEXT, "paper")), "inherit"}


def test_no_text_is_made_weak_by_opacity():
    """But what a reader switched off, and what is no text."""
    weak = re.findall(r"([^{}]*)\{[^}]*(?<![\w-])opacity:\s*(?:0|\.\d+)[;}]", style())
    assert [each.strip() for each in weak] == [
        "button[data-toggle][aria-pressed=false] .box", ".plot svg [data-series].off", ".tip"
    ]  # fmt: skip


def test_soft_tokens_have_no_ground():
    """The ground of a token is a mixture, on which soft text does not stand out."""
    rules = re.findall(r"(\.tokens [^{}]*)\{([^}]*)\}", style())
    soft = {name: body for name, body in rules if "--soft" in body}
    assert any(".gone" in name and ".unread" in name for name in soft)
    assert all("background:none" in body for body in soft.values())


def test_dark_is_the_same_by_choice_and_by_button():
    known = themes()
    assert known["dark"] == known["forced"]
    assert known["dark"].keys() == known["light"].keys()
