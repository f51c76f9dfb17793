/** The conversation as it goes: the newest part of it, and what is being said right now. */
import type { ComponentChildren, JSX } from "preact";
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { once, said } from "../api/client";
import type { Said, Thing } from "../live/folding";
import { useApi } from "../parts/hooks";
import { memo } from "../parts/memo";
import { Trouble } from "../parts/small";
import { Markdown } from "../text/markdown";
import { about, clock, count, money, nanos, oneLine, printable, seconds, tokens } from "../text/words";
import { Card } from "./cards";
import type { Place } from "./session";

const SHOWN = 150;

export function Feed({ place, turn }: { readonly place: Place; readonly turn: number }): JSX.Element {
  const { session } = place;
  const { things } = session.fold;
  const [shown, setShown] = useState(SHOWN);
  const box = useRef<HTMLDivElement>(null);
  const stuck = useRef(true);
  useLayoutEffect(() => {
    const element = box.current;
    if (element && stuck.current) element.scrollTop = element.scrollHeight;
  }, [turn]);
  const hidden = Math.max(0, things.length - shown);
  return (
    <div
      class="feed"
      ref={box}
      tabIndex={0}
      role="log"
      aria-label="Conversation"
      aria-live="off"
      onScroll={(event) => {
        const { scrollTop, scrollHeight, clientHeight } = event.currentTarget;
        stuck.current = scrollHeight - scrollTop - clientHeight < 80;
      }}
    >
      <div class="column">
        {hidden > 0 && (
          <button type="button" class="quiet wide" onClick={() => ((stuck.current = false), setShown(shown + SHOWN * 2))}>
            Show {count(Math.min(hidden, SHOWN * 2), "earlier entry", "earlier entries")}
          </button>
        )}
        {things.slice(hidden).map((thing, at) => (
          <Row key={hidden + at} thing={thing} place={place} last={hidden + at === things.length - 1} />
        ))}
        <Now place={place} />
        {[...session.sent].map(([key, each]) => <Prompt key={key} thing={each} />)}
      </div>
    </div>
  );
}

const Row = memo(({ thing, place, last }: { readonly thing: Thing; readonly place: Place; readonly last: boolean }) => {
  switch (thing.kind) {
    case "said":
      return <Prompt thing={thing} />;
    case "text":
      return <article class="text"><Markdown text={thing.text} /></article>;
    case "thinking":
      return <Thinking text={thing.text} />;
    case "step":
      return <p class="note plain"><b>{oneLine(thing.name, 40)}</b> {oneLine(thing.text)}</p>;
    case "call":
      return <Card thing={thing} place={place} />;
    case "note":
      return <p class={`note ${thing.tone}`}>{oneLine(thing.text, 400)}</p>;
    case "end":
      return <End thing={thing} last={last} place={place} />;
  }
});

function Prompt({ thing }: { readonly thing: Said }): JSX.Element {
  const how = { prompt: "You", steer: "You, steering", follow_up: "You, for after this" }[thing.how];
  return (
    <article class={`said ${thing.state}`} aria-label={how}>
      <header>
        <span>{how}</span>
        {thing.state === "queued" && <span class="tag">not read yet</span>}
        {thing.state === "dropped" && <span class="tag">never read</span>}
        <time>{clock(thing.at)}</time>
      </header>
      <p class="words">{printable(thing.text)}</p>
      {thing.images.map((image, at) => (
        <img key={at} src={`data:${image.media_type};base64,${image.data}`} alt={image.name || "A picture"} />
      ))}
      {thing.files.map((name, at) => <span key={at} class="tag">{oneLine(name, 80)}</span>)}
    </article>
  );
}

function Thinking({ text, open = false }: { readonly text: string; readonly open?: boolean }): JSX.Element {
  if (!text.trim()) return <p class="note plain">Thinking that only the provider can read</p>;
  return (
    <details class="thinking" open={open}>
      <summary><span>Thinking</span> <em>{oneLine(text, 110)}</em></summary>
      <p class="words">{printable(text)}</p>
    </details>
  );
}

function Now({ place }: { readonly place: Place }): JSX.Element | null {
  const { live, fold, view } = place.session;
  const calls = live.calls.filter(Boolean);
  const empty = !live.text && !live.thinking && !calls.length;
  if (empty && !(fold.running && view?.phase === "thinking" && place.session.link.state === "live")) return null;
  return (
    <div class="now">
      {live.thinking && <Thinking text={live.thinking} open={!live.text} />}
      {live.text && <article class="text"><Markdown text={live.text} /></article>}
      {calls.map((call) => (
        <p key={call.id} class="coming"><span class="spin" aria-hidden="true" /> <b>{oneLine(call.name, 60)}</b> <code>{about(call.arguments)}</code></p>
      ))}
      {empty && <p class="coming"><span class="spin" aria-hidden="true" /> Thinking</p>}
    </div>
  );
}

const ENDS = { completed: "Done", limited: "Limit reached", aborted: "Aborted", failed: "Failed" } as const;

function End({ thing, last, place }: { readonly thing: Thing & { kind: "end" }; readonly last: boolean; readonly place: Place }): JSX.Element {
  const api = useApi();
  const [trouble, setTrouble] = useState("");
  const used = (thing.usage.input_tokens ?? 0) + (thing.usage.output_tokens ?? 0);
  const figures: ComponentChildren = [count(thing.steps, "step"), `${tokens(used)} tokens`, money(nanos(thing.cost)), seconds(thing.seconds)].join(" · ");
  const go = async (): Promise<void> => {
    try {
      await api.ask("POST /v1/sessions/{session}/proceed", { path: { session: place.session.name }, body: {}, key: once() });
    } catch (error) {
      setTrouble(said(error));
    }
  };
  return (
    <div class={`end ${thing.status}`}>
      <span class="line">
        <b>{ENDS[thing.status]}</b>
        {thing.reason && <span>{oneLine(thing.reason, 300)}</span>}
        <span class="figures">{figures}</span>
      </span>
      {last && thing.status !== "completed" && api.may("sessions:write") && (
        <button type="button" class="small" onClick={() => void go()}>Go on</button>
      )}
      <Trouble words={trouble} />
    </div>
  );
}
