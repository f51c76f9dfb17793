/** The frame: sessions at the side, one of them in the middle. */
import type { JSX } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { follow, go, hrefOf, sessionPath, useApi, useKeys, useNow, useRoute, useWide } from "../parts/hooks";
import { Dialog, Key, Mark, Pill, type State } from "../parts/small";
import { setSingleKeys, setTheme, singleKeys, type Theme, theme } from "../parts/theme";
import type { Listed } from "../api/schema";
import { ago, money, oneLine, tokens } from "../text/words";
import { Start } from "./start";
import { SessionScreen } from "./session";
import { useSessions } from "./sessions";

export function Shell({ leave }: { readonly leave: () => void }): JSX.Element {
  const route = useRoute();
  const wide = useWide("(min-width: 760px)");
  const [help, setHelp] = useState(false);
  const open = useMemo(() => opened(route), [route]);
  const list = useSessions();
  const filter = useRef<HTMLInputElement>(null);
  const [words, setWords] = useState("");
  const shown = useMemo(() => fitting(list.sessions, words), [list.sessions, words]);
  const api = useApi();

  const step = (by: number): void => {
    const at = shown.findIndex((each) => each.session === open);
    const next = shown[Math.max(0, Math.min(shown.length - 1, at + by))];
    if (next) go(sessionPath(next.session));
  };
  useKeys({
    n: api.may("sessions:write") && (() => go("/new")),
    "/": () => filter.current?.focus(),
    j: () => step(1),
    k: () => step(-1),
    "?": () => setHelp(true),
  });
  useEffect(() => {
    if (wide && route === "/" && api.may("sessions:write")) go("/new", true);
  }, [wide, route, api]);

  const main = open !== null || route === "/new";
  return (
    <div class={`shell ${main ? "inside" : ""}`}>
      <a class="skip" href="#main">Skip to the session</a>
      <nav class="side" aria-label="Sessions" hidden={!wide && main}>
        <header>
          <Mark />
          <strong>Holdfast</strong>
          <span class="grow" />
          {api.may("sessions:write") && (
            <a class="button small" href={hrefOf("/new")} onClick={(event) => follow(event, "/new")} aria-keyshortcuts="n">
              New <Key>N</Key>
            </a>
          )}
        </header>
        <div class="find">
          <input
            ref={filter}
            type="search"
            placeholder="Find a session"
            aria-label="Find a session"
            aria-keyshortcuts="/"
            value={words}
            onInput={(event) => setWords(event.currentTarget.value)}
            onKeyDown={(event) => event.key === "Escape" && (setWords(""), event.currentTarget.blur())}
          />
          <Key>/</Key>
        </div>
        <List shown={shown} asking={list.asking} open={open} empty={list.sessions.length === 0 && list.state === "there"} />
        {list.more && <button type="button" class="quiet wide" onClick={list.next}>More sessions</button>}
        {list.state === "lost" && <p class="offline" role="status">Not connected: the list may be old.</p>}
        <Foot leave={leave} help={() => setHelp(true)} />
      </nav>
      <main id="main" hidden={!wide && !main} tabIndex={-1}>
        {open !== null ? (
          <SessionScreen key={open} name={open} changed={list.refresh} />
        ) : route === "/new" ? (
          <Start made={list.refresh} />
        ) : route === "/" ? (
          <p class="empty centre">Choose a session.</p>
        ) : (
          <p class="empty centre">There is nothing at this address.</p>
        )}
      </main>
      {help && <Help close={() => setHelp(false)} />}
    </div>
  );
}

function opened(route: string): string | null {
  const found = /^\/sessions\/([^/]+)$/.exec(route)?.[1];
  if (found === undefined) return null;
  try {
    return decodeURIComponent(found);
  } catch {
    return null;
  }
}

function fitting(sessions: readonly Listed[], words: string): Listed[] {
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
  return sessions.filter((each) => {
    const text = `${each.session} ${each.state} ${promptOf(each)} ${each.last?.status ?? ""}`.toLowerCase();
    return wanted.every((word) => text.includes(word));
  });
}

function List({ shown, asking, open, empty }: { readonly empty: boolean; readonly shown: readonly Listed[]; readonly asking: ReadonlySet<string>; readonly open: string | null }): JSX.Element {
  const now = useNow();
  return (
    <ul class="sessions">
      {empty && <li class="empty">No sessions yet.</li>}
      {shown.map((each) => (
        <li key={each.session}>
          <a
            href={hrefOf(sessionPath(each.session))}
            aria-current={each.session === open ? "page" : undefined}
            onClick={(event) => follow(event, sessionPath(each.session))}
          >
            <span class="title">{oneLine(promptOf(each) || each.session, 90)}</span>
            <span class="row">
              <Pill state={stateOf(each, asking)} />
              <span class="figures" title="Cost and tokens of its last run">
                {each.last?.status ? `last run ${money(each.last.cost)} · ${tokens(each.last.tokens ?? 0)}` : ""}
              </span>
              <time>{ago(each.updated_at, now)}</time>
            </span>
            {(promptOf(each) || each.parent) && <span class="name">{promptOf(each) ? each.session : ""}{each.parent ? ` from ${each.parent}` : ""}</span>}
          </a>
        </li>
      ))}
    </ul>
  );
}

/** Returns what a session is about: what was asked last, or first where that lies too far back. */
function promptOf(each: Listed): string {
  return each.last?.prompt || each.first || "";
}

function stateOf(each: Listed, asking: ReadonlySet<string>): State {
  if (asking.has(each.session)) return "asks";
  if (each.state !== "idle") return each.state;
  return each.last?.status || "idle";
}

function Foot({ leave, help }: { readonly leave: () => void; readonly help: () => void }): JSX.Element {
  const api = useApi();
  const [chosen, setChosen] = useState<Theme>(theme);
  const me = api.me;
  return (
    <footer>
      <span class="who" title={me ? `${me.user} of ${me.tenant}, by ${me.how}` : ""}>
        {me?.how === "local" ? "This machine" : me?.user}
        {me && me.how !== "local" && <small>{me.role ?? me.how} · {me.tenant}</small>}
      </span>
      <label class="theme">
        <span class="unseen">Colours</span>
        <select
          value={chosen}
          onChange={(event) => {
            const next = event.currentTarget.value as Theme;
            setChosen(next);
            setTheme(next);
          }}
        >
          <option value="system">Auto</option>
          <option value="light">Light</option>
          <option value="dark">Dark</option>
        </select>
      </label>
      <button type="button" class="quiet small help" onClick={help} aria-label="Keyboard shortcuts" aria-keyshortcuts="?"><Key>?</Key></button>
      {me?.how !== "local" && <button type="button" class="quiet small" onClick={leave}>Log out</button>}
    </footer>
  );
}

const KEYS: readonly (readonly [string, string])[] = [
  ["N", "New session"],
  ["/", "Find a session"],
  ["J  K", "Next and previous session"],
  ["R", "Write to the session"],
  ["G", "Go to what waits for an answer"],
  ["A  ⇧A  E  D", "There: approve, always, edit, deny"],
  ["P", "Pause and resume"],
  ["X", "Abort the run"],
  ["I", "Timeline and files, or not"],
  ["T", "Go to the timeline"],
  ["F", "There: fork from the event"],
  ["Enter", "Send, or steer while it works"],
  ["Alt Enter", "Send it for after this"],
  ["?", "This list"],
];

function Help({ close }: { readonly close: () => void }): JSX.Element {
  const [single, setSingle] = useState(singleKeys);
  return (
    <Dialog title="Keyboard" close={close}>
      <dl class="keys">
        {KEYS.map(([key, what]) => (
          <div key={key}>
            <dt>{key.split("  ").map((each) => <kbd key={each}>{each}</kbd>)}</dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
      <label class="check keys">
        <input
          type="checkbox"
          checked={single}
          onChange={(event) => {
            setSingleKeys(event.currentTarget.checked);
            setSingle(event.currentTarget.checked);
          }}
        />
        Single keys work everywhere
      </label>
    </Dialog>
  );
}
