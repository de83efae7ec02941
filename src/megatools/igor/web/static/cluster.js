// The page: racks, reservations with their calendar, and the buttons of each.
import { readyForm } from "/static/form.js";
import { ask, follow } from "/static/live.js";
import { choosing, drawRacks, unchoose } from "/static/racks.js";
import { shortTime, span, tick } from "/static/text.js";

const MOST_ROWS = 300;
const MARKS = 7; // as many as the tracks' lines in igor.css
const at = (id) => document.getElementById(id);
const rows = new Map();
let picture = null;

const nowS = () => Date.now() / 1000 + picture.skewS;
const isFair = (row) => row.state === "active" && row.end_s <= nowS();
const isMine = (row) => row.owner === picture.me.name;

function kindOf(row) {
  if (row.kind === "maintenance") return "blocked";
  if (isFair(row)) return "fair";
  return isMine(row) ? "mine" : "reserved";
}

const mayChange = (row) =>
  picture.me.admin || picture.head.goodfaith || isMine(row) || (row.group && picture.me.groups.includes(row.group));

function make(tag, className = "", text = "") {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text) element.textContent = text;
  return element;
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function alertUser(text) {
  const box = make("div", "alert");
  const close = make("button", "", "×");
  close.type = "button";
  close.setAttribute("aria-label", "Dismiss");
  close.addEventListener("click", () => box.remove());
  box.append(make("p", "", text), close);
  at("alerts").append(box);
}

async function answered(dialog) {
  dialog.returnValue = "no";
  dialog.showModal();
  await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
  return dialog.returnValue === "yes";
}

async function end(row) {
  setText(at("sure-text"), `"${row.name}" of ${row.owner} gives back ${row.nodes}; they boot the default again.`);
  if (await answered(at("sure"))) await ask({ op: "delete", name: row.name });
}

async function extend(row) {
  setText(at("longer-title"), `Extend "${row.name}"`);
  if (await answered(at("longer"))) {
    await ask({ op: "extend", name: row.name, by_s: Math.round(Number(at("longer-hours").value) * 3600) });
  }
}

function button(label, className, row, act) {
  const element = make("button", className, label);
  element.type = "button";
  element.addEventListener("click", async () => {
    element.disabled = true;
    try {
      await act(row());
    } catch (error) {
      alertUser(error.message);
    }
    element.disabled = false;
  });
  return element;
}

function newRow(id) {
  const parts = { row: make("tr"), bar: make("div", "bar"), cells: {} };
  for (const key of ["name", "owner", "nodes", "left", "when", "actions"]) {
    parts.cells[key] = make("td", key);
    parts.row.append(parts.cells[key]);
  }
  const track = make("div", "track");
  track.append(parts.bar);
  parts.cells.when.append(track);
  const row = () => picture.rows.get(id);
  parts.extend = button("Extend", "", row, extend);
  parts.end = button("End", "danger", row, end);
  parts.cells.actions.append(parts.extend, parts.end);
  return parts;
}

function leftText(row) {
  if (isFair(row)) return "over, fair game";
  if (row.state === "active") return span(row.end_s - nowS());
  return `${row.waiting ? "waits, " : ""}in ${span(row.start_s - nowS())} for ${span(row.end_s - row.start_s)}`;
}

function fillRow(parts, row) {
  const { cells, bar } = parts;
  setText(cells.name, row.name);
  setText(cells.owner, row.group ? `${row.owner} (${row.group})` : row.owner);
  setText(cells.nodes, row.nodes);
  cells.name.title = row.note || row.name;
  cells.nodes.title = `${row.size} nodes: ${row.nodes}`;
  setText(cells.left, leftText(row));
  const [fromS, lengthS] = [nowS(), Number(at("days").value) * 86400];
  const place = (seconds) => Math.min(100, Math.max(0, ((seconds - fromS) / lengthS) * 100));
  const [left, right] = isFair(row) ? [0, 100] : [place(row.start_s), place(row.end_s)];
  bar.style.left = `${left}%`;
  bar.style.width = `${right - left}%`;
  bar.hidden = left >= 100;
  bar.dataset.is = kindOf(row);
  bar.className = `bar ${row.waiting ? "waiting" : row.state}`;
  bar.title = `${row.name}: ${shortTime(row.start_s)} to ${shortTime(row.end_s)}`;
  parts.extend.hidden = !mayChange(row);
  parts.end.hidden = !mayChange(row) && !isFair(row);
  parts.extend.setAttribute("aria-label", `Extend ${row.name}`);
  parts.end.setAttribute("aria-label", `End ${row.name}`);
}

function drawRuler() {
  const lengthS = Number(at("days").value) * 86400;
  const marks = Array.from({ length: MARKS }, (_, i) => {
    const mark = make("span", "", tick(nowS() + (i * lengthS) / MARKS, lengthS));
    mark.style.left = `${(i * 100) / MARKS}%`;
    return mark;
  });
  at("ruler").replaceChildren(...marks);
}

function matches(row, words) {
  const text = [row.name, row.owner, row.group, row.nodes, row.state, row.kind, row.profile, row.note].join(" ").toLowerCase();
  return words.every((word) => text.includes(word));
}

function drawRows() {
  const words = at("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const found = [...picture.rows.values()].filter((row) => matches(row, words));
  found.sort((a, b) => a.start_s - b.start_s || a.id - b.id);
  const shown = found.slice(0, MOST_ROWS);
  let before = at("rows").firstElementChild;
  for (const row of shown) {
    if (!rows.has(row.id)) rows.set(row.id, newRow(row.id));
    const parts = rows.get(row.id);
    fillRow(parts, row);
    if (parts.row === before) before = before.nextElementSibling;
    else at("rows").insertBefore(parts.row, before);
  }
  while (before) {
    const next = before.nextElementSibling;
    before.remove();
    before = next;
  }
  for (const id of rows.keys()) if (!picture.rows.has(id)) rows.delete(id);
  at("list").hidden = shown.length === 0;
  const more = found.length - shown.length;
  const nothing = picture.rows.size ? "Nothing matches the filter." : "Nothing is reserved.";
  setText(at("note"), shown.length === 0 ? nothing : more ? `and ${more} more: filter to see them` : "");
}

function draw() {
  if (!picture?.head) return;
  setText(at("nodes"), picture.head.nodes);
  setText(at("me"), picture.me.name + (picture.me.admin ? " (administrator)" : ""));
  at("pause").hidden = !picture.head.pause;
  setText(at("pause"), `igor is paused: ${picture.head.pause}`);
  const counts = drawRacks(at("racks"), picture, kindOf);
  const words = Object.entries(counts).filter(([, count]) => count).map(([is, count]) => `${count} ${is === "fair" ? "fair game" : is}`);
  setText(at("counts"), words.join(", "));
  drawRuler();
  drawRows();
}

const LINK = { live: "live", lost: "connection lost, retrying", refused: "your token is over: sign in again" };

follow(
  (now) => {
    const isFirst = picture === null;
    picture = now;
    draw();
    if (isFirst) readyForm(picture, unchoose);
  },
  (state) => {
    at("link").dataset.state = state;
    setText(at("link"), LINK[state]);
  },
);
choosing((text) => { at("reserve").elements.nodes.value = text; at("reserve").elements.count.value = ""; });
at("filter").addEventListener("input", draw);
at("days").addEventListener("change", draw);
setInterval(() => document.hidden || draw(), 20_000);
