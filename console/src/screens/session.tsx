/** One session: how it stands, what it says, what it asks, and what can be said to it. */
import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { once, said } from "../api/client";
import { Session } from "../live/session";
import { announce, follow, go, hrefOf, sessionPath, useApi, useKeys, useWide } from "../parts/hooks";
import { Gauge, Key, Pill, type State, Trouble } from "../parts/small";
import { read, write } from "../parts/theme";
import { money, nanos, tokens } from "../text/words";
import { Composer } from "./composer";
import { Feed } from "./feed";
import { Gates } from "./gates";
import { Inspector, type Span, type Tab } from "./inspector";
import { useWindow } from "./models";

export interface Place {
  readonly session: Session;
  /** Looks at an event in the timeline. */
  readonly show: (seq: number) => void;
  /** Looks at what became of files between two events. */
  readonly compare: (span: Span) => void;
}

export function useLive(session: Session): number {
  const [turn, setTurn] = useState(session.turn);
  useEffect(() => session.listen(() => setTurn(session.turn)), [session]);
  return turn;
}

export function SessionScreen({ name, changed }: { readonly name: string; readonly changed: () => void }): JSX.Element {
  const api = useApi();
  const [session, setSession] = useState<Session | null>(null);
  useEffect(() => {
    const made = new Session(api, name);
    setSession(made);
    return () => made.close();
  }, [api, name]);
  return session ? <Opened session={session} changed={changed} /> : <div aria-busy="true" />;
}

export function stateOf(session: Session): State {
  const { view, fold } = session;
  if (fold.ended) return "ended";
  if (view?.waits.some((each) => !each.answered)) return "asks";
  if (fold.paused) return "paused";
  if (fold.running) return view?.state === "open" || view?.state === "waiting" ? view.state : "running";
  return fold.status || view?.last?.status || "idle";
}

function Opened({ session, changed }: { readonly session: Session; readonly changed: () => void }): JSX.Element {
  const api = useApi();
  const turn = useLive(session);
  const wide = useWide("(min-width: 1120px)");
  const [tab, setTab] = useState<Tab | "run">(() => (wide ? "timeline" : "run"));
  const [beside, setBeside] = useState(() => read("holdfast.inspector") !== "closed");
  const [chosen, setChosen] = useState(0);
  const [span, setSpan] = useState<Span>({ since: 0, until: null });
  const state = stateOf(session);
  useTold(session, state, changed);

  const open = (next: Tab): void => {
    setTab(next);
    setBeside(true);
  };
  const toggle = (): void => {
    write("holdfast.inspector", beside ? "closed" : "");
    setBeside(!beside);
  };
  const place: Place = {
    session,
    show: (seq) => (setChosen(seq), open("timeline")),
    compare: (next) => (setSpan(next), open("changes")),
  };
  useKeys({
    i: () => (wide ? toggle() : setTab(tab === "run" ? "timeline" : "run")),
    t: () => {
      open("timeline");
      requestAnimationFrame(() => document.querySelector<HTMLElement>(".events")?.focus());
    },
    g: () => {
      if (!wide) setTab("run");
      requestAnimationFrame(() => document.querySelector<HTMLElement>(".gate")?.focus());
    },
    r: () => {
      if (!wide) setTab("run");
      requestAnimationFrame(() => document.querySelector<HTMLElement>(".composer textarea")?.focus());
    },
  });
  if (session.link.state === "over" && !session.events.length) {
    return <p class="empty centre" role="alert">{session.link.why}</p>;
  }
  const inspected = tab === "run" ? "timeline" : tab;
  return (
    <div class={`session ${wide && beside ? "split" : ""}`}>
      <Head session={session} state={state} turn={turn} changed={changed} beside={wide ? { open: beside, toggle } : null} />
      {!wide && <Tabs tab={tab} choose={setTab} />}
      {(wide || tab === "run") && (
        <section class="run" aria-label="Run">
          <Feed place={place} turn={turn} />
          <div class="bottom">
            <Lost session={session} />
            <Gates session={session} turn={turn} />
            {api.may("sessions:write") && <Composer session={session} state={state} changed={changed} />}
          </div>
        </section>
      )}
      {((wide && beside) || (!wide && tab !== "run")) && (
        <Inspector place={place} turn={turn} tab={inspected} choose={setTab} tabs={wide} chosen={chosen} choosing={setChosen} span={span} spanning={setSpan} />
      )}
    </div>
  );
}

/** Says how it stands to those who do not see it, and has the list look again. */
function useTold(session: Session, state: State, changed: () => void): void {
  const before = useRef<State | null>(null);
  useEffect(() => {
    if (before.current !== null && before.current !== state) {
      changed();
      const waits = session.view?.waits.find((each) => !each.answered);
      announce(state === "asks" && waits ? `An answer is needed: ${waits.tool || waits.kind}` : `The run is ${SAID[state] ?? state}`);
    }
    before.current = state;
    document.title = `${state === "asks" ? "● " : ""}${session.name} · Holdfast`;
    return () => {
      document.title = "Holdfast";
    };
  }, [session, state, changed]);
}

const SAID: Partial<Record<State, string>> = { running: "under way", completed: "done", limited: "over: a limit was reached", open: "interrupted" };

/** Returns what a session cost: what the server says, unless the events tell of more already; null where a price was unknown. */
function costOf({ view, fold }: Session): number | null {
  const told = nanos(fold.cost);
  if (!view) return told;
  return view.cost === null || view.cost === undefined || told === null ? (view.cost ?? null) : Math.max(view.cost, told);
}

interface HeadProps {
  readonly session: Session;
  readonly state: State;
  readonly turn: number;
  readonly changed: () => void;
  readonly beside: { readonly open: boolean; readonly toggle: () => void } | null;
}

function Head({ session, state, changed, beside }: HeadProps): JSX.Element {
  const { fold, view } = session;
  const size = useWindow(fold.model);
  const agent = (view?.run ?? view?.last)?.agent;
  return (
    <header class="head">
      <a class="button quiet icon back" href={hrefOf("/")} onClick={(event) => follow(event, "/")} aria-label="All sessions">←</a>
      <div class="what">
        <h1>{session.name}</h1>
        <p>
          <Pill state={state} />
          {agent && <span>{agent}</span>}
          {fold.model && <span class="model">{fold.model}</span>}
          {fold.mode && <span>{fold.mode}</span>}
        </p>
      </div>
      <dl class="figures">
        <div><dt>Cost</dt><dd>{money(costOf(session))}</dd></div>
        <div><dt>Tokens</dt><dd title={`${fold.input.toLocaleString("en-US")} in, ${fold.cached.toLocaleString("en-US")} of them cached, ${fold.output.toLocaleString("en-US")} out`}>{tokens(fold.input + fold.output)}</dd></div>
        <div><dt>Steps</dt><dd>{fold.steps}</dd></div>
      </dl>
      <Gauge used={fold.context} size={size} />
      <Controls session={session} state={state} changed={changed} />
      {beside && (
        <button type="button" class="quiet icon" aria-pressed={beside.open} aria-label="Timeline and files" aria-keyshortcuts="i" title="Timeline and files (I)" onClick={beside.toggle}>
          <svg width="16" height="16" viewBox="0 0 16 16" fill="none" stroke="currentColor" stroke-width="1.4" aria-hidden="true"><rect x="1.7" y="2.7" width="12.6" height="10.6" rx="2" /><path d="M9.7 3v10" /></svg>
        </button>
      )}
    </header>
  );
}

function Controls({ session, state, changed }: { readonly session: Session; readonly state: State; readonly changed: () => void }): JSX.Element | null {
  const api = useApi();
  const [trouble, setTrouble] = useState("");
  const [sure, setSure] = useState(false);
  const write = api.may("sessions:write");
  const { fold } = session;
  const path = { session: session.name };
  const act = async (what: () => Promise<unknown>): Promise<void> => {
    setTrouble("");
    try {
      await what();
      session.refresh(100);
      changed();
    } catch (error) {
      setTrouble(said(error));
    }
  };
  const stopped = fold.paused || state === "open";
  const pause = (): void =>
    void act(() =>
      stopped
        ? api.ask("POST /v1/sessions/{session}/resume", { path, body: {}, key: once() })
        : api.ask("POST /v1/sessions/{session}/pause", { path, body: {}, key: once() }),
    );
  const abort = (): void => void act(() => api.ask("POST /v1/sessions/{session}/abort", { path, body: {}, key: once() }));
  const remove = (): void => {
    if (!sure) {
      setSure(true);
      setTimeout(() => setSure(false), 4000);
      return;
    }
    void act(async () => {
      await api.ask("DELETE /v1/sessions/{session}", { path });
      go("/new", true);
    });
  };
  const busy = fold.running;
  useKeys({ p: write && (busy || stopped) && pause, x: write && busy && abort });
  if (!write) return null;
  return (
    <div class="controls">
      {(busy || stopped) && <button type="button" class="small" onClick={pause} aria-keyshortcuts="p">{stopped ? "Resume" : "Pause"} <Key>P</Key></button>}
      {busy && <button type="button" class="small danger" onClick={abort} aria-keyshortcuts="x">Abort <Key>X</Key></button>}
      {!busy && session.events.length > 0 && (
        <button type="button" class="quiet small" onClick={() => void act(async () => go(sessionPath((await api.ask("POST /v1/sessions/{session}/fork", { path, body: {}, key: once() })).session)))}>Fork</button>
      )}
      {!busy && <button type="button" class={sure ? "small danger" : "quiet small"} onClick={remove}>{sure ? "Delete it?" : "Delete"}</button>}
      <Trouble words={trouble} />
    </div>
  );
}

function Tabs({ tab, choose }: { readonly tab: Tab | "run"; readonly choose: (tab: Tab | "run") => void }): JSX.Element {
  return (
    <div class="tabs main" role="group" aria-label="What to look at">
      {(["run", "timeline", "changes"] as const).map((each) => (
        <button key={each} type="button" aria-pressed={tab === each} onClick={() => choose(each)}>
          {{ run: "Run", timeline: "Timeline", changes: "Files" }[each]}
        </button>
      ))}
    </div>
  );
}

function Lost({ session }: { readonly session: Session }): JSX.Element | null {
  const { link } = session;
  if (link.state === "live" || (link.state === "connecting" && !session.events.length)) return null;
  if (link.state === "connecting") return null;
  return (
    <div class="lost" role="alert">
      <span>{link.state === "over" ? link.why : `Disconnected. ${link.why} What you see is how it stood then.`}</span>
      {link.state === "lost" && <button type="button" class="small" onClick={() => session.hurry()}>Connect now</button>}
    </div>
  );
}
