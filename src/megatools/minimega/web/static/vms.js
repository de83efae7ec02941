// The list of VMs: rows are kept by UUID and only changed cells are touched, so that focus and selection stay.
import { confirmKill, control, follow, isDead, listCell, showLink, vmPath } from "/static/live.js";

const at = (id) => document.getElementById(id);
const rows = new Map();
const cards = new Map();
let vms = new Map();
let view = "list";

function make(tag, className = "", text = "") {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text) element.textContent = text;
  return element;
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function tagsOf(vm) {
  try {
    return Object.entries(JSON.parse(vm.tags || "{}"));
  } catch {
    return [];
  }
}

function showState(element, vm) {
  setText(element, vm.state);
  element.dataset.state = vm.state;
}

function button(label, className, onClick) {
  const element = make("button", className, label);
  element.type = "button";
  element.addEventListener("click", async () => {
    element.dataset.busy = "1";
    element.disabled = true;
    await onClick();
    delete element.dataset.busy;
    draw();
  });
  return element;
}

function newRow(uuid) {
  const row = make("tr");
  row.dataset.uuid = uuid;
  const cells = Object.fromEntries(
    ["state", "name", "host", "id", "namespace", "memory", "vcpus", "vlan", "ip", "tags", "actions"].map((key) => {
      const cell = make("td", { name: "name", host: "many", actions: "actions", id: "number", memory: "number", vcpus: "number" }[key]);
      row.append(cell);
      return [key, cell];
    }),
  );
  const parts = { row, cells, state: make("span", "state"), link: make("a") };
  cells.state.append(parts.state);
  cells.name.append(parts.link);
  const vm = () => vms.get(uuid);
  parts.start = button("Start", "main", () => control(vm(), "start"));
  parts.stop = button("Stop", "", () => control(vm(), "stop"));
  parts.kill = button("Kill", "danger", async () => (await confirmKill(vm())) && control(vm(), "kill"));
  cells.actions.append(parts.start, parts.stop, parts.kill);
  return parts;
}

function fillRow(parts, vm) {
  const { cells } = parts;
  showState(parts.state, vm);
  setText(parts.link, vm.name);
  parts.link.href = `${vmPath(vm)}/connect/`;
  setText(cells.host, vm.host);
  setText(cells.id, vm.id);
  setText(cells.namespace, vm.namespace);
  setText(cells.memory, vm.memory ? `${vm.memory} MB` : "");
  setText(cells.vcpus, vm.vcpus ?? "");
  setText(cells.vlan, listCell(vm.vlan).join(", "));
  setText(cells.ip, [...listCell(vm.ip), ...listCell(vm.ip6)].join(", "));
  const tags = tagsOf(vm);
  if (cells.tags.dataset.shown !== vm.tags) {
    cells.tags.dataset.shown = vm.tags;
    cells.tags.replaceChildren(...tags.map(([key, value]) => {
      const tag = make("span", "tag", `${key}: ${value}`);
      tag.title = `${key}: ${value}`;
      return tag;
    }));
  }
  for (const [name, allowed] of [["start", vm.state !== "RUNNING"], ["stop", vm.state === "RUNNING"], ["kill", !isDead(vm)]]) {
    const one = parts[name];
    one.disabled = !allowed || one.dataset.busy === "1";
    one.hidden = (name === "start" && vm.state === "RUNNING") || (name === "stop" && vm.state !== "RUNNING");
    one.setAttribute("aria-label", `${one.textContent} ${vm.name}`);
  }
}

function newCard() {
  const card = make("article", "card");
  const parts = { card, shot: make("a", "shot"), state: make("span", "state"), link: make("a"), image: make("img") };
  parts.image.alt = "";
  parts.image.addEventListener("load", () => parts.shot.replaceChildren(parts.image));
  const about = make("div", "about");
  about.append(parts.link, make("span", "grow"), parts.state);
  card.append(parts.shot, about);
  return parts;
}

function fillCard(parts, vm) {
  const path = `${vmPath(vm)}/connect/`;
  parts.shot.href = parts.link.href = path;
  parts.shot.setAttribute("aria-label", `Console of ${vm.name}`);
  setText(parts.link, vm.name);
  showState(parts.state, vm);
  if (isDead(vm)) parts.shot.textContent = "no screen";
  else if (!parts.image.isConnected) parts.shot.textContent = vm.state === "RUNNING" ? "waiting for the screen" : "not running";
}

const naturally = new Intl.Collator("en", { numeric: true });

function order(a, b) {
  return naturally.compare(a.namespace, b.namespace) || naturally.compare(a.host, b.host) || naturally.compare(a.id, b.id) || naturally.compare(a.name, b.name);
}

function matches(vm, words) {
  const text = [vm.name, vm.host, vm.id, vm.state, vm.namespace, vm.vlan, vm.ip, vm.ip6, vm.tags, vm.uuid].join(" ").toLowerCase();
  return words.every((word) => text.includes(word));
}

function place(parent, kept, shown, key, create, fill) {
  let before = parent.firstElementChild;
  for (const vm of shown) {
    if (!kept.has(vm.uuid)) kept.set(vm.uuid, create(vm.uuid));
    const parts = kept.get(vm.uuid);
    fill(parts, vm);
    if (parts[key] === before) before = before.nextElementSibling;
    else parent.insertBefore(parts[key], before);
  }
  while (before) {
    const next = before.nextElementSibling;
    before.remove();
    before = next;
  }
  for (const uuid of kept.keys()) if (!vms.has(uuid)) kept.delete(uuid);
}

function draw() {
  const words = at("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const all = [...vms.values()];
  const shown = all.filter((vm) => matches(vm, words)).sort(order);
  document.body.classList.toggle("one-host", new Set(all.map((vm) => vm.host)).size < 2);
  const running = all.filter((vm) => vm.state === "RUNNING").length;
  setText(at("counts"), all.length ? `${all.length} VM${all.length === 1 ? "" : "s"}, ${running} running` : "");
  at("empty").hidden = all.length > 0;
  at("nothing").hidden = all.length === 0 || shown.length > 0;
  at("list").hidden = view !== "list" || shown.length === 0;
  at("screens").hidden = view !== "screens" || shown.length === 0;
  if (view === "list") place(at("rows"), rows, shown, "row", newRow, fillRow);
  else place(at("screens"), cards, shown, "card", newCard, fillCard);
}

// Hosts whose VMs are not in the list, or not as they are now, are named: a short list must not look complete.
function showSilent(silent) {
  const hosts = Object.entries(silent);
  at("silent").hidden = hosts.length === 0;
  setText(at("silent"), hosts.map(([host, why]) => `${host}: ${why}.`).join(" "));
}

// One screen after another, only those in sight: a page full of VMs asks for a few pictures a second, no more.
async function refreshScreens() {
  for (const [uuid, parts] of [...cards]) {
    const vm = vms.get(uuid);
    const box = parts.card.getBoundingClientRect();
    if (view !== "screens" || document.hidden) break;
    if (vm?.state !== "RUNNING" || !parts.card.isConnected || box.bottom < 0 || box.top > innerHeight) continue;
    parts.image.src = `${vmPath(vm)}/screenshot.png?size=480&at=${Date.now()}`;
    await parts.image.decode().catch(() => { parts.shot.textContent = "no screen"; });
  }
  setTimeout(refreshScreens, 1500);
}

function choose(name) {
  view = name;
  at("as-list").setAttribute("aria-pressed", String(name === "list"));
  at("as-screens").setAttribute("aria-pressed", String(name === "screens"));
  draw();
}

at("filter").addEventListener("input", draw);
at("unfilter").addEventListener("click", () => { at("filter").value = ""; draw(); at("filter").focus(); });
at("as-list").addEventListener("click", () => choose("list"));
if (location.hash) at("filter").value = decodeURIComponent(location.hash.slice(1));
at("as-screens").addEventListener("click", () => choose("screens"));
follow((now, host, silent) => { vms = now; setText(at("host"), host); showSilent(silent); draw(); }, (state) => showLink(at("link"), state));
refreshScreens();
