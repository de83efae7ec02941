// The form to reserve: what is typed becomes a request of the API.
import { ask } from "/static/live.js";
import { shortTime } from "/static/text.js";

const form = document.getElementById("reserve");
const fields = form.elements;
const outcome = document.getElementById("outcome");

function say(text, is) {
  outcome.dataset.is = is;
  outcome.textContent = text;
}

function requestOf(skewS) {
  const request = { op: "submit", name: fields.name.value.trim(), duration_s: Math.round(Number(fields.hours.value) * 3600) };
  if (fields.nodes.value.trim()) request.nodes = fields.nodes.value.trim();
  if (fields.count.value) request.count = Number(fields.count.value);
  if (fields.start.value) request.start_s = Math.max(Math.round(Date.now() / 1000 + skewS), Math.round(new Date(fields.start.value) / 1000));
  for (const key of ["profile", "args", "group"]) if (fields[key].value) request[key] = fields[key].value;
  for (const key of ["contiguous", "wait"]) if (fields[key].checked) request[key] = true;
  return request;
}

function withFiles(request) {
  const files = [];
  if (request.profile) return files;
  for (const key of ["kernel", "initrd"]) {
    const file = fields[key].files[0];
    if (!file) continue;
    request[key] = files.length;
    request[`${key}_name`] = file.name;
    files.push(file);
  }
  return files;
}

async function working(act) {
  const buttons = [...form.querySelectorAll("button")];
  for (const one of buttons) one.disabled = true;
  say("asking", "");
  try {
    say(await act(), "good");
  } catch (error) {
    say(error.message, "bad");
  }
  for (const one of buttons) one.disabled = false;
}

function showFiles() {
  document.getElementById("files").hidden = fields.profile.value !== "";
}

/** Fill in what igor knows; `onReserved` is called after a reservation was made. */
export async function readyForm(picture, onReserved) {
  fields.hours.value = picture.head.default_hours;
  fields.group.append(...picture.me.groups.map((name) => new Option(name, name)));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    working(async () => {
      const request = requestOf(picture.skewS);
      const answer = await ask(request, withFiles(request));
      onReserved();
      fields.name.value = fields.nodes.value = fields.count.value = "";
      const made = (answer.reservations ?? []).map((one) => `reserved "${one.name}" from ${shortTime(one.start_s)} to ${shortTime(one.end_s)}`);
      return [...made, ...(answer.messages ?? [])].join("\n");
    });
  });
  document.getElementById("when").addEventListener("click", () => {
    working(async () => {
      const answer = await ask({ ...requestOf(picture.skewS), name: fields.name.value.trim() || "when", speculate: true });
      const openings = answer.openings ?? [];
      return openings.length ? openings.map((one) => `${shortTime(one.start_s)}: ${one.nodes} (${one.why})`).join("\n") : "there is no opening";
    });
  });
  fields.profile.addEventListener("change", showFiles);
  const { profiles } = await (await fetch("/profiles.json")).json();
  fields.profile.append(...profiles.map((one) => new Option(`profile ${one.name}`, one.name)));
}
