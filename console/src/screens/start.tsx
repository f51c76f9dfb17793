/** A new session: what is wanted, of whom, and what they may do. */
import type { JSX } from "preact";
import { useRef, useState } from "preact/hooks";
import { once, said } from "../api/client";
import { follow, go, hrefOf, sessionPath, useApi } from "../parts/hooks";
import { Key, Trouble } from "../parts/small";
import { oneLine } from "../text/words";
import { Choices, useWish, Writing } from "./composer";

const NAME = "[A-Za-z0-9][A-Za-z0-9._:\\-]{0,127}";

export function Start({ made }: { readonly made: () => void }): JSX.Element {
  const api = useApi();
  const [text, setText] = useState("");
  const [name, setName] = useState("");
  const [trouble, setTrouble] = useState("");
  const [busy, setBusy] = useState(false);
  const [wish, choose, agents] = useWish();
  const again = useRef({ text: "", key: "" });
  const agent = agents.find((each) => each.name === wish.agent);

  const start = async (): Promise<void> => {
    if (!text.trim() || busy) return;
    setBusy(true);
    setTrouble("");
    const wanted = JSON.stringify([text, name, wish]);
    if (again.current.text !== wanted) again.current = { text: wanted, key: once() };
    try {
      const found = await api.ask("POST /v1/sessions", { body: { ...(name ? { name } : {}), prompt: { text, ...wish } }, key: again.current.key });
      made();
      go(sessionPath(found.session));
    } catch (error) {
      setTrouble(said(error));
      setBusy(false);
    }
  };
  if (!api.may("sessions:write")) return <p class="empty centre">You may look at sessions, and not start any.</p>;
  return (
    <section class="start">
      <a class="button quiet icon back" href={hrefOf("/")} onClick={(event) => follow(event, "/")} aria-label="All sessions">←</a>
      <form
        class="column"
        onSubmit={(event) => {
          event.preventDefault();
          void start();
        }}
      >
        <h1>What is to be done?</h1>
        <div class="composer">
          <Writing text={text} change={setText} label="Describe the job" enter={() => void start()} focus />
          <div class="row">
            <Choices wish={wish} choose={choose} agents={agents} />
            <span class="grow" />
            <button type="submit" class="primary small" disabled={busy || !text.trim()}>Start <Key>↵</Key></button>
          </div>
        </div>
        <label class="field inline">
          <span>Name</span>
          <input type="text" value={name} pattern={NAME} maxLength={128} placeholder="a random one" autoCapitalize="none" spellcheck={false} onInput={(event) => setName(event.currentTarget.value)} />
        </label>
        <Trouble words={trouble} />
        {agent && (
          <dl class="about">
            <div><dt>Model</dt><dd>{oneLine(agent.model || "that of each phase")}</dd></div>
            {(agent.tools?.length ?? 0) > 0 && <div><dt>Tools</dt><dd>{agent.tools?.map((each) => <code key={each}>{oneLine(each, 60)}</code>)}</dd></div>}
            {(agent.phases?.length ?? 0) > 0 && <div><dt>Phases</dt><dd>{agent.phases?.join(" → ")}</dd></div>}
          </dl>
        )}
      </form>
    </section>
  );
}
