/** What became of a session's files between two of its events. */
import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { said } from "../api/client";
import type { Diff as Found } from "../api/schema";
import { useApi } from "../parts/hooks";
import { Trouble } from "../parts/small";
import { Diff } from "../text/diff";
import { count, oneLine } from "../text/words";
import type { Span } from "./inspector";
import type { Place } from "./session";

export function Changes({ place, span, choose }: { readonly place: Place; readonly span: Span; readonly choose: (span: Span) => void }): JSX.Element {
  const api = useApi();
  const { session } = place;
  const [found, setFound] = useState<Found | null>(null);
  const [trouble, setTrouble] = useState("");
  const last = session.events.at(-1)?.seq ?? 0;
  const moving = span.until === null && session.fold.running;
  // What is now is looked at again when a run is over, and when somebody wants it.
  const [looks, setLooks] = useState(0);
  useEffect(() => {
    const stop = new AbortController();
    setTrouble("");
    const query = { since: span.since, ...(span.until === null ? {} : { until: span.until }) };
    api.ask("GET /v1/sessions/{session}/diff", { path: { session: session.name }, query, signal: stop.signal }).then(
      (answer) => setFound(answer),
      (error: unknown) => {
        if (stop.signal.aborted) return;
        setFound(null);
        setTrouble(said(error));
      },
    );
    return () => stop.abort();
  }, [api, session, span.since, span.until, session.fold.running, looks]);

  const changes = found?.changes ?? [];
  return (
    <div class="changes">
      <form
        class="span"
        onSubmit={(event) => {
          event.preventDefault();
          setLooks(looks + 1);
        }}
      >
        <label>from <input type="number" min={0} max={last} aria-label="From event" value={span.since} onChange={(event) => choose({ ...span, since: Math.max(0, Number(event.currentTarget.value) || 0) })} /></label>
        <label>to <input type="number" min={0} max={last} aria-label="To event, now without" placeholder="now" value={span.until ?? ""} onChange={(event) => choose({ ...span, until: event.currentTarget.value === "" ? null : Number(event.currentTarget.value) })} /></label>
        <button type="submit" class="quiet small">Look again</button>
        {session.fold.runStart > 0 && <button type="button" class="quiet small" onClick={() => choose({ since: session.fold.runStart, until: null })}>Last run</button>}
        <button type="button" class="quiet small" onClick={() => choose({ since: 0, until: null })}>All</button>
      </form>
      <Trouble words={trouble} />
      {found && (
        <p class="facts" role="status">
          {changes.length ? `${count(changes.length, "file")} changed` : "No file changed"}
          {moving ? ", so far" : ""}
        </p>
      )}
      {found && !found.text && changes.map((each) => <p key={each.path} class="facts"><b>{each.kind}</b> {oneLine(each.path, 300)}</p>)}
      {found?.text && <Diff text={found.text} />}
    </div>
  );
}
