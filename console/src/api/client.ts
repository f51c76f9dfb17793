/** Asks the server: every route by its name, with the types of its own description. */
import type { Me, Routes } from "./schema";

type Named<Path extends string> = Path extends `${string}{${infer Name}}${infer Rest}` ? Name | Named<Rest> : never;

interface Given<R extends keyof Routes> {
  readonly path?: Readonly<Record<Named<R>, string>>;
  readonly query?: Routes[R]["query"];
  readonly body?: Routes[R]["body"];
  /** What is sent twice under one key is done once. */
  readonly key?: string;
  readonly signal?: AbortSignal;
}

/** What the server refused, or why it could not be asked. */
export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    /** Seconds after which to ask again; 0 where nobody said. */
    readonly wait = 0,
  ) {
    super(message);
  }
}

const KEPT = "holdfast.key";

export class Api {
  /** A key that somebody gave; never in localStorage, and gone with the tab. */
  private key = read();
  me: Me | null = null;
  /** Is called when the server no longer knows who asks. */
  onStranger: () => void = () => {};

  get hasKey(): boolean {
    return this.key !== "";
  }

  useKey(key: string, keep: boolean): void {
    this.key = key;
    try {
      if (keep && key) sessionStorage.setItem(KEPT, key);
      else sessionStorage.removeItem(KEPT);
    } catch {
      // A browser that keeps nothing: it stays in memory.
    }
  }

  may(scope: Me["scopes"][number]): boolean {
    return this.me?.scopes.includes(scope) ?? false;
  }

  async ask<R extends keyof Routes>(route: R, given: Given<R> = {}): Promise<Routes[R]["answer"]> {
    const [method, pattern] = route.split(" ") as [string, string];
    const names = (given.path ?? {}) as Record<string, string>;
    let address = pattern.replace(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(names[name] ?? ""));
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries(given.query ?? {})) {
      for (const each of Array.isArray(value) ? value : [value]) if (each !== undefined) query.append(name, String(each));
    }
    if (query.size) address += `?${query}`;
    const headers = this.headers({ accept: "application/json" });
    if (given.body !== undefined) headers.set("content-type", "application/json");
    if (given.key) headers.set("idempotency-key", given.key);
    const response = await this.send(address, {
      method,
      headers,
      ...(given.body === undefined ? {} : { body: JSON.stringify(given.body) }),
      ...(given.signal ? { signal: given.signal } : {}),
    });
    const text = await response.text();
    return (text ? JSON.parse(text) : undefined) as Routes[R]["answer"];
  }

  /** Opens the stream of a session's events, those after `after`. */
  stream(session: string, after: number, signal: AbortSignal): Promise<Response> {
    const headers = this.headers({ accept: "text/event-stream" });
    if (after) headers.set("last-event-id", String(after));
    return this.send(`/v1/sessions/${encodeURIComponent(session)}/events`, { headers, signal });
  }

  private headers(given: Record<string, string>): Headers {
    const headers = new Headers(given);
    if (this.key) headers.set("authorization", `Bearer ${this.key}`);
    return headers;
  }

  private async send(address: string, init: RequestInit): Promise<Response> {
    let response: Response;
    try {
      response = await fetch(address, { ...init, credentials: "same-origin", cache: "no-store", redirect: "error" });
    } catch (error) {
      if (init.signal?.aborted) throw error;
      throw new Problem(0, "unreachable", "The server does not answer.", 1);
    }
    if (response.ok) return response;
    const problem = await problemOf(response);
    if (response.status === 401 && this.me) this.onStranger();
    throw problem;
  }
}

async function problemOf(response: Response): Promise<Problem> {
  const wait = Number(response.headers.get("retry-after")) || 0;
  try {
    const said = (await response.json()) as { code?: string; detail?: string; title?: string };
    return new Problem(response.status, said.code ?? "", said.detail ?? said.title ?? response.statusText, wait);
  } catch {
    return new Problem(response.status, "", `The server answered ${response.status} ${response.statusText}.`, wait);
  }
}

function read(): string {
  try {
    return sessionStorage.getItem(KEPT) ?? "";
  } catch {
    return "";
  }
}

/** Returns what a person is told about something that went wrong. */
export function said(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Returns a key under which what is sent again after a lost answer is done once. */
export function once(): string {
  return `console-${crypto.randomUUID?.() ?? Array.from(crypto.getRandomValues(new Uint32Array(4))).join("-")}`;
}
