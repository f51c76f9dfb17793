/** What screens share: where they are, keys, the time, and words for those who do not see. */
import { createContext } from "preact";
import { useContext, useEffect, useRef, useState } from "preact/hooks";
import type { Api } from "../api/client";
import { singleKeys } from "./theme";

export const ApiContext = createContext<Api | null>(null);

export function useApi(): Api {
  const api = useContext(ApiContext);
  if (!api) throw new Error("there is no server");
  return api;
}

const BASE = "/console";
const movers = new Set<() => void>();

export function useRoute(): string {
  const [at, setAt] = useState(place);
  useEffect(() => {
    const moved = (): void => setAt(place());
    movers.add(moved);
    addEventListener("popstate", moved);
    return () => {
      movers.delete(moved);
      removeEventListener("popstate", moved);
    };
  }, []);
  return at;
}

function place(): string {
  return location.pathname.slice(BASE.length) || "/";
}

export function go(to: string, replace = false): void {
  if (to === place()) return;
  if (replace) history.replaceState(null, "", BASE + to);
  else history.pushState(null, "", BASE + to);
  for (const moved of movers) moved();
}

export function hrefOf(to: string): string {
  return BASE + to;
}

export function sessionPath(session: string): string {
  return `/sessions/${encodeURIComponent(session)}`;
}

/** Follows a link of our own without loading the page again, unless somebody wants it in another tab. */
export function follow(event: MouseEvent, to: string): void {
  if (event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  go(to);
}

type Combo = string;

/** Calls somebody for a key, as long as nobody writes: "n", "?", "mod+enter". */
export function useKeys(keys: Readonly<Record<Combo, (() => void) | false | undefined>>): void {
  const latest = useRef(keys);
  latest.current = keys;
  useEffect(() => {
    const pressed = (event: KeyboardEvent): void => {
      if (event.defaultPrevented || event.altKey || event.isComposing || !singleKeys()) return;
      const target = event.target as HTMLElement;
      const mod = event.ctrlKey || event.metaKey;
      if (!mod && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName))) return;
      if (document.querySelector("dialog[open]")) return;
      const run = latest.current[`${mod ? "mod+" : ""}${event.key.length === 1 ? event.key.toLowerCase() : event.key}`];
      if (!run) return;
      event.preventDefault();
      run();
    };
    document.addEventListener("keydown", pressed);
    return () => document.removeEventListener("keydown", pressed);
  }, []);
}

export function useNow(every = 15_000): number {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), every);
    return () => clearInterval(timer);
  }, [every]);
  return now;
}

export function useWide(query: string): boolean {
  const [wide, setWide] = useState(() => matchMedia(query).matches);
  useEffect(() => {
    const list = matchMedia(query);
    const changed = (): void => setWide(list.matches);
    list.addEventListener("change", changed);
    return () => list.removeEventListener("change", changed);
  }, [query]);
  return wide;
}

/** Says something to those who do not see the page. */
export function announce(words: string): void {
  const region = document.getElementById("said");
  if (!region) return;
  region.textContent = region.textContent === words ? `${words}\u00a0` : words;
}
