/** From events to what is shown: the conversation as a list of things, each with the event it began with. */
import type { Event } from "../api/events";
import type { AssistantMessage, Image, ToolCall, ToolResult, Usage, UserMessage, Wait, WaitResolved } from "../api/schema";
import { nameOf } from "../text/words";

export interface Said {
  readonly kind: "said";
  readonly seq: number;
  readonly at: number;
  readonly how: "prompt" | "steer" | "follow_up";
  readonly text: string;
  readonly images: readonly Image[];
  readonly files: readonly string[];
  readonly state: "queued" | "read" | "dropped";
}

export interface Written {
  readonly kind: "text" | "thinking";
  readonly seq: number;
  readonly text: string;
}

export interface Step {
  readonly kind: "step";
  readonly seq: number;
  readonly name: string;
  readonly text: string;
}

export interface Calling {
  readonly kind: "call";
  readonly seq: number;
  readonly call: ToolCall;
  readonly started?: number | undefined;
  readonly finished?: number | undefined;
  readonly duration?: number | undefined;
  readonly result?: ToolResult | undefined;
  readonly waiting?: Wait | undefined;
  readonly rolledBack?: boolean | undefined;
  /** Whether the run ended, or was left, before it was done. */
  readonly left?: boolean | undefined;
  readonly nested: readonly Calling[];
}

export interface Ended {
  readonly kind: "end";
  readonly seq: number;
  readonly at: number;
  readonly status: "aborted" | "completed" | "failed" | "limited";
  readonly reason: string;
  readonly steps: number;
  readonly usage: Usage;
  readonly cost: number | null;
  readonly seconds: number;
}

export interface Note {
  readonly kind: "note";
  readonly seq: number;
  readonly tone: "plain" | "warn" | "bad";
  readonly text: string;
}

export type Thing = Said | Written | Step | Calling | Ended | Note;

/** Nanodollars; null where a price was unknown. */
export type Money = number | null;

const NO_USAGE: Usage = {};

export class Fold {
  things: Thing[] = [];
  model = "";
  mode = "";
  /** Of the last answer: what the model was given, and gave. */
  context = 0;
  input = 0;
  output = 0;
  cached = 0;
  cost: Money = 0;
  steps = 0;
  running = false;
  /** How the last run ended; empty while one is open. */
  status: Ended["status"] | "" = "";
  runStart = 0;
  paused = false;
  ended = false;
  /** Of every call, whichever run it was of: its tool, and what it wants. */
  readonly names = new Map<string, ToolCall>();
  private began = 0;
  private readonly calls = new Map<string, number>();
  private readonly parents = new Map<string, string>();
  private readonly inputs = new Map<number, number>();
  private readonly reviews = new Set<string>();
  private readonly open = new Set<string>();
  private readonly tokens = new Map<string, { readonly id: string; readonly wait: Wait }>();

  apply(event: Event): void {
    switch (event.type) {
      case "input.received":
        if (event.data.kind !== "proceed") this.hear(event.seq, event.at, event.data.kind, event.data.message);
        break;
      case "input.applied":
        this.mark(event.data.input, "read");
        break;
      case "input.dropped":
        this.mark(event.data.input, "dropped");
        break;
      case "run.started":
        this.mark(event.data.input, "read");
        this.model = event.data.setup.model || this.model;
        this.mode = event.data.setup.mode ?? "auto";
        this.running = true;
        this.status = "";
        this.runStart = event.seq;
        this.began = event.at;
        break;
      case "model.finished":
        this.answer(event.seq, event.data.message);
        this.spend(event.data.message.usage, event.data.cost ?? null);
        this.steps += 1;
        break;
      case "model.failed":
        this.failed(event);
        break;
      case "tool.started":
      case "tool.finished":
      case "tool.waiting":
      case "wait.resolved":
        this.call(event);
        break;
      case "run.finished":
        this.running = false;
        this.leave();
        this.finish(event);
        break;
      default:
        this.other(event);
    }
  }

  private hear(seq: number, at: number, how: "prompt" | "steer" | "follow_up", message: UserMessage): void {
    const parts = message.parts;
    this.inputs.set(seq, this.things.length);
    this.things.push({
      kind: "said",
      seq,
      at,
      how,
      text: parts.map((part) => (part.type === "text" ? part.text : "")).join(""),
      images: parts.filter((part): part is Image => part.type === "image"),
      files: parts.flatMap((part) => (part.type === "document" ? [part.name || part.media_type] : [])),
      state: "queued",
    });
  }

  /** What was said takes its place in the conversation when it is read. */
  private mark(input: number, state: Said["state"]): void {
    const place = this.inputs.get(input);
    if (place === undefined) return;
    const said = this.things[place];
    if (said?.kind === "said") this.things[place] = { ...said, state };
  }

  private answer(seq: number, message: AssistantMessage): void {
    if (message.model) this.model = message.model;
    for (const part of message.parts) {
      switch (part.type) {
        case "text":
          if (part.text.trim()) this.things.push({ kind: "text", seq, text: part.text });
          break;
        case "thinking":
          if (part.text.trim() || part.redacted) this.things.push({ kind: "thinking", seq, text: part.text });
          break;
        case "tool_call":
          this.calls.set(part.id, this.things.length);
          this.names.set(part.id, part);
          this.open.add(part.id);
          this.things.push({ kind: "call", seq, call: part, nested: [] });
          break;
        case "provider_step":
          this.things.push({ kind: "step", seq, name: part.name, text: part.text ?? "" });
      }
    }
    const usage = message.usage ?? NO_USAGE;
    this.context = (usage.input_tokens ?? 0) + (usage.output_tokens ?? 0);
  }

  private spend(usage: Usage | null | undefined, cost: Money): void {
    this.input += usage?.input_tokens ?? 0;
    this.output += usage?.output_tokens ?? 0;
    this.cached += usage?.cache_read_tokens ?? 0;
    this.cost = this.cost === null || cost === null ? null : this.cost + cost;
  }

  private failed(event: Event & { type: "model.failed" }): void {
    const { code, message, usage, cost, next } = event.data;
    if (usage) this.spend(usage, cost ?? null);
    if (code === "interrupted") return;
    this.note(event.seq, next ? "warn" : "bad", next ? `${message} Asking ${next} instead.` : message);
  }

  /** What was waited for: it lets the call go on, or is what the call comes to. */
  private resolve(seq: number, data: WaitResolved): void {
    const found = this.tokens.get(data.token);
    if (!found) return this.reviewed(seq, data);
    const { id, wait } = found;
    const said = data.content ?? null;
    const go = { waiting: undefined };
    if (wait.kind === "approval") {
      const yes = !data.is_error && (said === "once" || said === "always");
      const why = said === null ? "nobody answered in time" : said.replace(/^deny[: \n]*/, "");
      const denied: ToolResult = { content: why ? `Denied: ${why}` : "Denied", error: { code: "approval denied", reason: "", status: "denied" } };
      if (yes) this.change(id, (was) => ({ ...was, ...go, call: data.arguments ? { ...was.call, arguments: data.arguments } : was.call }));
      else this.settle(id, denied);
      return;
    }
    if (wait.below || !["question", "child", "callback"].includes(wait.kind ?? "callback")) return this.change(id, go);
    const failed = data.is_error || said === null ? { code: said === null ? "timeout" : "execution_failed", reason: "" } : null;
    this.settle(id, data.result ?? { content: said ?? "Nobody answered in time.", error: data.error ?? failed });
  }

  private reviewed(seq: number, data: WaitResolved): void {
    if (!this.reviews.delete(data.token)) return;
    const said = data.content ?? "";
    if (said.startsWith("changes")) this.note(seq, "plain", because("You asked for changes", said.replace(/^changes[: ]*/, "")));
    else if (said === "once" || said === "always") this.note(seq, "plain", "You accepted the answer");
    else this.note(seq, "warn", because("The answer was rejected", said.replace(/^deny[: \n]*/, "") || (said ? "" : "nobody answered in time")));
  }

  private settle(id: string, result: ToolResult): void {
    this.open.delete(id);
    this.change(id, (was) => ({ ...was, waiting: undefined, result }));
  }

  /** Calls that are open stay so for ever. */
  private leave(): void {
    for (const id of this.open) this.change(id, (was) => ({ ...was, waiting: undefined, left: true }));
    this.open.clear();
  }

  private call(event: Event & { type: "tool.started" | "tool.finished" | "tool.waiting" | "wait.resolved" }): void {
    if (event.type === "wait.resolved") return this.resolve(event.seq, event.data);
    const id = event.data.call_id;
    if (event.type === "tool.waiting") {
      this.tokens.set(event.data.wait.token, { id, wait: event.data.wait });
      this.change(id, { waiting: event.data.wait });
      return;
    }
    const nested = event.data.nested;
    if (nested && !this.parents.has(id)) {
      this.parents.set(id, nested.parent);
      const call: ToolCall = { type: "tool_call", id, name: nested.name, arguments: nested.arguments };
      this.names.set(id, call);
      const below: Calling = { kind: "call", seq: event.seq, call, nested: [] };
      this.change(nested.parent, (was) => ({ ...was, nested: [...was.nested, below] }));
    }
    if (event.type === "tool.started") {
      const given = event.data.arguments;
      this.change(id, (was) => ({ ...was, started: event.seq, call: given ? { ...was.call, arguments: given } : was.call }));
    } else {
      const { result, duration, rolled_back } = event.data;
      this.open.delete(id);
      const end = { finished: event.seq, result, duration: duration ?? 0, rolledBack: rolled_back ?? false };
      this.change(id, (was) => ({ ...was, ...end, waiting: undefined }));
    }
  }

  /** Changes a call, wherever it stands: another object takes its place, so that only it is drawn anew. */
  private change(id: string, how: { readonly waiting: Wait | undefined } | ((was: Calling) => Calling)): void {
    const apply = (was: Calling): Calling => (typeof how === "function" ? how(was) : ({ ...was, ...how }));
    const parent = this.parents.get(id);
    if (parent !== undefined) {
      this.change(parent, (was) => ({ ...was, nested: was.nested.map((each) => (each.call.id === id ? apply(each) : each)) }));
      return;
    }
    const place = this.calls.get(id);
    const was = place === undefined ? undefined : this.things[place];
    if (place !== undefined && was?.kind === "call") this.things[place] = apply(was);
  }

  private finish(event: Event & { type: "run.finished" }): void {
    const { status, reason, steps, usage, cost } = event.data;
    this.status = status;
    this.things.push({
      kind: "end",
      seq: event.seq,
      at: event.at,
      status,
      reason: reason ?? "",
      steps: steps ?? 0,
      usage: usage ?? NO_USAGE,
      cost: cost ?? null,
      seconds: Math.max(0, event.at - this.began) / 1e6,
    });
  }

  private other(event: Event): void {
    switch (event.type) {
      case "session.paused":
        this.paused = true;
        return this.note(event.seq, "plain", because("Paused", event.data.reason));
      case "session.resumed":
        this.paused = false;
        return this.note(event.seq, "plain", "Resumed");
      case "review.requested":
        this.reviews.add(event.data.wait.token);
        return;
      case "session.ended":
        this.ended = true;
        return this.note(event.seq, "plain", because("This session was ended for good", event.data.reason));
      case "session.forked":
        this.running = this.paused = this.ended = false;
        this.leave();
        return this.note(event.seq, "plain", event.data.parent ? `Forked from ${nameOf(event.data.parent)} at event ${event.data.at}` : "Imported from a file");
      case "session.rewound":
        this.running = this.paused = this.ended = false;
        this.leave();
        return this.note(event.seq, "plain", `Taken back to event ${event.data.to}`);
      case "budget.exhausted":
        return this.note(event.seq, "warn", `The budget is used up: ${event.data.limit}`);
      case "run.closing":
        return this.note(event.seq, "warn", `Limit reached (${event.data.limit}): one last answer, without tools`);
      case "answer.judged":
        return event.data.why ? this.note(event.seq, "warn", `The answer does not fit: ${event.data.why}`) : undefined;
      case "contract.violated":
        return this.note(event.seq, "warn", `Contract: ${event.data.kind.replaceAll("_", " ")} ${event.data.name ?? event.data.text ?? ""}`);
      case "abort.requested":
        return this.note(event.seq, "plain", because("Abort asked for", event.data.reason));
      case "process.lost":
        return this.note(event.seq, "warn", `The process ${event.data.name} is gone: ${event.data.why}`);
      case "phase.failed":
        return this.note(event.seq, "bad", `Phase ${event.data.phase + 1} could not be started: ${event.data.why}`);
    }
  }

  private note(seq: number, tone: Note["tone"], text: string): void {
    this.things.push({ kind: "note", seq, tone, text });
  }
}

function because(what: string, reason: string | undefined): string {
  return reason ? `${what}: ${reason}` : what;
}

/** Returns the events that are part of the conversation: what a rewind took back is left out, and a rewind itself may be. */
export function visible(events: readonly Event[]): Event[] {
  const before: number[] = [];
  let last = -1;
  events.forEach((event, place) => {
    if (event.type === "session.rewound") last = Math.min(placeOf(events, event.data.to), place) - 1;
    before.push(last);
    last = place;
  });
  const kept: Event[] = [];
  while (last >= 0) {
    kept.push(events[last] as Event);
    last = before[last] as number;
  }
  return kept.reverse();
}

/** Returns how many events there are up to a number. */
export function placeOf(events: readonly Event[], seq: number): number {
  let low = 0;
  let high = events.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((events[middle] as Event).seq <= seq) low = middle + 1;
    else high = middle;
  }
  return low;
}
