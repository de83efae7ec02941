// The hosts of the mesh: what each has and has promised, and who is connected to whom. Asked for again every few seconds.
import { showLink } from "/static/live.js";

const at = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";

function make(tag, text = "", className = "") {
  const element = document.createElement(tag);
  if (text) element.textContent = text;
  if (className) element.className = className;
  return element;
}

function share(used, total) {
  const cell = make("td");
  if (!total) return cell;
  const bar = make("span", "", "bar");
  const fill = make("i");
  fill.style.width = `${Math.min(100, (100 * used) / total)}%`;
  bar.append(fill);
  cell.append(bar, ` ${used} of ${total}`);
  return cell;
}

function row(host) {
  const line = make("tr");
  const name = make("td", "", "name");
  const link = make("a", host.name);
  link.href = `/vms#${encodeURIComponent(host.name)}`;
  name.append(link);
  const state = make("td", host.state);
  if (!alive(host)) state.className = "muted";
  line.append(name, state, make("td", host.vms, "number"), make("td", host.load));
  line.append(share(host.cpucommit, host.cpus), share(host.memused, host.memtotal), share(host.memcommit, host.memtotal));
  line.append(make("td", host.rx, "number"), make("td", host.tx, "number"), make("td", host.uptime));
  return line;
}

const alive = (host) => host.state === "here" || host.state === "connected";

function shape(tag, attributes) {
  const element = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

function draw(hosts) {
  const mesh = at("mesh");
  mesh.toggleAttribute("hidden", hosts.length < 2 || hosts.length > 64); // an SVG element has no property for it
  const places = new Map(hosts.map((host, number) => {
    const angle = (2 * Math.PI * number) / hosts.length - Math.PI / 2;
    return [host.name, { x: 310 + 230 * Math.cos(angle), y: 145 + 110 * Math.sin(angle) }];
  }));
  const lines = new Set();
  const shapes = [];
  for (const host of hosts) {
    for (const peer of (host.links ?? "").split(",")) {
      const pair = [host.name, peer].sort().join(" ");
      if (!places.has(peer) || lines.has(pair)) continue;
      lines.add(pair);
      const [a, b] = [places.get(host.name), places.get(peer)];
      shapes.push(shape("line", { x1: a.x, y1: a.y, x2: b.x, y2: b.y }));
    }
  }
  for (const host of hosts) {
    const { x, y } = places.get(host.name);
    const group = shape("g", { class: alive(host) ? "" : "lost" });
    const label = shape("text", { x, y: y + 27 });
    label.textContent = `${host.name} (${host.vms ?? "?"})`;
    group.append(shape("circle", { cx: x, cy: y, r: 11 }), label);
    shapes.push(group);
  }
  mesh.replaceChildren(...shapes);
}

async function refresh() {
  try {
    const answer = await fetch("/hosts.json");
    if (answer.status === 401) return showLink(at("link"), "refused");
    const hosts = await answer.json();
    at("host").textContent = hosts[0].name;
    at("rows").replaceChildren(...hosts.map(row));
    draw(hosts);
    showLink(at("link"), "live");
  } catch {
    showLink(at("link"), "lost");
  }
  setTimeout(refresh, 3000);
}

refresh();
