// The page of blocks: only the blocks near the window have elements, so that the number of images does not slow it down.
"use strict";
const KEY = "jaxface-blocks-" + DATA.run;
const main = document.getElementById("blocks"), status = document.getElementById("status");
const decision = new Map(); // path -> "accept" or "reject"
const undo = [];            // lists of [path, decision before]
let at = { block: 0, place: 0 };
const sections = [];

function restore() {
  try {
    for (const [path, what] of Object.entries(JSON.parse(localStorage.getItem(KEY) || "{}"))) decision.set(path, what);
  } catch (error) { say("The browser keeps no decisions for this page (" + error.message + "): save with S before you close it."); }
}
function keep() {
  try { localStorage.setItem(KEY, JSON.stringify(Object.fromEntries(decision))); } catch (error) { /* said at the start */ }
}
function say(text) { status.textContent = text; }

function columns() { return Math.max(1, Math.min(DATA.columns, Math.floor((main.clientWidth || innerWidth - 32) / DATA.tile))); }

function build() {
  document.title = DATA.title;
  document.getElementById("title").textContent = DATA.title;
  DATA.blocks.forEach((block, number) => {
    const section = document.createElement("section"), heading = document.createElement("h2"), grid = document.createElement("div");
    grid.className = "grid";
    section.append(heading, grid);
    main.append(section);
    sections.push({ section, heading, grid, filled: false });
    head(number);
  });
  layout();
  const near = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      const number = sections.findIndex((one) => one.section === entry.target);
      entry.isIntersecting ? fill(number) : empty(number);
    }
  }, { rootMargin: "150% 0px" });
  sections.forEach((one) => near.observe(one.section));
}
function layout() {
  const wide = columns();
  sections.forEach((one, number) => { one.grid.style.height = Math.ceil(DATA.blocks[number].length / wide) * DATA.tile + "px"; });
  sections.forEach((one, number) => { if (one.filled) { empty(number); fill(number); } });
}
function head(number) {
  const block = DATA.blocks[number], people = new Set(block.map((tile) => tile[1])).size;
  const known = block.filter((tile) => decision.has(tile[0])).length, bad = block.filter((tile) => decision.get(tile[0]) === "reject").length;
  const one = sections[number];
  one.heading.textContent = "Block " + (number + 1) + " of " + DATA.blocks.length + ": " + block.length + " images of " + people
    + (people === 1 ? " person (" + block[0][1] + ")" : " people") + "; " + known + " decided, " + bad + " rejected";
  one.section.className = known < block.length ? "" : bad === block.length ? "reject" : "accept";
}
function fill(number) {
  const one = sections[number];
  if (one.filled) return;
  one.filled = true;
  const wide = columns(), url = DATA.prefix + "." + String(number).padStart(5, "0") + ".jpg";
  const parts = document.createDocumentFragment();
  DATA.blocks[number].forEach((tile, place) => {
    const box = document.createElement("div");
    box.style.cssText = "left:" + (place % wide) * DATA.tile + "px;top:" + Math.floor(place / wide) * DATA.tile + "px;width:" + DATA.tile + "px;height:" + DATA.tile
      + "px;background:url(" + url + ") -" + (place % DATA.columns) * DATA.tile + "px -" + Math.floor(place / DATA.columns) * DATA.tile + "px;background-origin:border-box";
    box.title = tile[0] + " (" + tile[1] + "), score " + tile[2];
    box.addEventListener("click", () => { go(number, place, false); toggle(); });
    parts.append(box);
  });
  one.grid.append(parts);
  paint(number);
}
function empty(number) {
  sections[number].grid.replaceChildren();
  sections[number].filled = false;
}
function paint(number) {
  head(number);
  if (!sections[number].filled) return;
  const block = DATA.blocks[number];
  [...sections[number].grid.children].forEach((box, place) => {
    const first = place > 0 && block[place][1] !== block[place - 1][1];
    box.className = "tile " + (decision.get(block[place][0]) || "") + (first ? " first" : "") + (number === at.block && place === at.place ? " here" : "");
  });
}
function go(block, place, scroll = true) {
  const before = at.block;
  at = { block: Math.max(0, Math.min(DATA.blocks.length - 1, block)), place };
  at.place = Math.max(0, Math.min(DATA.blocks[at.block].length - 1, place));
  if (before !== at.block) paint(before);
  fill(at.block);
  paint(at.block);
  const tile = DATA.blocks[at.block][at.place];
  say(tile[0] + " (" + tile[1] + "), score " + tile[2] + ": " + (decision.get(tile[0]) || "not decided") + ". " + total());
  if (scroll) sections[at.block].grid.children[at.place].scrollIntoView({ block: "nearest" });
  if (scroll && before !== at.block) sections[at.block].section.scrollIntoView({ block: "start" });
}
function total() {
  let bad = 0;
  decision.forEach((what) => { if (what === "reject") bad += 1; });
  return decision.size + " of " + DATA.blocks.reduce((sum, block) => sum + block.length, 0) + " decided, " + bad + " rejected.";
}
function decide(tiles, what) {
  undo.push({ at: { ...at }, before: tiles.map((tile) => [tile[0], decision.get(tile[0])]) });
  tiles.forEach((tile) => decision.set(tile[0], what));
  keep();
  go(at.block, at.place);
}
function toggle() {
  const tile = DATA.blocks[at.block][at.place];
  decide([tile], decision.get(tile[0]) === "reject" ? "accept" : "reject");
}
function back() {
  const last = undo.pop();
  if (!last) { say("Nothing to undo."); return; }
  for (const [path, what] of last.before) what === undefined ? decision.delete(path) : decision.set(path, what);
  keep();
  const from = at.block;
  go(last.at.block, last.at.place);
  paint(from);
}
function acceptRest(block) { return DATA.blocks[block].filter((tile) => !decision.has(tile[0])); }
function save() {
  const text = JSON.stringify({ format: "jaxface blocks 1", run: DATA.run, decisions: Object.fromEntries([...decision].sort()) }, null, 1) + "\n";
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  link.download = "decisions.json";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  say("decisions.json is in the folder of downloads. " + total());
}
function load(file) {
  file.text().then((text) => {
    const given = JSON.parse(text);
    if (given.run !== DATA.run) { say("These decisions are of another run (" + given.run + "), this page is of " + DATA.run + "."); return; }
    undo.length = 0;
    for (const [path, what] of Object.entries(given.decisions)) decision.set(path, what);
    keep();
    sections.forEach((one, number) => paint(number));
    go(at.block, at.place);
  }).catch((error) => say("This file cannot be read: " + error.message));
}
const KEYS = {
  ArrowRight: () => at.place + 1 < DATA.blocks[at.block].length ? go(at.block, at.place + 1) : at.block + 1 < DATA.blocks.length && go(at.block + 1, 0),
  ArrowLeft: () => at.place > 0 ? go(at.block, at.place - 1) : at.block > 0 && go(at.block - 1, DATA.blocks[at.block - 1].length - 1),
  ArrowDown: () => at.place + columns() < DATA.blocks[at.block].length ? go(at.block, at.place + columns()) : at.block + 1 < DATA.blocks.length && go(at.block + 1, 0),
  ArrowUp: () => at.place >= columns() ? go(at.block, at.place - columns()) : at.block > 0 && go(at.block - 1, DATA.blocks[at.block - 1].length - 1),
  " ": toggle,
  a: () => { decide(acceptRest(at.block), "accept"); if (at.block + 1 < DATA.blocks.length) go(at.block + 1, 0); },
  r: () => { decide(DATA.blocks[at.block], "reject"); if (at.block + 1 < DATA.blocks.length) go(at.block + 1, 0); },
  e: () => decide(DATA.blocks[at.block].slice(at.place), "reject"),
  n: () => go(at.block + 1, 0),
  p: () => go(at.block - 1, 0),
  u: back,
  s: save,
};
document.addEventListener("keydown", (event) => {
  if (event.altKey || (event.target.matches && event.target.matches("input"))) return;
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() !== "z") return;
  const action = event.ctrlKey || event.metaKey ? back : KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!action) return;
  if (event.key === " " && event.target.matches("button")) event.target.blur();
  event.preventDefault();
  action();
});
document.getElementById("save").addEventListener("click", save);
document.getElementById("undo").addEventListener("click", back);
document.getElementById("load").addEventListener("change", (event) => event.target.files[0] && load(event.target.files[0]));
addEventListener("resize", layout);
restore();
build();
go(0, 0, false);
