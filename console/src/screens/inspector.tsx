/** Beside the run: every event, and what became of files. */
import type { JSX } from "preact";
import { Changes } from "./changes";
import type { Place } from "./session";
import { Timeline } from "./timeline";

export type Tab = "timeline" | "changes";

export interface Span {
  readonly since: number;
  /** Now without. */
  readonly until: number | null;
}

interface Props {
  readonly place: Place;
  readonly turn: number;
  readonly tab: Tab;
  readonly choose: (tab: Tab) => void;
  readonly tabs: boolean;
  readonly chosen: number;
  readonly choosing: (seq: number) => void;
  readonly span: Span;
  readonly spanning: (span: Span) => void;
}

export function Inspector({ place, turn, tab, choose, tabs, chosen, choosing, span, spanning }: Props): JSX.Element {
  return (
    <aside class="inspector" aria-label="Timeline and files">
      {tabs && (
        <div class="tabs" role="group" aria-label="Timeline or files">
          <button type="button" aria-pressed={tab === "timeline"} onClick={() => choose("timeline")}>Timeline</button>
          <button type="button" aria-pressed={tab === "changes"} onClick={() => choose("changes")}>Files</button>
        </div>
      )}
      {tab === "timeline" ? (
        <Timeline place={place} turn={turn} chosen={chosen} choose={choosing} />
      ) : (
        <Changes place={place} span={span} choose={spanning} />
      )}
    </aside>
  );
}
