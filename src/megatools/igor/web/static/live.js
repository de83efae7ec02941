// The line to igor: the live picture of the cluster, and requests of the API.

/** Follow the cluster: `onChange(picture)` after every change, `onLink(state)` about the line. */
export function follow(onChange, onLink) {
  const picture = { me: { name: "", groups: [], admin: false }, head: null, rows: new Map(), skewS: 0 };
  const take = (event) => {
    const body = JSON.parse(event.data);
    if (event.type === "snapshot") {
      picture.me = body.me;
      picture.rows.clear();
    }
    if (body.head) picture.head = body.head;
    for (const row of body.rows) picture.rows.set(row.id, row);
    for (const id of body.gone ?? []) picture.rows.delete(id);
    picture.skewS = body.now_s - Date.now() / 1000; // igor's clock counts, not the browser's
    onChange(picture);
  };
  const listen = () => {
    const source = new EventSource("/events");
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

async function isSignedOut() {
  try {
    return (await fetch("/profiles.json")).status === 401;
  } catch {
    return false;
  }
}

/** Ask igor something, with the files that the request refers to by position; returns the answer or throws in words. */
export async function ask(request, files = []) {
  const body = new Blob([`${JSON.stringify(request)}\n`, ...files]);
  const headers = files.length ? { "Igor-Files": files.map((file) => file.size).join(",") } : {};
  let reply;
  try {
    reply = await (await fetch("/api", { method: "POST", body, headers })).json();
  } catch {
    throw new Error("igor does not answer; nothing is known of this request");
  }
  if (reply.error) throw new Error(reply.hint ? `${reply.message}\n${reply.hint}` : reply.message);
  return reply.answer;
}
