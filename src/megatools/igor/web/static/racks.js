// The rack map: one button per node, made once; only what changes is touched.
import { numbersOf, shortTime, written } from "/static/text.js";

const cells = new Map();
const chosen = new Set();
let shape = "";
let last = null;
let onChoose = () => {};

/** Call `f(text)` with the chosen nodes whenever they change. */
export function choosing(f) {
  onChoose = f;
}

/** Forget which nodes are chosen. */
export function unchoose() {
  chosen.clear();
  last = null;
  for (const cell of cells.values()) cell.setAttribute("aria-pressed", "false");
}

function build(root, cluster) {
  cells.clear();
  unchoose();
  root.replaceChildren();
  const size = cluster.rackwidth * cluster.rackheight;
  for (let first = cluster.start; first <= cluster.end; first += size) {
    const rack = document.createElement("div");
    rack.className = "rack";
    rack.style.gridTemplateColumns = `repeat(${cluster.rackwidth}, auto)`;
    for (let number = first; number < Math.min(first + size, cluster.end + 1); number += 1) {
      const cell = document.createElement("button");
      cell.type = "button";
      cell.className = "cell";
      cell.textContent = number;
      cell.dataset.node = number;
      cell.setAttribute("aria-pressed", "false");
      cells.set(number, cell);
      rack.append(cell);
    }
    root.append(rack);
  }
  root.onclick = (event) => {
    const cell = event.target.closest("[data-node]");
    if (cell) toggle(Number(cell.dataset.node), event.shiftKey, cluster);
  };
}

function toggle(number, isRange, cluster) {
  const first = isRange && last !== null ? Math.min(last, number) : number;
  const end = isRange && last !== null ? Math.max(last, number) : number;
  const adds = isRange || !chosen.has(number);
  for (let at = first; at <= end; at += 1) {
    if (adds) chosen.add(at);
    else chosen.delete(at);
    cells.get(at).setAttribute("aria-pressed", String(adds));
  }
  last = number;
  onChoose(written(chosen, cluster));
}

/** Draw the nodes as they are; returns how many there are of each kind. `kindOf(row)` is a reservation's colour. */
export function drawRacks(root, picture, kindOf) {
  const { cluster, blocked, down } = picture.head;
  const now = JSON.stringify(cluster);
  if (shape !== now) build(root, cluster);
  shape = now;
  const holders = new Map();
  for (const row of picture.rows.values()) {
    if (row.state !== "active") continue;
    for (const [first, end] of row.spans) for (let at = first; at <= end; at += 1) holders.set(at, row);
  }
  const isDown = numbersOf(down);
  const counts = { free: 0, mine: 0, reserved: 0, fair: 0, blocked: 0, down: isDown.size };
  for (const [number, cell] of cells) {
    const row = holders.get(number);
    const is = row ? kindOf(row) : number in blocked ? "blocked" : "free";
    counts[is] += 1;
    if (cell.dataset.is !== is) cell.dataset.is = is;
    cell.classList.toggle("down", isDown.has(number));
    const why = row ? `${row.name} (${row.owner}) until ${shortTime(row.end_s)}` : blocked[number] ?? "free";
    const title = `${cluster.prefix}${String(number).padStart(cluster.padlen, "0")}: ${why}${isDown.has(number) ? ", down" : ""}`;
    if (cell.title !== title) cell.title = title;
  }
  return counts;
}
