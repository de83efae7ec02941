// How times and nodes are written; pure.

export const shortTime = (seconds) =>
  new Date(seconds * 1000).toLocaleString([], { weekday: "short", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", hour12: false });

/** A time as a mark of a calendar so long: 17:30, Mon 17h, Mon 23 or Nov 23. */
export function tick(seconds, lengthS) {
  const time = new Date(seconds * 1000);
  if (lengthS <= 86400) return time.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
  if (lengthS <= 3 * 86400) return `${time.toLocaleDateString("en", { weekday: "short" })} ${time.getHours()}h`;
  if (lengthS <= 7 * 86400) return `${time.toLocaleDateString("en", { weekday: "short" })} ${time.getDate()}`;
  return time.toLocaleDateString("en", { month: "short", day: "numeric" });
}

/** A duration as people say it: 3 d 4 h, 2 h 5 min, 12 min. */
export function span(seconds) {
  const minutes = Math.max(0, Math.round(seconds / 60));
  const [days, hours, rest] = [Math.floor(minutes / 1440), Math.floor(minutes / 60) % 24, minutes % 60];
  if (days) return `${days} d ${hours} h`;
  return hours ? `${hours} h ${rest} min` : `${rest} min`;
}

/** Node numbers as igor writes them: kn[1-3,7], kn5. */
export function written(numbers, cluster) {
  const sorted = [...numbers].sort((a, b) => a - b);
  const pad = (number) => String(number).padStart(cluster.padlen, "0");
  const parts = [];
  for (let i = 0; i < sorted.length; i += 1) {
    const first = sorted[i];
    while (sorted[i + 1] === sorted[i] + 1) i += 1;
    parts.push(first === sorted[i] ? pad(first) : `${pad(first)}-${pad(sorted[i])}`);
  }
  if (!parts.length) return "";
  return sorted.length === 1 ? cluster.prefix + parts[0] : `${cluster.prefix}[${parts.join(",")}]`;
}

/** The numbers of a text of spans such as 1-3,7. */
export function numbersOf(text) {
  const found = new Set();
  for (const part of text ? text.split(",") : []) {
    const [first, last] = part.split("-").map(Number);
    for (let i = first; i <= (last ?? first); i += 1) found.add(i);
  }
  return found;
}
