/** An event on one line. */
import type { Event } from "../api/events";
import type { ToolCall } from "../api/schema";
import { about, count, money, nameOf, oneLine, seconds, tokens } from "../text/words";

export type Tone = "person" | "model" | "tool" | "good" | "warn" | "bad" | "plain";

export function toneOf(event: Event): Tone {
  switch (event.type) {
    case "input.received":
    case "input.applied":
    case "wait.resolved":
      return "person";
    case "model.started":
    case "model.finished":
      return "model";
    case "tool.started":
      return "tool";
    case "tool.finished":
      return event.data.result.error ? (event.data.result.error.status === "denied" ? "warn" : "bad") : "tool";
    case "tool.waiting":
    case "review.requested":
    case "budget.exhausted":
    case "contract.violated":
    case "run.closing":
      return "warn";
    case "run.finished":
      return event.data.status === "completed" ? "good" : event.data.status === "failed" ? "bad" : "warn";
    case "model.failed":
      return event.data.next ? "warn" : "bad";
    default:
      return "plain";
  }
}

export type Names = ReadonlyMap<string, ToolCall>;

export function brief(event: Event, names: Names): string {
  switch (event.type) {
    case "input.received":
      return oneLine(event.data.message.parts.map((part) => (part.type === "text" ? part.text : `[${part.type}]`)).join(" ") || event.data.kind, 120);
    case "run.started":
      return oneLine(`${event.data.setup.model}, ${event.data.setup.mode ?? "auto"}`);
    case "model.finished": {
      const { message, cost, duration } = event.data;
      const words = message.parts.map((part) => (part.type === "text" ? part.text : part.type === "tool_call" ? `→ ${part.name}` : "")).join(" ");
      const used = (message.usage?.input_tokens ?? 0) + (message.usage?.output_tokens ?? 0);
      const figures = [tokens(used), cost === null || cost === undefined ? "" : money(cost / 1e9), duration ? seconds(duration / 1e6) : ""];
      return oneLine(`${words.trim()}  ${figures.filter(Boolean).join(" · ")}`, 140);
    }
    case "model.failed":
      return oneLine(`${event.data.code}: ${event.data.message}`);
    case "tool.started":
      return oneLine(`${names.get(event.data.call_id)?.name ?? ""} ${about(names.get(event.data.call_id)?.arguments ?? "")}`);
    case "tool.finished":
      return oneLine(`${names.get(event.data.call_id)?.name ?? ""}: ${event.data.result.content}`, 120);
    case "tool.waiting":
      return oneLine(`${event.data.wait.kind}: ${event.data.wait.prompt || (names.get(event.data.call_id)?.name ?? "")}`);
    case "wait.resolved":
      return oneLine(event.data.content ?? "nobody answered in time");
    case "run.finished":
      return oneLine([event.data.status, event.data.reason ?? "", count(event.data.steps ?? 0, "step")].filter(Boolean).join(" · "));
    case "session.forked":
      return oneLine(`${nameOf(event.data.parent ?? "") || "a file"} at ${event.data.at}`);
    case "session.rewound":
      return `to ${event.data.to}`;
    case "process.started":
      return oneLine(`${event.data.name}: ${event.data.command}`);
    case "process.ended":
      return oneLine(`${event.data.name}: exit code ${event.data.code}`);
    default: {
      const data = event.data as Readonly<Record<string, unknown>>;
      return oneLine(Object.values(data).filter((each) => typeof each === "string" || typeof each === "number").join(" "), 120);
    }
  }
}
