/** Numbers, times and strange characters as people read them. */

const MONEY = new Intl.NumberFormat("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const DAY = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric" });

/** Returns US dollars, with as many digits as tell something; "—" where a price was unknown. */
export function money(dollars: number | null | undefined): string {
  if (dollars === null || dollars === undefined) return "—";
  if (dollars === 0) return "$0";
  if (dollars < 0.000095) return "<$0.0001";
  return dollars < 0.095 ? `$${dollars.toFixed(4)}` : `$${MONEY.format(dollars)}`;
}

export function nanos(cost: number | null): number | null {
  return cost === null ? null : cost / 1e9;
}

export function tokens(count: number): string {
  if (count < 1000) return String(count);
  if (count < 999_500) return `${(count / 1000).toFixed(count < 9_950 ? 1 : 0)}k`;
  return `${(count / 1e6).toFixed(1)}M`;
}

export function seconds(took: number): string {
  if (took < 1) return `${Math.max(1, Math.round(took * 1000))} ms`;
  if (took < 60) return `${took.toFixed(took < 10 ? 1 : 0)} s`;
  const minutes = Math.floor(took / 60);
  return minutes < 60 ? `${minutes} min ${Math.round(took % 60)} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

export function clock(micros: number): string {
  return CLOCK.format(micros / 1000);
}

export function ago(micros: number, now: number): string {
  const past = Math.max(0, now - micros / 1000) / 1000;
  if (past < 45) return "now";
  if (past < 3600) return `${Math.max(1, Math.round(past / 60))} min`;
  if (past < 86_400) return `${Math.round(past / 3600)} h`;
  return past < 7 * 86_400 ? `${Math.round(past / 86_400)} d` : DAY.format(micros / 1000);
}

export function count(number: number, what: string, many = `${what}s`): string {
  return `${number.toLocaleString("en-US")} ${number === 1 ? what : many}`;
}

const COLOURS = /[\u001b\u241b]\[[0-9;:]*m/g;
// Controls, and marks that are not seen or have a text read in another order than it is written.
const STRANGE = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]/gu;

/** Returns a text of somebody else's as it can be shown: what would hide or turn around a part of it is seen. */
export function printable(text: string): string {
  return text.replace(/\r\n?/g, "\n").replace(STRANGE, (each) => `␦${each.codePointAt(0)?.toString(16)}`);
}

/** Returns what a command said, without its colours. Not for what is to be decided about: that is shown as it is. */
export function uncoloured(text: string): string {
  return printable(text.replace(COLOURS, ""));
}

/** Returns the beginning of a text, and says how much is left out. */
export function cut(text: string, most: number): string {
  return text.length > most ? `${text.slice(0, most)}\n… ${count(text.length - most, "more character")}` : text;
}

export function oneLine(text: string, most = 160): string {
  const line = printable(text.slice(0, most * 4)).replace(/\s+/g, " ").trim();
  return line.length > most ? `${line.slice(0, most - 1)}…` : line;
}

/** Returns a session's name, of the name of its stream: what stands before it is the tenant. */
export function nameOf(stream: string): string {
  return stream.slice(stream.indexOf("/") + 1);
}

/** Returns the fields of a call's arguments; null where they are no JSON object, as half of them are not. */
export function fieldsOf(json: string): Record<string, unknown> | null {
  try {
    const found: unknown = JSON.parse(json || "{}");
    return found !== null && typeof found === "object" && !Array.isArray(found) ? (found as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}

/** Returns what a call wants, on one line. */
export function about(json: string): string {
  const fields = fieldsOf(json);
  if (fields === null) return oneLine(json);
  if ("pattern" in fields) {
    const place = String(fields.path ?? ".");
    return oneLine(String(fields.pattern) + (place === "." ? "" : `  in ${place}`));
  }
  for (const name of ["command", "path", "url", "query", "question", "expression"]) {
    if (typeof fields[name] === "string") return oneLine(fields[name]);
  }
  return oneLine(Object.entries(fields).map(([name, value]) => `${name}: ${typeof value === "string" ? value : JSON.stringify(value)}`).join(", "));
}
