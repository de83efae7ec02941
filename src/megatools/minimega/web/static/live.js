// What both pages share: the live list of VMs, the buttons' requests, and alerts.

const namespaceInAddress = () => {
  const [first, second] = location.pathname.split("/").filter(Boolean);
  return second === "vms" || second === "vm" ? decodeURIComponent(first) : null;
};

export const prefix = () => {
  const namespace = namespaceInAddress();
  return namespace === null ? "" : "/" + encodeURIComponent(namespace);
};

// By name on this host; other hosts may have a VM of the same name.
let ownHost = "";
export const vmPath = (vm) => `/${encodeURIComponent(vm.namespace)}/vm/${encodeURIComponent(vm.host === ownHost ? vm.name : vm.uuid)}`;

export const isDead = (vm) => vm.state === "QUIT" || vm.state === "ERROR";

/** Follow the VMs: `onChange(vms: Map of uuid to VM, host, silent: by host, why its VMs are not known)` after every change, `onLink(state)` about the line. */
export function follow(onChange, onLink) {
  const vms = new Map();
  let host = "";
  const take = (event) => {
    const body = JSON.parse(event.data);
    if (event.type === "snapshot") {
      host = ownHost = body.host;
      vms.clear();
    }
    for (const vm of body.vms) vms.set(vm.uuid, vm);
    for (const uuid of body.gone ?? []) vms.delete(uuid);
    onChange(vms, host, body.silent);
  };
  const listen = () => {
    const source = new EventSource(prefix() + "/vms/events");
    source.addEventListener("open", () => onLink("live"));
    source.addEventListener("snapshot", take);
    source.addEventListener("change", take);
    source.addEventListener("error", async () => {
      onLink("lost");
      if (source.readyState !== EventSource.CLOSED) return; // the browser tries again by itself
      if (await isSignedOut()) onLink("refused");
      else setTimeout(listen, 1000);
    });
  };
  listen();
}

/** Whether the daemon answers, but does not know this browser: it was started again, and its token is new. */
async function isSignedOut() {
  try {
    return (await fetch("/vms/info.json")).status === 401;
  } catch {
    return false;
  }
}

const LINK = {
  live: "live",
  lost: "connection lost, retrying",
  waiting: "connecting",
  refused: "minimega was restarted: open the address that vnc serve prints now",
};

/** Show the state of the line in an element. */
export function showLink(element, state) {
  element.dataset.state = state;
  element.textContent = LINK[state];
}

/** Ask the daemon to start, stop or kill a VM; says what went wrong; true when it went well. */
export async function control(vm, verb) {
  try {
    const answer = await fetch(`${vmPath(vm)}/${verb}`, { method: "POST" });
    if (answer.ok) return true;
    alertUser(answer.status === 401 ? "The token is no longer valid: minimega was restarted. Open the address that vnc serve prints." : await answer.text());
  } catch {
    alertUser(`minimega does not answer: "${vm.name}" was not told to ${verb}.`);
  }
  return false;
}

export function alertUser(text) {
  const box = document.createElement("div");
  box.className = "alert";
  const words = document.createElement("p");
  words.textContent = text.trim();
  const close = document.createElement("button");
  close.type = "button";
  close.textContent = "×";
  close.setAttribute("aria-label", "Dismiss");
  close.addEventListener("click", () => box.remove());
  box.append(words, close);
  document.getElementById("alerts").append(box);
}

/** Ask before a VM is killed. */
export async function confirmKill(vm) {
  const dialog = document.getElementById("sure");
  document.getElementById("sure-text").textContent = `"${vm.name}" ends at once; what its guest has not saved is lost.`;
  dialog.returnValue = "no";
  dialog.showModal();
  await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
  return dialog.returnValue === "yes";
}

/** The words of a list cell such as "[lan (101), dmz (102)]". */
export const listCell = (cell) => {
  const inner = (cell ?? "").replace(/^\[|\]$/g, "");
  return inner === "" || inner === "N/A" ? [] : inner.split(", ").filter(Boolean);
};
