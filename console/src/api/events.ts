/** What a stream brings: durable events, each with its number, and deltas without one. */
import type { Payloads } from "./schema";

interface Envelope<Type extends string, Data> {
  readonly seq: number;
  readonly id: string;
  readonly type: Type;
  /** µs UTC. */
  readonly at: number;
  readonly actor?: string;
  readonly cause?: string;
  readonly data: Data;
}

export type Known = { [Type in keyof Payloads]: Envelope<Type, Payloads[Type]> }[keyof Payloads];
/** An event, maybe of a kind that this console has not heard of. */
export type Event = Known;

export type Delta =
  | { readonly type: "text.delta" | "thinking.delta"; readonly text: string }
  | { readonly type: "call.delta"; readonly index: number; readonly id: string; readonly name: string; readonly arguments: string }
  | { readonly type: "reset"; readonly reason: string }
  | { readonly type: "lagged"; readonly after: number }
  | { readonly type: "end"; readonly reason: string };

export type Item = Event | Delta;

export function isEvent(item: Item): item is Event {
  return "seq" in item && typeof item.seq === "number";
}
