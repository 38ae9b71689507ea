// The Matches page. Its data are the JSON in the page; text becomes text (textContent), never markup; nothing is fetched.
"use strict";

const DATA = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);

// elements: el("p", { className: "x" }, "text", child, ...)
function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element) element[name] = value; else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// numbers
const percent = (share) => `${share >= 0.001 || share === 0 ? (100 * share).toFixed(1) : (100 * share).toPrecision(2)} %`;
const points = (difference) => `${difference < 0 ? "−" : "+"}${Math.abs(100 * difference).toFixed(1)}`;
const truthWord = (value) => (value >= 1 ? "matches wholly" : value > 0 ? `matches in part (${value.toFixed(2)})` : "does not match");

// addresses within the page
const address = (...parts) => `#${parts.map(encodeURIComponent).join("/")}`;
const captionAddress = (caption) => address("caption", DATA.captions[caption].id);
const clipAddress = (clip) => address("clip", DATA.clips[clip].name);
const pairAddress = (pair) => address("pair", DATA.captions[pair.caption].id, DATA.clips[pair.clip].name);
const annotated = (clip, caption) => DATA.captions[caption].clip === clip;

// ---- light and dark: the theme of the other pages keeps its choice under the same names

const MODES = ["auto", "light", "dark"];
const system = matchMedia("(prefers-color-scheme: dark)");
const stored = (name) => { try { return localStorage.getItem(name); } catch { return null; } };
let mode = MODES.includes(stored("mode")) ? stored("mode") : "auto";

function applyTheme() {
  const theme = mode === "auto" ? (system.matches ? "dark" : "light") : mode;
  document.documentElement.dataset.theme = theme;
  byId("theme").textContent = `Theme: ${mode === "auto" ? "as the system" : mode}`;
  try { localStorage.setItem("mode", mode); localStorage.setItem("theme", theme); } catch { /* the choice is not kept */ }
  matrices.recolour();
}

// ---- verdicts: {caption id: {query, own, accepted: [names], rejected: [names]}}, in the order in which they came

const verdicts = {
  key: `corrlib-verdicts/${DATA.key}`, all: {}, before: [], kept: true,

  load() {
    try { this.all = JSON.parse(localStorage.getItem(this.key)) || {}; } catch { this.kept = false; }
  },
  store() {
    try { localStorage.setItem(this.key, JSON.stringify(this.all)); this.kept = true; } catch { this.kept = false; }
  },
  of(pair) { // "accepted", "rejected" or ""
    const own = this.all[DATA.captions[pair.caption].id], name = DATA.clips[pair.clip].name;
    return !own ? "" : own.accepted.includes(name) ? "accepted" : own.rejected.includes(name) ? "rejected" : "";
  },
  give(pair, verdict) { // a sentence on what was wrong, or ""
    const caption = DATA.captions[pair.caption], name = DATA.clips[pair.clip].name, own = DATA.clips[caption.clip].name;
    const parted = [own, name].find((n) => n.includes(";"));
    if (parted) return `Not saved: the clip's name “${parted}” holds a semicolon, which parts names in the CSV. Rename the file.`;
    if (own.startsWith("[")) return `Not saved: the clip's name “${own}” begins with [, as a list in the CSV does. Rename the file.`;
    this.before.push({ all: JSON.stringify(this.all), pair });
    const row = this.all[caption.id] ||= { query: caption.text, own, accepted: [], rejected: [] };
    for (const list of ["accepted", "rejected"]) {
      row[list] = row[list].filter((n) => n !== name);
      if (list === verdict) row[list].push(name);
    }
    this.store();
    return "";
  },
  undo() { // the pair that was judged last, or null
    const { all, pair } = this.before.pop();
    this.all = JSON.parse(all);
    this.store();
    return pair;
  },
  forget() { this.before.push({ all: JSON.stringify(this.all), pair: null }); this.all = {}; this.store(); },
  count() { return Object.keys(this.all).length; },
  csv() { // as corrlib.explore.Verdicts writes it, which a study takes as `relevance`
    const cell = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
    const rows = Object.entries(this.all).map(([id, row]) =>
      [id, row.query, [row.own, ...row.accepted].join(";"), row.rejected.join(";")]);
    return [["caption_id", "query", "audio_filenames", "rejected"], ...rows].map((row) => row.map(cell).join(",") + "\n").join("");
  },
};

// ---- a clip to hear and to see

function clipCard(clip, title, facts) {
  const own = DATA.clips[clip], player = corrlibPlayer();
  player.audio.preload = "metadata";
  player.show(own.sound, own.picture, own.name);
  const card = el("div", { className: "clip" },
    el("h3", {}, title ? `${title}: ` : "", el("a", { href: clipAddress(clip) }, own.name)),
    facts ? el("p", { className: "quiet" }, facts) : null,
    own.picture ? player.box : el("p", { className: "quiet" }, "This clip is not among those that the page brings to hear."),
    own.captions.length ? el("ul", {}, ...own.captions.map((c) => el("li", {}, el("a", { href: captionAddress(c) }, DATA.captions[c].text)))) : null);
  return { card, play: player.play };
}

function shareLink() {
  const said = el("span", { role: "status" });
  const copy = el("button", { type: "button" }, "Copy link");
  copy.addEventListener("click", async () => {
    try { await navigator.clipboard.writeText(location.href); said.textContent = " Copied."; } catch {
      said.textContent = ` Copy it from here: ${location.href}`;
    }
  });
  return el("div", { className: "bar" }, copy, said);
}

// ---- the matrices

const matrices = {
  panels: [], count: DATA.block.clips.length, view: null, cursor: [0, 0],

  start() {
    const numbers = (text) => new Float32Array(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
    const n = this.count, block = DATA.block, own = new Float32Array(n * n);
    block.clips.forEach((clip, x) => block.captions.forEach((caption, y) => { own[x * n + y] = annotated(clip, caption) ? 1 : 0; }));
    const estimated = numbers(block.estimated);
    const most = Float32Array.from(estimated).sort()[Math.min(n * n - 1, Math.floor(0.98 * n * n))] || 1;
    this.add("Annotated", own, 1, ["0", "1"]);
    this.add("Estimated", estimated, most, ["0 %", `≥ ${percent(most)}`]);
    if (block.true) this.add("True", numbers(block.true), 1, ["0", "1"]);
    byId("matrices").classList.toggle("two", !block.true);
    this.whole();
    const box = byId("matrices");
    box.addEventListener("keydown", (event) => this.key(event));
    box.addEventListener("focus", () => this.read());
    byId("nearer").addEventListener("click", () => this.zoom(0.5));
    byId("farther").addEventListener("click", () => this.zoom(2));
    byId("whole").addEventListener("click", () => this.whole());
    new ResizeObserver(() => this.draw()).observe(box);
  },

  add(title, values, most, ends) {
    const canvas = el("canvas", { role: "img", "aria-label": `${title} correspondences` });
    const scale = el("div", { className: "scale" }, ends[0], el("i"), ends[1]);
    byId("matrices").append(el("figure", {}, el("figcaption", {}, title), canvas, scale));
    const panel = { title, values, most, canvas, cells: document.createElement("canvas"), drag: null };
    panel.cells.width = panel.cells.height = this.count;
    this.panels.push(panel);
    const cell = (event) => {
      const box = canvas.getBoundingClientRect(), { x, y, size } = this.view;
      const at = (part, start) => Math.min(this.count - 1, Math.max(0, Math.floor(start + size * part)));
      return [at((event.clientX - box.left) / box.width, x), at((event.clientY - box.top) / box.height, y)];
    };
    canvas.addEventListener("pointerdown", (event) => {
      panel.drag = { from: cell(event), x: event.clientX, y: event.clientY, moved: false };
      if (event.pointerType !== "touch") canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      this.cursor = cell(event);
      const drag = panel.drag;
      if (drag && event.pointerType !== "touch") drag.moved ||= Math.hypot(event.clientX - drag.x, event.clientY - drag.y) > 6;
      this.read();
    });
    canvas.addEventListener("pointerup", (event) => {
      const drag = panel.drag;
      panel.drag = null;
      this.cursor = cell(event);
      if (drag?.moved) this.frame(drag.from, this.cursor); else if (drag) this.choose();
    });
    canvas.addEventListener("pointercancel", () => { panel.drag = null; this.draw(); });
    canvas.addEventListener("dblclick", () => this.whole());
    canvas.addEventListener("wheel", (event) => { // with Ctrl, as a pinch comes; else the page scrolls
      if (!event.ctrlKey) return;
      event.preventDefault();
      this.cursor = cell(event);
      this.zoom(event.deltaY < 0 ? 0.8 : 1.25);
    }, { passive: false });
  },

  // the view is a square of cells
  whole() { this.view = { x: 0, y: 0, size: this.count }; this.draw(); },
  frame([x0, y0], [x1, y1]) {
    const size = Math.max(4, Math.abs(x1 - x0) + 1, Math.abs(y1 - y0) + 1);
    this.set((x0 + x1 + 1 - size) / 2, (y0 + y1 + 1 - size) / 2, size);
  },
  zoom(factor) {
    const size = Math.min(this.count, Math.max(4, this.view.size * factor)), [x, y] = this.cursor;
    this.set(x + 0.5 - (x + 0.5 - this.view.x) * size / this.view.size, y + 0.5 - (y + 0.5 - this.view.y) * size / this.view.size, size);
  },
  set(x, y, size) {
    size = Math.min(size, this.count);
    const within = (start) => Math.min(this.count - size, Math.max(0, start));
    this.view = { x: within(x), y: within(y), size };
    this.draw();
  },

  key(event) {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }, move = moves[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (move) {
      this.cursor = this.cursor.map((place, i) => Math.min(this.count - 1, Math.max(0, place + move[i])));
      const { x, y, size } = this.view, into = (start, place) => Math.min(place, Math.max(start, place + 1 - size));
      this.set(into(x, this.cursor[0]), into(y, this.cursor[1]), size);
      this.read();
    } else if (event.key === "Enter" || event.key === " ") this.choose();
    else if (event.key === "+" || event.key === "=") this.zoom(0.5);
    else if (event.key === "-") this.zoom(2);
    else if (event.key === "0") this.whole();
    else return;
    event.preventDefault();
  },

  facts() {
    const [x, y] = this.cursor, clip = DATA.block.clips[x], caption = DATA.block.captions[y];
    const value = (title) => this.panels.find((panel) => panel.title === title)?.values[x * this.count + y];
    const facts = [value("Annotated") ? "annotated" : "not annotated", `estimated ${percent(value("Estimated"))}`];
    if (DATA.truth) facts.push(`by the truth it ${truthWord(value("True"))}`);
    return { clip, caption, words: facts.join(", ") };
  },
  read() {
    const { clip, caption, words } = this.facts();
    byId("readout").replaceChildren(`“${DATA.captions[caption].text}”`, el("br"), `clip ${DATA.clips[clip].name}: ${words}`);
    this.draw();
  },
  choose() {
    const { clip, caption, words } = this.facts();
    const { card, play } = clipCard(clip, "", words);
    card.prepend(el("p", {}, "“", el("a", { href: captionAddress(caption) }, DATA.captions[caption].text), "”"));
    byId("chosen").replaceChildren(...card.childNodes);
    byId("chosen").hidden = false;
    this.read();
    if (DATA.clips[clip].sound) play();
  },

  recolour() {
    const stops = getComputedStyle(document.documentElement).getPropertyValue("--scale").split(",").map((stop) => {
      const hex = stop.trim();
      return [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
    });
    for (const { values, most, cells } of this.panels) {
      const context = cells.getContext("2d"), image = context.createImageData(this.count, this.count);
      for (let x = 0; x < this.count; x += 1) {
        for (let y = 0; y < this.count; y += 1) {
          const place = Math.min(1, values[x * this.count + y] / most) * (stops.length - 1);
          const low = Math.min(stops.length - 2, Math.floor(place)), pixel = 4 * (y * this.count + x);
          for (let i = 0; i < 3; i += 1) {
            image.data[pixel + i] = stops[low][i] + (place - low) * (stops[low + 1][i] - stops[low][i]);
          }
          image.data[pixel + 3] = 255;
        }
      }
      context.putImageData(image, 0, 0);
    }
    this.draw();
  },

  draw() {
    if (!this.view) return;
    const style = getComputedStyle(document.documentElement), { x, y, size } = this.view;
    for (const { canvas, cells, drag } of this.panels) {
      const side = Math.round(canvas.clientWidth * devicePixelRatio), cell = side / size, context = canvas.getContext("2d");
      if (canvas.width !== side || canvas.height !== side) canvas.width = canvas.height = side;
      context.imageSmoothingEnabled = false;
      context.drawImage(cells, x, y, size, size, 0, 0, side, side);
      DATA.block.clips.forEach((clip, column) => DATA.block.captions.forEach((caption, row) => {
        if (!annotated(clip, caption)) return;
        context.beginPath();
        context.arc((column + 0.5 - x) * cell, (row + 0.5 - y) * cell, Math.max(2 * devicePixelRatio, 0.32 * cell), 0, 7);
        for (const [width, colour] of [[3, "--page"], [1.5, "--ring"]]) { // seen on dark cells and on light ones
          context.lineWidth = width * devicePixelRatio;
          context.strokeStyle = style.getPropertyValue(colour);
          context.stroke();
        }
      }));
      context.strokeStyle = style.getPropertyValue("--cursor");
      context.lineWidth = 2 * Math.max(1, devicePixelRatio);
      context.strokeRect((this.cursor[0] - x) * cell, (this.cursor[1] - y) * cell, cell, cell);
      if (drag?.moved) {
        const [a, b] = [drag.from, this.cursor];
        const low = [0, 1].map((i) => Math.min(a[i], b[i])), high = [0, 1].map((i) => Math.max(a[i], b[i]) + 1);
        context.strokeRect((low[0] - x) * cell, (low[1] - y) * cell, (high[0] - low[0]) * cell, (high[1] - low[1]) * cell);
      }
    }
  },
};

// ---- the list of partial matches and the chosen one

const pairs = {
  shown: [], chosen: null, sort: { by: "disagreement", down: true }, plays: {},

  start() {
    const labels = [...new Set(DATA.pairs.flatMap((pair) => DATA.clips[pair.clip].labels))].sort();
    byId("filters").elements.label.append(...labels.map((label) => el("option", {}, label)));
    document.querySelectorAll(".labels").forEach((e) => { e.hidden = !labels.length; });
    document.querySelectorAll(".truth").forEach((e) => { e.hidden = !DATA.truth; });
    byId("filters").addEventListener("input", () => this.list());
    byId("filters").addEventListener("submit", (event) => event.preventDefault());
    byId("filters").addEventListener("reset", () => setTimeout(() => this.list()));
    document.querySelectorAll("#list th").forEach((head) => head.firstChild.addEventListener("click", () => {
      const by = head.dataset.sort;
      this.sort = { by, down: this.sort.by === by ? !this.sort.down : by !== "text" };
      document.querySelectorAll("#list th").forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", this.sort.down ? "descending" : "ascending");
      this.list();
    }));
    byId("accept").addEventListener("click", () => this.judge("accepted"));
    byId("reject").addEventListener("click", () => this.judge("rejected"));
    byId("undo").addEventListener("click", () => this.undo());
    byId("previous").addEventListener("click", () => this.step(-1));
    byId("next").addEventListener("click", () => this.step(1));
    byId("save").addEventListener("click", () => {
      const link = el("a", { href: URL.createObjectURL(new Blob([verdicts.csv()], { type: "text/csv" })), download: `verdicts-${DATA.study}.csv` });
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    });
    byId("forget").addEventListener("click", () => {
      if (!verdicts.count() || !confirm(`Forget the verdicts on ${verdicts.count()} captions?`)) return;
      verdicts.forget();
      this.say("All verdicts are forgotten.");
    });
    byId("pairs").addEventListener("keydown", (event) => this.key(event));
    this.list();
  },

  key(event) {
    if (/^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName) || event.ctrlKey || event.metaKey || event.altKey) return;
    const act = {
      ArrowDown: () => this.step(1, true), ArrowUp: () => this.step(-1, true), a: () => this.judge("accepted"), r: () => this.judge("rejected"),
      u: () => this.undo(), p: () => this.plays.other?.(), o: () => this.plays.own?.(),
    }[event.key];
    if (!act || (event.key.startsWith("Arrow") && event.target.tagName === "AUDIO")) return;
    event.preventDefault();
    act();
  },

  matches(pair) {
    const asked = byId("filters").elements, other = DATA.clips[pair.clip], verdict = verdicts.of(pair);
    const text = [DATA.captions[pair.caption].text, other.name, DATA.clips[DATA.captions[pair.caption].clip].name].join(" ").toLowerCase();
    const from = (name) => asked[name].value === "" || 100 * pair[name] >= Number(asked[name].value);
    const kinds = { "": true, whole: pair.true >= 1, part: pair.true > 0 && pair.true < 1, none: pair.true === 0 };
    return asked.words.value.toLowerCase().split(/\s+/).every((word) => text.includes(word))
      && from("disagreement") && from("estimated") && kinds[asked.true.value]
      && (!asked.label.value || other.labels.includes(asked.label.value))
      && (!asked.verdict.value || (asked.verdict.value === "open" ? !verdict : verdict === asked.verdict.value));
  },

  list() {
    const { by, down } = this.sort;
    const value = { text: (p) => DATA.captions[p.caption].text.toLowerCase(), verdict: (p) => verdicts.of(p) }[by] || ((p) => p[by]);
    const compare = (p, q) => (value(p) < value(q) ? -1 : value(p) > value(q) ? 1 : 0) * (down ? -1 : 1);
    this.shown = DATA.pairs.filter((pair) => this.matches(pair)).sort(compare);
    const focused = this.focused();
    byId("rows").replaceChildren(...this.shown.map((pair) => this.row(pair)));
    byId("count").textContent = `${this.shown.length} of ${DATA.pairs.length} pairs`
      + (this.shown.length ? "" : ": nothing fits these filters; clear them or ask for less");
    byId("judged").textContent = `${verdicts.count()} captions judged` + (verdicts.kept ? "" : "; this browser does not keep them, save them before you leave");
    byId("save").disabled = byId("forget").disabled = !verdicts.count();
    byId("undo").disabled = !verdicts.before.length;
    this.show(this.shown.includes(this.chosen) ? this.chosen : this.shown[0] || null);
    if (focused) this.focus();
  },

  row(pair) {
    const verdict = verdicts.of(pair), mark = { accepted: "✓", rejected: "✗", "": "" }[verdict];
    const number = (name, words) => el("td", { className: "number", "data-name": name }, words);
    const row = el("tr", {},
      el("td", {}, el("span", { role: "img", "aria-label": verdict || "not judged", hidden: !mark }, mark)),
      number("differs", points(pair.disagreement)), number("estimate", percent(pair.estimated)),
      DATA.truth ? number("true", pair.true.toFixed(2)) : null,
      el("td", { className: "words" }, el("a", { href: pairAddress(pair) }, DATA.captions[pair.caption].text),
        el("span", { className: "quiet" }, DATA.clips[pair.clip].name)));
    row.pair = pair;
    row.addEventListener("click", (event) => { if (event.target.tagName !== "A") this.open(pair); });
    return row;
  },

  rowOf(pair) { return [...byId("rows").children].find((row) => row.pair === pair); },
  focused() { return byId("rows").contains(document.activeElement); },
  focus() { this.rowOf(this.chosen)?.querySelector("a").focus({ preventScroll: true }); },
  open(pair) {
    history.replaceState(null, "", pairAddress(pair));
    this.show(pair);
    if (this.focused()) this.focus(); // it goes along
  },
  step(by, focus = false) {
    const pair = this.shown[this.shown.indexOf(this.chosen) + by];
    if (!pair) return;
    this.open(pair);
    const row = this.rowOf(pair), list = byId("list");
    if (focus) this.focus();
    const top = row.offsetTop - byId("list").querySelector("thead").offsetHeight;
    if (top < list.scrollTop || row.offsetTop + row.offsetHeight > list.scrollTop + list.clientHeight) list.scrollTop = top - list.clientHeight / 3;
  },

  show(pair) {
    byId("rows").querySelectorAll("[aria-current]").forEach((row) => row.removeAttribute("aria-current"));
    byId("pair").hidden = !pair;
    if (pair) this.rowOf(pair)?.setAttribute("aria-current", "true");
    const verdict = pair ? verdicts.of(pair) : "";
    byId("accept").setAttribute("aria-pressed", verdict === "accepted");
    byId("reject").setAttribute("aria-pressed", verdict === "rejected");
    if (!pair || pair === this.chosen) { this.chosen = pair; return; }
    this.chosen = pair;
    const caption = DATA.captions[pair.caption];
    byId("pair-facts").replaceChildren(
      el("h3", {}, el("a", { href: captionAddress(pair.caption) }, caption.text)),
      phraseList(pair), claimList(pair), shareLink());
    const other = clipCard(pair.clip, "Not annotated", [`estimated ${percent(pair.estimated)}`,
      DATA.truth ? `by the truth it ${truthWord(pair.true)}` : null].filter(Boolean).join(", "));
    const own = clipCard(caption.clip, "Annotated", `estimated ${percent(pair.estimated_own)}`);
    this.plays = { other: other.play, own: own.play };
    byId("pair-clips").replaceChildren(other.card, own.card);
  },

  judge(verdict) {
    if (!this.chosen) return;
    const pair = this.chosen, next = this.shown[this.shown.indexOf(pair) + 1] || this.shown[this.shown.indexOf(pair) - 1];
    const wrong = verdicts.give(pair, verdict);
    this.say(wrong || `${verdict === "accepted" ? "Accepted" : "Rejected"}: “${DATA.captions[pair.caption].text}”, ${DATA.clips[pair.clip].name}.`);
    if (!wrong && next) this.open(next);
  },
  undo() {
    if (!verdicts.before.length) return;
    const pair = verdicts.undo();
    this.say("Undone.");
    if (this.shown.includes(pair)) this.open(pair);
  },
  say(words) { byId("said").textContent = words; this.list(); },
};

function phraseList(pair) {
  const most = Math.max(...pair.phrases.map(([, drop]) => Math.abs(drop || 0))) || 1;
  return el("div", {}, el("ul", { className: "phrases", "aria-label": "Phrases, each with its contribution" }, ...pair.phrases.map(([phrase, drop]) => {
    const share = Math.max(0, drop || 0) / most, item = el("li", {}, phrase, el("small", {}, drop === null ? "–" : `${drop < 0 ? "−" : "+"}${Math.abs(drop).toFixed(3)}`));
    item.style.background = `rgba(var(--mark), ${(0.38 * share).toFixed(2)})`;
    item.style.borderBottomWidth = `${(4 * share).toFixed(1)}px`;
    return item;
  })), el("p", { className: "small" }, "Below each phrase: by how much the similarity to the clip falls when it is left out."));
}

function claimList(pair) {
  if (!pair.claims.length) return null;
  return el("div", {}, el("p", { className: "small" }, "What the caption claims, by the truth of this clip:"),
    el("ul", { className: "claims" }, ...pair.claims.map(([claim, holds]) => el("li", {}, `${holds ? "✓" : "✗"} ${claim}`,
      el("span", { className: "quiet" }, holds ? " holds" : " does not hold")))));
}

// ---- a page of one caption, or of one clip

function table(heads, rows) {
  return el("table", {}, el("thead", {}, el("tr", {}, ...heads.map((head) => el("th", { scope: "col" }, head)))),
    el("tbody", {}, ...rows.map((cells) => el("tr", {}, ...cells.map((cell) => el("td", {}, cell))))));
}
const truthHead = DATA.truth ? ["True"] : [], truthCell = (value) => (DATA.truth ? [value.toFixed(2)] : []);

const linkTo = (address, text, own) => el("span", {}, el("a", { href: address }, text), own ? " ★ its own" : "");
// A heading and the table of the best clips of a caption or captions of a clip; nothing where there are none.
function bestOf(best, title, head, link) {
  if (!best.length) return [];
  const rows = best.map(([other, estimated, value]) => [link(other), percent(estimated), ...truthCell(value)]);
  return [el("h2", {}, title), table([head, "Estimated", ...truthHead], rows)];
}

function captionPage(caption) {
  const own = DATA.captions[caption], judged = DATA.pairs.filter((pair) => pair.caption === caption);
  return [el("p", {}, "Caption"), el("h1", { tabIndex: -1 }, own.text), shareLink(),
    clipCard(own.clip, "Written for", "").card,
    ...bestOf(own.best, "The clips that it finds", "Clip", (clip) =>
      linkTo(clipAddress(clip), DATA.clips[clip].name, annotated(clip, caption))),
    judged.length ? el("p", {}, el("a", { href: pairAddress(judged[0]) }, "Judge its partial match")) : null];
}

function clipPage(clip) {
  const own = DATA.clips[clip], found = DATA.pairs.filter((pair) => pair.clip === clip);
  return [el("p", {}, "Clip"), el("h1", { tabIndex: -1 }, own.name), shareLink(),
    own.labels.length ? el("p", {}, `Heard: ${own.labels.join(", ")}`) : null, clipCard(clip, "", "").card,
    ...bestOf(own.best, "The captions that describe it, by the estimate", "Caption", (caption) =>
      linkTo(captionAddress(caption), DATA.captions[caption].text, annotated(clip, caption))),
    found.length ? el("h2", {}, "Partial matches with it") : null,
    found.length ? el("ul", {}, ...found.map((pair) => el("li", {}, el("a", { href: pairAddress(pair) }, DATA.captions[pair.caption].text)))) : null];
}

function route() {
  let parts = [];
  try { parts = location.hash.slice(1).split("/").map(decodeURIComponent); } catch { /* no address of ours */ }
  const [kind, first, second] = parts;
  const caption = DATA.captions.findIndex((c) => c.id === first);
  const clip = DATA.clips.findIndex((c) => c.name === first);
  const page = kind === "caption" && caption >= 0 ? captionPage(caption) : kind === "clip" && clip >= 0 ? clipPage(clip) : null;
  const unknown = (kind === "caption" || kind === "clip") && !page;
  document.querySelectorAll("audio").forEach((audio) => audio.pause());
  byId("overview").hidden = Boolean(page || unknown);
  byId("single").hidden = !(page || unknown);
  byId("home").toggleAttribute("aria-current", !page);
  const notHere = () => [el("h1", {}, "Not here"),
    el("p", {}, `This page has no ${kind} “${first}”. `, el("a", { href: "#" }, "See all."))];
  byId("single").replaceChildren(...(unknown ? notHere() : page || []).filter(Boolean));
  if (page) { byId("single").querySelector("h1").focus(); scrollTo(0, 0); }
  if (kind === "pair") {
    const pair = DATA.pairs.find((p) => DATA.captions[p.caption].id === first && DATA.clips[p.clip].name === second);
    if (pair && !pairs.shown.includes(pair)) { byId("filters").reset(); pairs.list(); }
    if (pair) { pairs.show(pair); byId("pair").scrollIntoView({ block: "nearest" }); }
  }
  matrices.draw();
}

byId("readout").textContent = "Point at a cell, or go to the matrix by Tab and move by arrows.";
byId("about").textContent = DATA.title;
byId("silent").hidden = DATA.audio;
verdicts.load();
matrices.start();
byId("theme").addEventListener("click", () => { mode = MODES[(MODES.indexOf(mode) + 1) % MODES.length]; applyTheme(); });
system.addEventListener("change", applyTheme);
applyTheme();
pairs.start();
addEventListener("hashchange", route);
route();
