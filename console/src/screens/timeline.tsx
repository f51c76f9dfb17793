/** Every event of a session; only those that can be seen are drawn, so that ten thousand are as quick as ten. */
import type { JSX } from "preact";
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { once, said } from "../api/client";
import type { Event } from "../api/events";
import { placeOf } from "../live/folding";
import { go, sessionPath, useApi } from "../parts/hooks";
import { Copy } from "../parts/copy";
import { Key, Trouble } from "../parts/small";
import { clock, oneLine, printable } from "../text/words";
import { brief, type Names, toneOf } from "./briefly";
import type { Place } from "./session";

const HEIGHT = 30;
const BEYOND = 12;

export function Timeline({ place, turn, chosen, choose }: { readonly place: Place; readonly turn: number; readonly chosen: number; readonly choose: (seq: number) => void }): JSX.Element {
  const { events } = place.session;
  const [words, setWords] = useState("");
  const shown = useMemo(() => fitting(events, words, place.session.fold.names), [events, words, words ? turn : 0]);
  const box = useRef<HTMLDivElement>(null);
  const [view, setView] = useState({ top: 0, height: 600 });
  const stuck = useRef(chosen === 0);

  useLayoutEffect(() => {
    const element = box.current;
    if (!element) return;
    if (stuck.current) element.scrollTop = element.scrollHeight;
    setView((was) => (was.height === element.clientHeight && was.top === element.scrollTop ? was : { top: element.scrollTop, height: element.clientHeight }));
  }, [turn, shown.length]);
  const at = placeOf(shown, chosen) - 1;
  useEffect(() => {
    const element = box.current;
    if (!element || !chosen || at < 0) return;
    stuck.current = false;
    const top = at * HEIGHT;
    if (top < element.scrollTop || top + HEIGHT > element.scrollTop + element.clientHeight) element.scrollTop = Math.max(0, top - element.clientHeight / 3);
  }, [chosen]);

  const first = Math.max(0, Math.floor(view.top / HEIGHT) - BEYOND);
  const last = Math.min(shown.length, Math.ceil((view.top + view.height) / HEIGHT) + BEYOND);
  const move = (by: number): void => {
    const next = shown[Math.max(0, Math.min(shown.length - 1, (chosen ? at : shown.length) + by))];
    if (next) choose(next.seq);
  };
  const keys = (event: KeyboardEvent): void => {
    const moves: Record<string, number> = { ArrowDown: 1, ArrowUp: -1, PageDown: 20, PageUp: -20, Home: -1e9, End: 1e9 };
    const by = moves[event.key];
    if (by === undefined) return;
    event.preventDefault();
    move(by);
  };
  const event = chosen && shown[at]?.seq === chosen ? shown[at] : undefined;
  return (
    <div class="timeline">
      <div class="find">
        <input type="search" aria-label="Find events" placeholder={`Find in ${events.length.toLocaleString("en-US")} events`} value={words} onInput={(input) => setWords(input.currentTarget.value)} />
      </div>
      <div
        class="events"
        ref={box}
        role="listbox"
        aria-label="Events"
        aria-keyshortcuts="t"
        tabIndex={0}
        aria-activedescendant={event ? `event-${event.seq}` : undefined}
        onKeyDown={keys}
        onScroll={(scroll) => {
          const { scrollTop, clientHeight, scrollHeight } = scroll.currentTarget;
          stuck.current = !chosen && scrollHeight - scrollTop - clientHeight < HEIGHT * 2;
          setView({ top: scrollTop, height: clientHeight });
        }}
      >
        <div class="space" role="presentation" style={{ height: `${shown.length * HEIGHT}px` }}>
          {shown.slice(first, last).map((each, row) => (
            <div
              key={each.seq}
              id={`event-${each.seq}`}
              class={`event ${toneOf(each)}`}
              role="option"
              aria-selected={each.seq === chosen}
              aria-setsize={shown.length}
              aria-posinset={first + row + 1}
              style={{ top: `${(first + row) * HEIGHT}px` }}
              onClick={() => choose(each.seq === chosen ? 0 : each.seq)}
            >
              <span class="seq">{each.seq}</span>
              <span class="kind">{each.type}</span>
              <span class="brief">{brief(each, place.session.fold.names)}</span>
            </div>
          ))}
        </div>
      </div>
      {event && <Detail key={event.seq} event={event} place={place} close={() => choose(0)} />}
    </div>
  );
}

function fitting(events: readonly Event[], words: string, names: Names): readonly Event[] {
  const wanted = words.toLowerCase().trim();
  if (!wanted) return events;
  return events.filter((each) => `${each.seq} ${each.type} ${brief(each, names)}`.toLowerCase().includes(wanted));
}

function Detail({ event, place, close }: { readonly event: Event; readonly place: Place; readonly close: () => void }): JSX.Element {
  const api = useApi();
  const { session } = place;
  const [trouble, setTrouble] = useState("");
  const [sure, setSure] = useState(false);
  const path = { session: session.name };
  const data = useMemo(() => JSON.stringify(event.data, null, 2), [event]);
  const write = api.may("sessions:write");
  const act = (what: () => Promise<void>): void => {
    setTrouble("");
    what().catch((error: unknown) => setTrouble(said(error)));
  };
  const fork = (): void => act(async () => go(sessionPath((await api.ask("POST /v1/sessions/{session}/fork", { path, body: { at: event.seq }, key: once() })).session)));
  const rewind = (): void => {
    if (!sure) return setSure(true);
    act(async () => {
      await api.ask("POST /v1/sessions/{session}/rewind", { path, body: { to: event.seq }, key: once() });
      setSure(false);
      close();
    });
  };
  const keys = (pressed: KeyboardEvent): void => {
    if (pressed.key === "Escape") close();
  };
  useEffect(() => {
    const pressed = (key: KeyboardEvent): void => {
      const target = key.target as HTMLElement;
      if (key.key.toLowerCase() !== "f" || key.ctrlKey || key.metaKey || key.altKey || !write || !target.closest(".timeline") || /^(INPUT|TEXTAREA)$/.test(target.tagName)) return;
      key.preventDefault();
      fork();
    };
    document.addEventListener("keydown", pressed);
    return () => document.removeEventListener("keydown", pressed);
  });
  return (
    <section class="detail" aria-label={`Event ${event.seq}`} onKeyDown={keys}>
      <header>
        <b>{event.type}</b>
        <span class="dim">{event.seq} · {clock(event.at)}{event.actor ? ` · ${oneLine(event.actor, 40)}` : ""}</span>
        <span class="grow" />
        <Copy text={JSON.stringify(event, null, 2)} />
        <button type="button" class="quiet icon" aria-label="Close the event" onClick={close}>✕</button>
      </header>
      <div class="actions">
        {write && <button type="button" class="small" aria-keyshortcuts="f" onClick={fork}>Fork from here <Key>F</Key></button>}
        {write && !session.fold.running && (
          <button type="button" class={sure ? "small danger" : "small"} title="Takes what came after it out of the conversation, and puts the files back" onClick={rewind}>
            {sure ? "Take back all after it?" : "Rewind to here"}
          </button>
        )}
        <button type="button" class="small" onClick={() => place.compare({ since: event.seq, until: null })}>Files since</button>
        <button type="button" class="small" onClick={() => place.compare({ since: 0, until: event.seq })}>Files until</button>
      </div>
      <Trouble words={trouble} />
      <pre tabIndex={0} aria-label="What the event says">{printable(data).slice(0, 60_000)}{data.length > 60_000 ? "\n…" : ""}</pre>
    </section>
  );
}
