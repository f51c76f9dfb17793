/** Where one writes: a prompt while nothing runs, and words for the run that is under way. */
import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { once, said } from "../api/client";
import type { AgentView, PromptBody } from "../api/schema";
import type { Session } from "../live/session";
import { useApi } from "../parts/hooks";
import { Key, type State, Trouble } from "../parts/small";
import { read, write } from "../parts/theme";

export type Mode = NonNullable<PromptBody["mode"]>;
const MODES: readonly (readonly [Mode, string])[] = [
  ["read-only", "Read only"],
  ["ask", "Ask before changes"],
  ["accept-edits", "Edit files freely"],
  ["auto", "Ask nothing"],
];

const NOBODY = { agent: "", mode: "" };

export interface Wish {
  readonly agent: string;
  readonly mode: Mode;
}

function isMode(word: string): word is Mode {
  return MODES.some(([mode]) => mode === word);
}

/** Whom to ask and what they may do: as it was chosen here, else as the session has it, else as it was chosen last. */
export function useWish(last: { readonly agent: string; readonly mode: string } = NOBODY): [Wish, (wish: Wish) => void, readonly AgentView[]] {
  const api = useApi();
  const [agents, setAgents] = useState<readonly AgentView[]>([]);
  const [chosen, setChosen] = useState<Wish | null>(null);
  const mode = [last.mode, read("holdfast.mode")].find(isMode) ?? "ask";
  const wish = chosen ?? { agent: last.agent || read("holdfast.agent"), mode };
  useEffect(() => {
    void api.ask("GET /v1/agents").then(
      (found) => setAgents(found.agents),
      () => setAgents([]),
    );
  }, [api]);
  // Before it is known who there is, the session's own is right all the same.
  const there = agents.length ? agents.some((each) => each.name === wish.agent) : wish.agent === last.agent;
  const agent = there ? wish.agent : (agents[0]?.name ?? "");
  const choose = (next: Wish): void => {
    write("holdfast.agent", next.agent);
    write("holdfast.mode", next.mode);
    setChosen(next);
  };
  return [{ ...wish, agent }, choose, agents];
}

export function Choices({ wish, choose, agents }: { readonly wish: Wish; readonly choose: (wish: Wish) => void; readonly agents: readonly AgentView[] }): JSX.Element {
  return (
    <>
      {agents.length > 1 ? (
        <label class="pick">
          <span class="unseen">Agent</span>
          <select value={wish.agent} onChange={(event) => choose({ ...wish, agent: event.currentTarget.value })}>
            {agents.map((each) => <option key={each.name} value={each.name}>{each.name}</option>)}
          </select>
        </label>
      ) : (
        <span class="pick only">{wish.agent}</span>
      )}
      <label class="pick">
        <span class="unseen">What it may do</span>
        <select value={wish.mode} onChange={(event) => choose({ ...wish, mode: event.currentTarget.value as Mode })}>
          {MODES.map(([mode, label]) => <option key={mode} value={mode}>{label}</option>)}
        </select>
      </label>
    </>
  );
}

type How = "prompt" | "steer" | "follow-up";

export function Composer({ session, state, changed }: { readonly session: Session; readonly state: State; readonly changed: () => void }): JSX.Element | null {
  const api = useApi();
  const [text, setText] = useState("");
  const [trouble, setTrouble] = useState("");
  const [busy, setBusy] = useState(false);
  const { view, fold } = session;
  const [wish, choose, agents] = useWish({ agent: (view?.run ?? view?.last)?.agent ?? "", mode: fold.mode });
  const again = useRef({ text: "", key: "" });
  if (state === "ended") return <p class="empty">This session was ended: it takes nothing more.</p>;
  const running = fold.running;
  // Until the server said whose session it is, a prompt could go to somebody else.
  const ready = text.trim() !== "" && !busy && (running || view !== null);

  const send = async (how: How): Promise<void> => {
    if (!ready) return;
    setBusy(true);
    setTrouble("");
    // What is sent again after a lost answer goes under the same key.
    if (again.current.text !== how + text) again.current = { text: how + text, key: once() };
    const path = { session: session.name };
    const { key } = again.current;
    try {
      const told =
        how === "prompt"
          ? await api.ask("POST /v1/sessions/{session}/prompts", { path, key, body: { text, ...wish } })
          : how === "steer"
            ? await api.ask("POST /v1/sessions/{session}/steer", { path, key, body: { text } })
            : await api.ask("POST /v1/sessions/{session}/follow-up", { path, key, body: { text } });
      session.said(told.key, how === "follow-up" ? "follow_up" : how, text);
      again.current = { text: "", key: "" };
      setText("");
      session.refresh(100);
      changed();
    } catch (error) {
      setTrouble(said(error));
    }
    setBusy(false);
  };
  return (
    <form
      class="composer"
      onSubmit={(event) => {
        event.preventDefault();
        void send(running ? "steer" : "prompt");
      }}
    >
      <Writing text={text} change={setText} label={running ? "Steer the run" : "Prompt"} enter={(alt) => void send(running ? (alt ? "follow-up" : "steer") : "prompt")} />
      <div class="row">
        {!running && <Choices wish={wish} choose={choose} agents={agents} />}
        <span class="grow" />
        {running && (
          <button type="button" class="small" disabled={!ready} title="The model reads it when it would otherwise be done" onClick={() => void send("follow-up")}>
            After this <Key>Alt ↵</Key>
          </button>
        )}
        <button type="submit" class="primary small" disabled={!ready} title={running ? "The model reads it as soon as what is under way is over" : ""}>
          {running ? "Steer" : "Send"} <Key>↵</Key>
        </button>
      </div>
      <Trouble words={trouble} />
    </form>
  );
}

interface WritingProps {
  readonly text: string;
  readonly label: string;
  readonly change: (text: string) => void;
  readonly enter: (alt: boolean) => void;
  readonly focus?: boolean;
}

export function Writing({ text, label, change, enter, focus = false }: WritingProps): JSX.Element {
  const box = useRef<HTMLTextAreaElement>(null);
  useEffect(() => {
    if (focus) box.current?.focus();
  }, [focus]);
  return (
    <textarea
      ref={box}
      rows={Math.min(12, Math.max(2, text.split("\n").length))}
      aria-label={label}
      placeholder={label}
      aria-keyshortcuts="r"
      value={text}
      onInput={(event) => change(event.currentTarget.value)}
      onKeyDown={(event) => {
        if (event.key === "Escape") event.currentTarget.blur();
        if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
        event.preventDefault();
        enter(event.altKey);
      }}
    />
  );
}
