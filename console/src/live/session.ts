/** One session while it is looked at: its events, what they come to, and the words that are being said right now. */
import { type Api, Problem } from "../api/client";
import { type Event, type Item, isEvent } from "../api/events";
import type { SessionView } from "../api/schema";
import { Following, type Link } from "./following";
import { Fold, type Said, visible } from "./folding";

export interface Live {
  thinking: string;
  text: string;
  calls: { id: string; name: string; arguments: string }[];
}

const QUIET: ReadonlySet<string> = new Set(["model.started", "tool.started", "tool.finished", "tool.noted", "files.kept", "account.opened"]);

export class Session {
  readonly events: Event[] = [];
  fold = new Fold();
  live: Live = nothing();
  link: Link = { state: "connecting" };
  view: SessionView | null = null;
  /** What was said from here and that nobody has read yet, by its key: a run that is busy reads it when it can. */
  readonly sent = new Map<string, Said>();
  /** Grows whenever something is to be drawn anew. */
  turn = 0;
  private readonly following: Following;
  private readonly listeners = new Set<() => void>();
  private frame = 0;
  private looking = false;
  private look = 0;
  private closed = false;

  constructor(
    private readonly api: Api,
    readonly name: string,
  ) {
    this.following = new Following(
      api,
      name,
      0,
      (items) => this.take(items),
      (link) => {
        this.link = link;
        this.draw();
        if (link.state === "live") this.refresh(0);
      },
    );
  }

  close(): void {
    this.closed = true;
    clearTimeout(this.look);
    cancelAnimationFrame(this.frame);
    this.following.close();
  }

  listen(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  hurry(): void {
    this.following.hurry();
  }

  /** Notes what was said from here, so that it is seen before it is read. */
  said(key: string, how: Said["how"], text: string): void {
    if (!this.events.some((event) => event.cause === key)) {
      this.sent.set(key, { kind: "said", seq: 0, at: Date.now() * 1000, how, text, images: [], files: [], state: "queued" });
    }
    this.draw();
  }

  /** Asks how the session stands, soon; what only the server knows: what waits for people, and who drives it. */
  refresh(soon = 250): void {
    if (this.looking || this.closed) return;
    this.looking = true;
    this.look = window.setTimeout(() => void this.ask(), soon);
  }

  private async ask(): Promise<void> {
    this.looking = false;
    const seq = this.events.at(-1)?.seq ?? 0;
    try {
      this.view = await this.api.ask("GET /v1/sessions/{session}", { path: { session: this.name } });
      this.draw();
      // It moved on meanwhile, or somebody's answer is not read yet.
      if (this.view.seq < seq || this.view.waits.some((each) => each.answered)) this.refresh(500);
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
    }
  }

  private take(items: readonly Item[]): void {
    let rewound = false;
    let told = false;
    for (const item of items) {
      if (!isEvent(item)) {
        this.hear(item);
        continue;
      }
      this.events.push(item);
      this.live = this.rest(item);
      if (item.cause) this.sent.delete(item.cause);
      if (item.type === "session.rewound") rewound = true;
      else if (!rewound) this.fold.apply(item);
      told ||= !QUIET.has(item.type);
    }
    if (rewound) {
      this.fold = new Fold();
      for (const event of visible(this.events)) this.fold.apply(event);
    }
    if (told) this.refresh();
    this.draw();
  }

  private hear(item: Exclude<Item, Event>): void {
    const live = this.live;
    switch (item.type) {
      case "text.delta":
        live.text += item.text;
        break;
      case "thinking.delta":
        live.thinking += item.text;
        break;
      case "call.delta": {
        const call = (live.calls[item.index] ??= { id: item.id, name: "", arguments: "" });
        call.name ||= item.name;
        call.arguments += item.arguments;
        break;
      }
      case "reset":
        this.live = nothing();
        if (item.reason === "beyond") {
          this.events.length = 0;
          this.fold = new Fold();
        }
    }
  }

  /** Returns what there still is of the answer after a durable event. */
  private rest(event: Event): Live {
    if (event.type === "model.failed" && event.data.mode === "continue") {
      const parts = event.data.partial?.parts ?? [];
      const words = (kind: "text" | "thinking"): string => parts.map((part) => (part.type === kind ? part.text : "")).join("");
      return { thinking: words("thinking"), text: words("text"), calls: [] };
    }
    return event.type.startsWith("model.") || event.type.startsWith("run.") ? nothing() : this.live;
  }

  private draw(): void {
    if (this.frame || this.closed) return;
    // A page that nobody sees draws no frames; what it shows is to be right all the same when somebody looks.
    const tell = (): void => {
      this.frame = 0;
      this.turn += 1;
      for (const listener of this.listeners) listener();
    };
    if (document.hidden) {
      this.frame = window.setTimeout(tell, 250);
    } else {
      this.frame = requestAnimationFrame(tell);
    }
  }
}

function nothing(): Live {
  return { thinking: "", text: "", calls: [] };
}
