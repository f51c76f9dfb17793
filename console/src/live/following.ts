/**
 * Follows a session for as long as it is looked at: comes back after every loss with the last event it has, so that
 * nothing is missed and nothing comes twice.
 */
import { type Api, Problem } from "../api/client";
import { isEvent, type Item } from "../api/events";
import { Frames } from "./frames";

export type Link =
  | { readonly state: "connecting" }
  | { readonly state: "live" }
  | { readonly state: "lost"; readonly why: string; readonly tries: number }
  | { readonly state: "over"; readonly why: string };

const LONGEST = 10_000;
/** Milliseconds of silence after which a line counts as dead: the server says that it lives every fifteen seconds. */
const SILENCE = 40_000;

export class Following {
  private readonly stop = new AbortController();
  private wake: () => void = () => {};
  private tries = 0;

  constructor(
    private readonly api: Api,
    private readonly session: string,
    private last: number,
    private readonly take: (items: readonly Item[]) => void,
    private readonly tell: (link: Link) => void,
  ) {
    addEventListener("online", this.hurry);
    document.addEventListener("visibilitychange", this.hurry);
    void this.follow();
  }

  close(): void {
    removeEventListener("online", this.hurry);
    document.removeEventListener("visibilitychange", this.hurry);
    this.stop.abort();
    this.wake();
  }

  /** Tries again now. */
  readonly hurry = (): void => this.wake();

  private async follow(): Promise<void> {
    this.tell({ state: "connecting" });
    while (!this.stop.signal.aborted) {
      const over = await this.once();
      if (this.stop.signal.aborted) return;
      if (over) return this.tell({ state: "over", why: over });
      await this.pause();
    }
  }

  /** Returns why there is nothing more to come; empty where it is worth trying again. */
  private async once(): Promise<string> {
    const line = new AbortController();
    const end = (): void => line.abort();
    this.stop.signal.addEventListener("abort", end);
    let timer = setTimeout(end, SILENCE);
    try {
      const response = await this.api.stream(this.session, this.last, line.signal);
      const frames = new Frames();
      this.tries = 0;
      this.tell({ state: "live" });
      for await (const piece of pieces(response)) {
        clearTimeout(timer);
        timer = setTimeout(end, SILENCE);
        const items = this.fresh(frames.take(piece));
        if (items.length) this.take(items);
        const last = items.at(-1);
        if (last?.type === "end") {
          if (last.reason === "deleted") return "This session was deleted.";
          this.lost("The server is being stopped.");
          return "";
        }
      }
      this.lost("The connection was closed.");
    } catch (error) {
      if (error instanceof Problem && error.status >= 400 && error.status < 500 && error.status !== 429) return error.message;
      this.lost(error instanceof Problem ? error.message : "The connection broke.");
    } finally {
      clearTimeout(timer);
      line.abort();
      this.stop.signal.removeEventListener("abort", end);
    }
    return "";
  }

  /** Returns what is not known yet. */
  private fresh(items: Item[]): Item[] {
    const found: Item[] = [];
    for (const item of items) {
      if (isEvent(item)) {
        if (item.seq <= this.last) continue;
        this.last = item.seq;
      } else if (item.type === "reset" && item.reason === "beyond") {
        this.last = 0; // another session has this name now: all of it comes
      }
      found.push(item);
    }
    return found;
  }

  private lost(why: string): void {
    this.tries += 1;
    this.tell({ state: "lost", why, tries: this.tries });
  }

  private pause(): Promise<void> {
    const wait = Math.min(LONGEST, 500 * 2 ** (this.tries - 1)) * (0.75 + Math.random() / 2);
    return new Promise((done) => {
      const timer = setTimeout(done, wait);
      this.wake = () => {
        clearTimeout(timer);
        done();
      };
    });
  }
}

async function* pieces(response: Response): AsyncGenerator<Uint8Array> {
  const reader = response.body?.getReader();
  if (!reader) return;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    reader.releaseLock();
  }
}
