/**
 * The list of sessions, kept fresh while somebody looks at it.
 *
 * The server pages by name, people want what happened last: so everything is read, up to a bound, when the list is opened
 * and when something ended; in between only the sessions that are at work are asked for.
 */
import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import type { Listed } from "../api/schema";
import { announce, useApi } from "../parts/hooks";

const EVERY = 3_000;
const PAGE = 200;
/** Pages that are read at once. */
const PAGES = 10;
/** Rounds after which everything is read again: of what came and went in between, nobody told. */
const ROUNDS = 20;
const BUSY = ["open", "running", "waiting"] as const;

export interface Sessions {
  readonly sessions: readonly Listed[];
  /** Those in which somebody is asked something. */
  readonly asking: ReadonlySet<string>;
  readonly state: "asking" | "there" | "lost";
  readonly more: boolean;
  readonly next: () => void;
  readonly refresh: () => void;
}

export function useSessions(): Sessions {
  const api = useApi();
  const [sessions, setSessions] = useState<readonly Listed[]>([]);
  const [asking, setAsking] = useState<ReadonlySet<string>>(new Set());
  const [state, setState] = useState<Sessions["state"]>("asking");
  const [after, setAfter] = useState("");
  const pages = useRef(PAGES);
  const whole = useRef(true);
  const known = useRef(new Set<string>());
  const wake = useRef<() => void>(() => {});

  useEffect(() => {
    let over = false;
    let timer = 0;
    let misses = 0;
    let rounds = 0;
    let all = new Map<string, Listed>();
    const readAll = async (): Promise<void> => {
      whole.current = false;
      rounds = 0;
      const found = new Map<string, Listed>();
      let next = "";
      for (let page = 0; page < pages.current && (page === 0 || next); page += 1) {
        const told = await api.ask("GET /v1/sessions", { query: { limit: PAGE, ...(next ? { after: next } : {}) } });
        for (const each of told.sessions) found.set(each.session, each);
        next = told.after ?? "";
      }
      all = found;
      if (!over) setAfter(next);
    };
    const look = async (): Promise<void> => {
      try {
        rounds += 1;
        if (whole.current || rounds > ROUNDS) await readAll();
        const told = await api.ask("GET /v1/sessions", { query: { limit: PAGE, state: BUSY } });
        const busy = new Set(told.sessions.map((each) => each.session));
        const ended = [...all.values()].some((each) => isBusy(each) && !busy.has(each.session));
        if (ended && !told.after) await readAll();
        for (const each of told.sessions) all.set(each.session, each);
        const waits = told.sessions.some((each) => each.state === "waiting") ? (await api.ask("GET /v1/waits")).waits : [];
        if (over) return;
        const open = waits.filter((each) => !each.answered);
        const fresh = open.filter((each) => !known.current.has(each.id));
        if (fresh[0]) announce(`${fresh[0].session} needs an answer: ${fresh[0].tool || fresh[0].kind}`);
        known.current = new Set(open.map((each) => each.id));
        setSessions([...all.values()].sort((one, other) => other.updated_at - one.updated_at));
        setAsking(new Set(open.map((each) => each.session)));
        setState("there");
        misses = 0;
      } catch {
        misses += 1;
        whole.current = true;
        if (!over) setState("lost");
      }
    };
    let busy = false;
    let again = false;
    const round = async (): Promise<void> => {
      again = busy;
      if (busy) return;
      busy = true;
      clearTimeout(timer);
      if (!document.hidden) await look();
      busy = false;
      if (over) return;
      if (again) return round();
      timer = window.setTimeout(() => void round(), Math.min(15_000, EVERY * 2 ** misses));
    };
    wake.current = () => void round();
    document.addEventListener("visibilitychange", wake.current);
    addEventListener("online", wake.current);
    const told = wake.current;
    void round();
    return () => {
      over = true;
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", told);
      removeEventListener("online", told);
    };
  }, [api]);

  const refresh = useCallback(() => {
    whole.current = true;
    wake.current();
  }, []);
  const next = useCallback(() => {
    pages.current += PAGES;
    refresh();
  }, [refresh]);
  return { sessions, asking, state, more: after !== "", next, refresh };
}

function isBusy(each: Listed): boolean {
  return (BUSY as readonly string[]).includes(each.state);
}
