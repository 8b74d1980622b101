// Uses a page as a reader would, in three frames: a desk's width, a phone's, and without script.
// What went wrong is a line of ``faults``; how much there was to use stands in ``used``.
(() => {
  const all = (s, e) => [...e.querySelectorAll(s)], shown = e => e.getClientRects().length > 0;
  const after = (x, y) => typeof x !== typeof y ? (typeof x === "number" ? -1 : 1)  // numbers before words
    : typeof x === "number" ? x - y : x.localeCompare(y);
  const sorted = (keys, sign) => keys.every((k, i) => !i || sign * after(keys[i - 1], k) <= 0);

  const probe = name => {
    const win = frames[name], doc = win.document, root = doc.documentElement;
    const faults = [], used = {sorts: 0, words: 0, filters: 0, steps: 0, toggles: 0, folds: 0, marks: 0, opened: 0, cut: 0};
    const want = (holds, text) => holds || faults.push(text);
    const fits = when => want(root.scrollWidth <= root.clientWidth, `overflow of ${root.scrollWidth - root.clientWidth} px ${when}`);
    const press = (plot, key) => plot.dispatchEvent(new win.KeyboardEvent("keydown", {key, bubbles: true, cancelable: true}));
    fits("at first");
    all("details", doc).forEach(fold => {
      fold.querySelector("summary").click();
      want(fold.open && fold.lastElementChild.getBoundingClientRect().height > 0, `no fold: ${fold.textContent.slice(0, 40)}`);
      used.folds += 1;
    });
    fits("unfolded");
    // A table that is cut says so and fades there; its head is no taller than four lines.
    all(".scroll", doc).filter(shown).forEach(box => {
      const about = box.getAttribute("aria-label") || box.textContent.trim().slice(0, 40), hint = box.previousElementSibling;
      const over = box.scrollWidth - box.clientWidth, faded = () => win.getComputedStyle(box).maskImage !== "none";
      want(hint.className === "more-columns" && shown(hint) === over > 1, `${about}: ${over} px over, but the line is ${shown(hint) ? "" : "not "}there`);
      want(faded() === over > 1, `${about}: ${over} px over, but ${faded() ? "" : "not "}faded`);
      const head = box.querySelector("thead").getBoundingClientRect().height;
      want(head < 130, `${about}: a head of ${head} px`);
      used.cut += over > 1;
    });
    // No text of a figure lies on another one.
    all("svg", doc).filter(shown).forEach(svg => {
      const texts = all("text", svg).filter(e => shown(e) && e.textContent.trim());
      const boxes = texts.map(e => e.getBoundingClientRect());
      boxes.forEach((a, i) => boxes.slice(i + 1).forEach((b, j) => {
        const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
        const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
        want(across < 2 || down < 0.1 * Math.min(a.height, b.height),
          `texts on each other: ${texts[i].textContent.trim()} and ${texts[i + 1 + j].textContent.trim()}`);
      }));
    });
    const ids = all("[id]", doc).map(e => e.id);
    want(new Set(ids).size === ids.length, `ids twice: ${ids.filter((id, i) => ids.indexOf(id) < i).slice(0, 3)}`);
    all("button", doc).filter(shown).forEach(b =>
      want(b.getBoundingClientRect().height >= 24, `a button of ${b.getBoundingClientRect().height} px: ${b.textContent}`));

    all("table[data-records]", doc).forEach((table, number) => {
      const box = table.closest("section"), about = `table ${number}`, records = () => [...table.tBodies];
      const heads = [...[...table.tHead.rows].at(-1).cells], every = records().length;
      const visible = () => records().filter(shown), count = () => all(".count", box).map(c => c.textContent.trim());
      const counted = n => want(count().every(c => c === `${n} of ${every}`), `${about} counts ${count()} for ${n} of ${every}`);
      heads.forEach((th, i) => {
        const button = th.querySelector("button.sort");
        if (!button) return;
        records().forEach(r => want([...r.rows[0].cells].reduce((n, c) => n + c.colSpan, 0) === heads.length, `${about}: cells unlike heads`));
        const key = r => { const c = r.rows[0].cells[i], v = !c || c.colSpan > 1 ? "" : c.dataset.v ?? c.textContent.trim(); return v === "" || isNaN(v) ? v : Number(v); };
        for (const [sign, order] of [[1, "ascending"], [-1, "descending"]]) {
          button.click();
          const keys = records().map(key), some = keys.filter(k => k !== "");
          want(!keys.some(k => /^([-−]?(nan|inf)|–|not finite.*|.* × 10.*)$/i.test(k)), `${about}, ${th.textContent}: sorts numbers as words`);
          want(sorted(some, sign), `${about}, ${th.textContent}: not ${order}: ${keys.slice(0, 6)}`);
          want(keys.slice(some.length).every(k => k === ""), `${about}, ${th.textContent}: empty keys before others`);
          want(all("[aria-sort]", table).length === 1 && th.getAttribute("aria-sort") === order, `${about}: aria-sort`);
        }
        used.sorts += 1;
      });
      all("input[type=search]", box).forEach(input => {
        const word = w => { input.value = w; input.dispatchEvent(new win.Event("input", {bubbles: true})); };
        const first = records().at(-1).textContent.trim().split(/\s+/)[0];
        word(first.toUpperCase());
        const hits = records().filter(r => r.textContent.toLowerCase().includes(first.toLowerCase())).length;
        want(hits > 0 && visible().length === hits, `${about}: ${visible().length} instead of ${hits} with ${first}`);
        counted(hits);
        word("no such word");
        want(visible().length === 0, `${about}: rows without the word`);
        word("");
        want(visible().length === every, `${about}: rows missing without a word`);
        used.words += 1;
      });
      all("button[data-filter]", box).forEach(button => {
        const [k, v] = button.dataset.filter.split(":");
        if (!v) return;
        button.click();
        const mine = records().filter(r => r.dataset[k] === v).length;
        want(mine > 0 && visible().length === mine, `${about}: ${visible().length} instead of ${mine} for ${k} ${v}`);
        counted(mine);
        const on = all(`button[data-filter^="${k}:"][aria-pressed=true]`, box);
        want(on.length === 1 && on[0] === button, `${about}: buttons pressed for ${k}`);
        all(`button[data-filter="${k}:"]`, box)[0].click();
        want(visible().length === every, `${about}: rows missing without ${k}`);
        used.filters += 1;
      });
      all("button[data-open]", table).forEach(button => {
        const more = button.closest("tbody").rows[1];
        want(!shown(more), `${about}: a record is open`);
        button.click();
        want(shown(more) && button.getAttribute("aria-expanded") === "true", `${about}: a record does not open`);
        button.click();
        want(!shown(more) && button.getAttribute("aria-expanded") === "false", `${about}: a record does not close`);
        used.opened += 1;
      });
    });

    all("input[type=range]", doc).forEach(input => {
      const figure = input.closest("figure"), steps = input.dataset.values.split(",");
      const state = () => ({
        output: all("output", figure).map(o => o.textContent).join(),
        cursor: all("svg .cursor", figure).map(c => c.getAttribute("x1")).join(),
        drawn: all("svg .drawn", figure).map(p => p.getAttribute("d")).join(),
        tips: all(".hits [data-span]", figure).map(h => h.dataset.tip).join(),
        colors: all(".tokens [style]", figure).map(t => t.getAttribute("style")).join(),
        values: all("[data-field]", figure).map(c => c.textContent.trim()).join(),
      });
      const seen = steps.map((step, i) => {
        input.value = i; input.dispatchEvent(new win.Event("input", {bubbles: true}));
        want(!state().output || state().output.split(",").every(o => o === step), `slider: ${state().output} for ${step}`);
        used.steps += 1;
        const ground = token => win.getComputedStyle(token).backgroundColor;
        want(all(".gone, .unread", figure).every(token => ground(token) === "rgba(0, 0, 0, 0)"), "soft text on a ground");
        return state();
      });
      const lone = all(".tokens [style]", figure).length === 1;  // whose share is always the whole
      if (steps.length > 1) for (const part of lone ? ["output", "cursor"] : ["output", "cursor", "colors"])
        want(!seen.some(s => /[1-9]/.test(s[part])) || new Set(seen.map(s => s[part])).size > 1, `slider: the ${part} stands still`);
      const few = part => new Set(seen.map(s => s[part])).size === 1;
      want(few("tips") || !few("drawn"), "slider: what is drawn stands still");
      if (!input.dataset.slider) return;
      const rows = doc.getElementById(input.dataset.slider).textContent.trim().split("\n").slice(1);
      const texts = rows.map(r => r.split(",").slice(1).join());
      want(!seen[0].values || new Set(seen.map(s => s.values)).size > 1 || new Set(texts).size <= texts.length / steps.length,
        "slider: the values stand still");
    });

    all("button[data-toggle]", doc).forEach(button => {
      const figure = button.closest("figure"), series = button.dataset.toggle;
      const parts = () => all("[data-series]", figure).filter(e => e.dataset.series === series);
      want(parts().length > 0, `nothing is ${series}`);
      button.click();
      want(parts().every(e => e.classList.contains("off")) && button.getAttribute("aria-pressed") === "false", `${series} stays on`);
      button.click();
      want(!parts().some(e => e.classList.contains("off")) && button.getAttribute("aria-pressed") === "true", `${series} stays off`);
      used.toggles += 1;
    });

    const tip = doc.querySelector(".tip"), open = () => tip.classList.contains("on");
    all(".plot[tabindex]", doc).filter(shown).forEach(plot => {
      want((plot.getAttribute("aria-label") || "").length > 20, "a figure without a text");
      const marks = all("[data-tip]", plot).filter(shown), text = i => marks.at(i).dataset.tip;
      if (!marks.length) return;
      marks.forEach((mark, i) => {
        press(plot, "ArrowRight");
        want(open() && tip.textContent === text(i), `arrow to the right: ${tip.textContent} for ${text(i)}`);
        const box = tip.getBoundingClientRect();
        want(box.left >= 0 && box.right <= win.innerWidth, `a value outside the window: ${text(i)}`);
        if (!mark.dataset.go) return;
        const record = doc.getElementById(mark.dataset.go);
        press(plot, "Enter");
        want(record && shown(record) && (!record.rows[1] || shown(record.rows[1])), `no record ${mark.dataset.go}`);
      });
      press(plot, "ArrowRight");
      want(tip.textContent === text(0), "arrows do not go round");
      press(plot, "ArrowLeft");
      want(tip.textContent === text(-1), "arrow to the left");
      press(plot, "Escape");
      want(!open(), "a value stays after Escape");
      marks[0].dispatchEvent(new win.PointerEvent("pointerover", {bubbles: true}));
      want(open() && tip.textContent === text(0), "no value on hover");
      press(plot, "Escape");
      used.marks += marks.length;
    });

    all("[data-csv]", doc).forEach(button => {
      const text = doc.getElementById(button.dataset.csv).textContent, area = doc.createElement("textarea");
      area.innerHTML = text;  // which undoes what is escaped
      let saved = "";
      win.Blob = class { constructor(parts) { saved = parts.join(""); } };
      win.URL.createObjectURL = () => "";
      win.HTMLAnchorElement.prototype.click = () => {};
      button.click();
      want(saved === area.value.trim() + "\n" && !text.includes("<"), `download of ${button.dataset.csv}`);
      const cells = line => line.replace(/"[^"]*"/g, "").split(",").length, lines = saved.trim().split("\n").map(cells);
      want(lines.length > 1 && lines.every(n => n === lines[0]), `data of ${button.dataset.csv}`);
    });
    all("details", doc).forEach((fold, i) => { fold.open = i === 1; });
    const more = all("tr.more", doc), state = () => String([...all("details", doc).map(e => e.open), ...more.map(e => e.hidden)]);
    const before = state();
    win.dispatchEvent(new win.Event("beforeprint"));
    want(all("details", doc).every(fold => fold.open), "a fold is closed in print");
    want(more.every(shown), "a record is closed in print");
    win.dispatchEvent(new win.Event("afterprint"));
    want(state() === before, "folds and records are not as before the print");

    const theme = doc.querySelector("[data-theme-button]"), ground = () => win.getComputedStyle(doc.body).backgroundColor;
    const grounds = [ground()];
    for (const name of ["dark", "light"]) {
      theme.click();
      want(root.dataset.theme === name, `theme ${root.dataset.theme} for ${name}`);
      grounds.push(ground());
    }
    want(grounds[0] === grounds[2] && grounds[0] !== grounds[1], `grounds ${grounds}`);
    fits("at last");
    want(!win.errors.length, `errors: ${win.errors}`);
    return {faults, used};
  };

  const plain = () => {
    const win = frames.plain, doc = win.document, faults = [];
    const want = (holds, text) => holds || faults.push(text);
    all(".needs-js", doc).forEach(e => want(!shown(e), `shown without script: ${e.textContent.slice(0, 40)}`));
    all("details", doc).forEach(fold => { fold.open = true; });
    all("tbody, tr, figure svg, dl, h1, h2, .title, .findings li", doc).forEach(e =>
      want(shown(e) || e.closest(".narrow, .linear"), `not there without script: ${e.tagName} ${e.textContent.trim().slice(0, 40)}`));
    all("[data-field]", doc).forEach(e => want(e.textContent.trim(), "a value that only the script writes"));
    all("output", doc).filter(shown).forEach(e => want(e.textContent.trim(), "an output that only the script writes"));
    return {faults, used: {folds: all("details", doc).length, rows: all("tbody tr", doc).length}};
  };

  addEventListener("load", () => {
    const results = {};
    for (const [name, run] of [["wide", probe], ["phone", probe], ["plain", plain]]) {
      try { results[name] = run(name); } catch (e) { results[name] = {faults: [String(e.stack || e)], used: {}}; console.log(String(e.stack)); }
    }
    document.body.innerHTML = "<pre></pre>";
    document.querySelector("pre").textContent = JSON.stringify(results);
  });
})();
