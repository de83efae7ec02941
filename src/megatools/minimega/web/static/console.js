// One VM's console: noVNC in the middle, the VM's live state above it, and a way back when the line breaks.
import RFB from "/novnc/core/rfb.js";
import { alertUser, confirmKill, control, follow, isDead } from "/static/live.js";

const at = (id) => document.getElementById(id);
const [namespace, , name] = location.pathname.split("/").filter(Boolean).map(decodeURIComponent);
let vm = null;
let known = false;
let rfb = null;
let retry = 0;
let wait = 500;
let signedOut = false;

function showName(text) {
  document.title = `${text}: minimega`;
  at("name").textContent = text;
}

showName(name);
at("namespace").textContent = namespace;

function notice(text, canRetry = false) {
  at("reason").textContent = text;
  at("again").hidden = !canRetry;
  at("notice").hidden = text === "";
  if (canRetry) at("again").focus();
}

function connect() {
  clearTimeout(retry);
  if (rfb) return;
  notice("Connecting…");
  const address = new URL("ws", location.href);
  address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  const one = new RFB(at("screen"), address.href, { shared: true, wsProtocols: ["binary"] });
  rfb = one;
  one.scaleViewport = true;
  one.background = "#0b0e13";
  one.addEventListener("connect", () => {
    wait = 500;
    notice("");
    one.focus();
  });
  one.addEventListener("disconnect", () => {
    rfb = null;
    lost();
  });
  one.addEventListener("clipboard", (event) => { at("words").value = event.detail.text; });
  one.addEventListener("securityfailure", (event) => alertUser(`The console refuses: ${event.detail.reason ?? "no reason given"}`));
}

// A VM that is gone has no console to wait for; any other line comes back by itself, more and more slowly.
function lost() {
  if (signedOut) return notice("minimega was restarted, and its token is new: open the address that vnc serve prints now.");
  if (vm && isDead(vm)) return notice(`The VM is ${vm.state}. Start it to get its console back.`);
  if (known && !vm) return notice("This VM does not exist any more.");
  notice("The console is disconnected. Trying again…", true);
  retry = setTimeout(connect, wait);
  wait = Math.min(wait * 2, 8000);
}

function show() {
  at("state").textContent = vm ? vm.state : "GONE";
  at("state").dataset.state = vm ? vm.state : "";
  at("start").hidden = !vm || vm.state === "RUNNING";
  at("stop").hidden = !vm || vm.state !== "RUNNING";
  at("kill").hidden = !vm || isDead(vm);
  for (const id of ["cad", "text"]) at(id).disabled = !vm || isDead(vm);
}

const SHIFTED = '~!@#$%^&*()_+{}|:"<>?';
const SHIFT = 0xffe1;
const SPECIAL = { "\n": 0xff0d, "\t": 0xff09 };

async function typeText(text) {
  for (const char of text.replace(/\r\n?/g, "\n")) {
    if (!rfb) return alertUser("The console was disconnected before everything was typed.");
    const shift = SHIFTED.includes(char) || (char >= "A" && char <= "Z");
    const code = char.codePointAt(0);
    if (shift) rfb.sendKey(SHIFT, "ShiftLeft", true);
    rfb.sendKey(SPECIAL[char] ?? (code < 0x100 ? code : 0x1000000 + code), null);
    if (shift) rfb.sendKey(SHIFT, "ShiftLeft", false);
    await new Promise((resolve) => setTimeout(resolve, 15)); // a guest's keyboard buffer holds few keys
  }
}

at("again").addEventListener("click", () => { wait = 500; connect(); });
at("cad").addEventListener("click", () => { rfb?.sendCtrlAltDel(); rfb?.focus(); });
at("full").addEventListener("click", () => (document.fullscreenElement ? document.exitFullscreen() : at("stage").requestFullscreen()).catch((error) => alertUser(`No full screen: ${error.message}`)));
at("text").addEventListener("click", () => { at("clip").returnValue = "close"; at("clip").showModal(); at("words").focus(); });
at("clip").addEventListener("close", () => {
  const text = at("words").value;
  if (at("clip").returnValue === "clipboard") rfb?.clipboardPasteFrom(text);
  if (at("clip").returnValue === "type") typeText(text);
  rfb?.focus();
});
for (const verb of ["start", "stop", "kill"]) {
  at(verb).addEventListener("click", async () => {
    if (!vm || (verb === "kill" && !(await confirmKill(vm)))) return;
    at(verb).disabled = true;
    await control(vm, verb);
    at(verb).disabled = false;
    rfb?.focus();
  });
}

follow((vms, host) => {
  const before = vm;
  const mine = [...vms.values()].filter((one) => one.namespace === namespace && (one.uuid === name || one.name === name));
  vm = mine.find((one) => one.host === host) ?? mine[0] ?? null;
  if (vm) showName(vm.host === host ? vm.name : `${vm.name} on ${vm.host}`);
  known = true;
  show();
  if (vm && !isDead(vm) && (!before || isDead(before))) { wait = 500; connect(); }
  if (!rfb && (!vm || isDead(vm))) { clearTimeout(retry); lost(); }
}, (state) => {
  if (state === "refused") { clearTimeout(retry); signedOut = true; lost(); }
});
