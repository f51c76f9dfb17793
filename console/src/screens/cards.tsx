/** What a tool was called with and came to: a line, and below it a card as the result's `ui` wants to be shown. */
import type { ComponentChildren, JSX } from "preact";
import { useState } from "preact/hooks";
import type { ToolResult } from "../api/schema";
import type { Calling } from "../live/folding";
import { memo } from "../parts/memo";
import { Code } from "../text/code";
import { Diff } from "../text/diff";
import { safe } from "../text/inline";
import { about, count, cut, fieldsOf, oneLine, printable, seconds, uncoloured } from "../text/words";
import type { Place } from "./session";

const MARKS = { run: "·", wait: "…", good: "✓", bad: "✗", denied: "⊘", lost: "?", left: "–" } as const;
const SAID = { run: "under way", wait: "waiting", good: "done", bad: "failed", denied: "denied", lost: "outcome unknown", left: "not finished" } as const;
type Went = keyof typeof MARKS;

export const Card = memo(({ thing, place }: { readonly thing: Calling; readonly place: Place }) => {
  const went = wentOf(thing);
  const ui = String(thing.result?.metadata?.["ui"] ?? "");
  const [open, setOpen] = useState<boolean | null>(null);
  const shown = open ?? (went === "bad" || OPENED.has(ui));
  const files = thing.started !== undefined && thing.finished !== undefined && WRITES.has(ui);
  return (
    <section class={`call ${went}`} aria-label={`${thing.call.name}, ${SAID[went]}`}>
      <button type="button" class="line" aria-expanded={shown} onClick={() => setOpen(!shown)}>
        {went === "run" ? <span class="spin" aria-hidden="true" /> : <span class="sign" aria-hidden="true">{MARKS[went]}</span>}
        <b>{oneLine(thing.call.name, 60)}</b>
        <code>{about(thing.call.arguments)}</code>
        <span class="gist">{gist(thing)}</span>
        {thing.duration ? <span class="took">{seconds(thing.duration / 1e6)}</span> : null}
      </button>
      {shown && (
        <div class="card">
          {thing.result ? <Body thing={thing} ui={ui} /> : <Given thing={thing} />}
          {thing.nested.map((each) => <Card key={each.call.id} thing={each} place={place} />)}
          <footer>
            {files && (
              <button type="button" class="quiet small" onClick={() => place.compare({ since: thing.started ?? 0, until: thing.finished ?? null })}>
                Files it changed
              </button>
            )}
            <button type="button" class="quiet small" onClick={() => place.show(thing.finished ?? thing.started ?? thing.seq)}>
              Event {thing.finished ?? thing.started ?? thing.seq}
            </button>
          </footer>
        </div>
      )}
    </section>
  );
});

const OPENED = new Set(["diff", "file-created", "terminal"]);
const WRITES = new Set(["diff", "file-created", "terminal", "code", ""]);

function wentOf(thing: Calling): Went {
  const error = thing.result?.error;
  if (thing.waiting) return "wait";
  if (!thing.result) return thing.left ? "left" : "run";
  if (!error) return "good";
  return error.reason === "outcome_unknown" ? "lost" : error.status === "denied" ? "denied" : "bad";
}

/** Returns what it came to, in a word or two. */
function gist(thing: Calling): string {
  const { result } = thing;
  if (thing.waiting) return thing.waiting.kind === "question" ? "asks you" : thing.waiting.kind === "approval" ? "needs approval" : "waits";
  if (!result) return thing.left ? "not finished" : "";
  const facts: Readonly<Record<string, unknown>> = result.metadata ?? {};
  const number = (name: string): number | null => (typeof facts[name] === "number" ? facts[name] : null);
  if (result.error) return result.error.code.replaceAll("_", " ");
  if (thing.rolledBack) return "rolled back";
  const matches = number("matchCount");
  if (matches !== null) return count(matches, "match", "matches");
  const entries = number("entryCount") ?? number("count");
  if (entries !== null) return count(entries, "entry", "entries");
  const lines = number("lineCount");
  if (lines !== null) return count(lines, "line");
  const code = number("exitCode");
  if (code) return `exit ${code}`;
  const size = number("size");
  return size === null ? "" : `${size.toLocaleString("en-US")} bytes`;
}

function Given({ thing }: { readonly thing: Calling }): JSX.Element {
  return <Arguments json={thing.call.arguments} />;
}

const MOST_GIVEN = 100_000;

/** The arguments of a call, one below the other: all of them, since people say yes to what they see here. */
export function Arguments({ json }: { readonly json: string }): JSX.Element {
  const fields = fieldsOf(json);
  if (fields === null) return <pre class="lines">{cut(printable(json), MOST_GIVEN)}</pre>;
  return (
    <dl class="given">
      {Object.entries(fields).map(([name, value]) => (
        <div key={name}>
          <dt>{oneLine(name, 60)}</dt>
          <dd>{edits(value) ?? <pre>{cut(printable(typeof value === "string" ? value : JSON.stringify(value, null, 2)), MOST_GIVEN)}</pre>}</dd>
        </div>
      ))}
    </dl>
  );
}

/** Shows what is to be put in the place of what, where a value says that; else nothing. */
function edits(value: unknown): JSX.Element | null {
  const found = Array.isArray(value) ? value : [];
  if (!found.length || !found.every((each) => typeof each?.oldText === "string" && typeof each?.newText === "string" && Object.keys(each).length === 2)) return null;
  const lines = (text: string, kind: "plus" | "minus"): ComponentChildren =>
    cut(printable(text), MOST_GIVEN).replace(/\n$/, "").split("\n").map((line, at) => <div key={at} class={kind}>{kind === "plus" ? "+ " : "− "}{line}</div>);
  return <>{(found as { oldText: string; newText: string }[]).map((each, at) => <pre key={at} class="edit">{lines(each.oldText, "minus")}{lines(each.newText, "plus")}</pre>)}</>;
}

function Body({ thing, ui }: { readonly thing: Calling; readonly ui: string }): JSX.Element {
  const result = thing.result as ToolResult;
  const facts: Readonly<Record<string, unknown>> = result.metadata ?? {};
  const text = (name: string): string => (typeof facts[name] === "string" ? facts[name] : "");
  if (result.error) {
    return (
      <>
        <Arguments json={thing.call.arguments} />
        <Lines text={result.content} tail tone={result.error.status === "denied" ? "denied" : "bad"} />
      </>
    );
  }
  const diff = text("diff");
  if (ui === "diff" && /^@@/m.test(diff)) return <Diff text={diff} path={text("filePath")} />;
  const fields = fieldsOf(thing.call.arguments) ?? {};
  switch (ui) {
    case "terminal":
      return <Terminal command={String(fields["command"] ?? text("command"))} text={result.content} />;
    case "file-created":
      return <Source text={typeof fields["content"] === "string" ? fields["content"] : result.content} language={text("language")} />;
    case "code":
      return <Source text={result.content} language={text("language")} />;
    case "search-results":
      return <Matches text={result.content} />;
    case "web-fetch":
      return (
        <>
          <p class="facts">{[facts["status"], text("contentType"), text("title")].filter(Boolean).map(String).map((each) => oneLine(each, 80)).join(" · ")}</p>
          <Outside address={text("finalUrl") || text("url")} />
          <Lines text={result.content} />
        </>
      );
    case "citation":
      return <><Outside address={text("url")} /><Lines text={result.content} /></>;
    case "thought":
      return <p class="words thought">{printable(String(fields["thought"] ?? result.content))}</p>;
    default:
      return <>{ui ? null : <Arguments json={thing.call.arguments} />}<Lines text={result.content} /></>;
  }
}

function Outside({ address }: { readonly address: string }): JSX.Element {
  const to = safe(address);
  const shown = oneLine(address, 300);
  return <p class="facts">{to ? <a href={to} target="_blank" rel="noopener noreferrer nofollow">{shown}</a> : shown}</p>;
}

function Terminal({ command, text }: { readonly command: string; readonly text: string }): JSX.Element {
  return (
    <div class="terminal">
      {command && <pre class="command"><span aria-hidden="true">$ </span>{cut(printable(command), MOST_GIVEN)}</pre>}
      <Lines text={text.replace(/\n\[exit code 0[^\n]*$/, "")} tail />
    </div>
  );
}

function Source({ text, language }: { readonly text: string; readonly language: string }): JSX.Element {
  return <Long text={printable(text)} draw={(part) => <pre class="source"><Code text={part} language={language} /></pre>} />;
}

function Matches({ text }: { readonly text: string }): JSX.Element {
  const rows = (part: string): ComponentChildren =>
    part.split("\n").map((line, at) => {
      const hit = /^([^:]+):(\d+):(.*)$/.exec(line);
      return <div key={at}>{hit ? <><span class="hl-p">{hit[1]}</span><span class="dim">:{hit[2]}: </span>{hit[3]}</> : line}</div>;
    });
  return <Long text={uncoloured(text)} draw={(part) => <pre class="lines">{rows(part)}</pre>} />;
}

export function Lines({ text, tail = false, tone = "" }: { readonly text: string; readonly tail?: boolean; readonly tone?: string }): JSX.Element {
  return <Long text={uncoloured(text)} tail={tail} draw={(part) => <pre class={`lines ${tone}`}>{part}</pre>} />;
}

const MOST = 24;
const ALL = 2_000;

/** A text of which the beginning, or the end, is shown until somebody wants more. */
function Long({ text, tail = false, draw }: { readonly text: string; readonly tail?: boolean; readonly draw: (part: string) => JSX.Element }): JSX.Element | null {
  const [all, setAll] = useState(false);
  const lines = text.trimEnd().split("\n");
  const most = all ? ALL : MOST;
  const part = (tail ? lines.slice(-most) : lines.slice(0, most)).join("\n").slice(0, all ? 400_000 : 8_000);
  const left = lines.length - Math.min(lines.length, most);
  const more = left > 0 && !all ? (
    <button type="button" class="quiet small" onClick={() => setAll(true)}>{count(left, "more line")}</button>
  ) : left > 0 ? <p class="facts">{count(left, "line")} not shown</p> : null;
  if (!text.trim()) return <p class="facts">No output</p>;
  return <>{tail && more}<div class="scroll" tabIndex={0} role="region" aria-label="Output">{draw(part)}</div>{!tail && more}</>;
}
