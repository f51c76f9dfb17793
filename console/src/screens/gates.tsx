/** What people are asked, and how they answer: approvals, questions and reviews. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { once, said } from "../api/client";
import type { Answered, Question, SessionView } from "../api/schema";
import type { Session } from "../live/session";
import { announce, useApi, useNow } from "../parts/hooks";
import { Key, Trouble } from "../parts/small";
import { Markdown } from "../text/markdown";
import { count, fieldsOf, oneLine, printable, seconds } from "../text/words";
import { Arguments } from "./cards";

type Waiting = SessionView["waits"][number];

export function Gates({ session }: { readonly session: Session; readonly turn: number }): JSX.Element | null {
  const waits = session.view?.waits.filter((each) => !each.answered) ?? [];
  if (!waits.length) return null;
  return (
    <section class="gates" aria-label="Waiting for an answer">
      {waits.map((wait, at) => <Gate key={wait.token} wait={wait} session={session} first={at === 0} />)}
    </section>
  );
}

type Form = "" | "deny" | "edit" | "changes";

function Gate({ wait, session, first }: { readonly wait: Waiting; readonly session: Session; readonly first: boolean }): JSX.Element {
  const api = useApi();
  const [form, setForm] = useState<Form>("");
  const [trouble, setTrouble] = useState("");
  const [busy, setBusy] = useState(false);
  const may = api.may("waits:answer");

  const answer = async (body: Answered): Promise<void> => {
    setBusy(true);
    setTrouble("");
    try {
      await api.ask("POST /v1/sessions/{session}/waits/{token}", { path: { session: session.name, token: wait.token }, body, key: once() });
      announce("Answered");
      document.querySelector<HTMLElement>(".feed")?.focus();
    } catch (error) {
      setTrouble(said(error));
      setBusy(false);
    }
    session.refresh(50);
  };

  const keys = (event: KeyboardEvent): void => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape" && form) return setForm("");
    if (/^(INPUT|TEXTAREA)$/.test((event.target as HTMLElement).tagName) || !may || wait.kind === "question") return;
    const acts: Record<string, (() => void) | false> = {
      a: () => void answer({ decision: "approve" }),
      A: wait.kind === "approval" && (() => void answer({ decision: "approve", always: true })),
      e: wait.kind === "approval" && wait.editable === true && (() => setForm("edit")),
      c: wait.kind === "review" && (wait.changes_left ?? 0) > 0 && (() => setForm("changes")),
      d: () => setForm("deny"),
    };
    const act = acts[event.key];
    if (!act) return;
    event.preventDefault();
    event.stopPropagation();
    act();
  };

  // A call that another call makes is told in words; the arguments that are known are of the other one.
  const own = wait.call?.name === wait.tool;
  const title = { approval: "Allow this call?", question: "A question for you", review: "Is this answer good?" }[wait.kind];
  return (
    <section class={`gate ${wait.kind}`} tabIndex={-1} aria-label={`${title} ${wait.tool ?? ""}`} onKeyDown={keys}>
      <header>
        <b>{title}</b>
        {wait.tool && wait.kind === "approval" && <code>{oneLine(wait.tool, 60)}</code>}
        <span class="grow" />
        <Left wait={wait} />
        {first && <Key>G</Key>}
      </header>
      <div class="asked">
        {wait.kind === "review" && <Markdown text={wait.prompt ?? ""} />}
        {wait.kind === "approval" && !own && <p class="words">{printable(wait.prompt ?? "")}</p>}
        {wait.kind === "approval" && wait.call && own && form !== "edit" && <Arguments json={wait.call.arguments} />}
      </div>
      {!may ? (
        <p class="facts">You may look at this, and not answer it.</p>
      ) : wait.kind === "question" ? (
        <Questions questions={wait.questions ?? []} busy={busy} send={(answers) => void answer({ decision: "answer", answers })} />
      ) : form ? (
        <Reason form={form} wait={wait} busy={busy} cancel={() => setForm("")} send={(body) => void answer(body)} />
      ) : (
        <div class="actions">
          <button type="button" class="primary" disabled={busy} aria-keyshortcuts="a" onClick={() => void answer({ decision: "approve" })}>
            {wait.kind === "review" ? "Accept" : "Approve"} <Key>A</Key>
          </button>
          {wait.kind === "approval" && (
            <button type="button" disabled={busy} aria-keyshortcuts="Shift+A" title={`Every later call of ${wait.tool ?? "this tool"} in this session, too`} onClick={() => void answer({ decision: "approve", always: true })}>
              Always <Key>⇧A</Key>
            </button>
          )}
          {wait.editable && <button type="button" disabled={busy} aria-keyshortcuts="e" onClick={() => setForm("edit")}>Edit <Key>E</Key></button>}
          {wait.kind === "review" && (wait.changes_left ?? 0) > 0 && (
            <button type="button" disabled={busy} aria-keyshortcuts="c" onClick={() => setForm("changes")}>Ask for changes <Key>C</Key></button>
          )}
          <button type="button" class="danger" disabled={busy} aria-keyshortcuts="d" onClick={() => setForm("deny")}>
            {wait.kind === "review" ? "Reject" : "Deny"} <Key>D</Key>
          </button>
        </div>
      )}
      {wait.paused && <p class="facts">The session is paused: what you answer begins nothing until it is resumed.</p>}
      <Trouble words={trouble} />
    </section>
  );
}

function Left({ wait }: { readonly wait: Waiting }): JSX.Element | null {
  const now = useNow(1000);
  if (wait.deadline === null || wait.deadline === undefined) return null;
  const left = wait.deadline / 1e6 - now / 1000;
  return <span class="deadline">{left > 0 ? `${seconds(left)} left` : "too late"}</span>;
}

interface ReasonProps {
  readonly form: Exclude<Form, "">;
  readonly wait: Waiting;
  readonly busy: boolean;
  readonly cancel: () => void;
  readonly send: (body: Answered) => void;
}

function Reason({ form, wait, busy, cancel, send }: ReasonProps): JSX.Element {
  const given = form === "edit" ? JSON.stringify(fieldsOf(wait.call?.arguments ?? "") ?? {}, null, 2) : "";
  const [text, setText] = useState(given);
  const fields = form === "edit" ? fieldsOf(text) : null;
  const wrong = form === "edit" && fields === null;
  const submit = (event: Event): void => {
    event.preventDefault();
    if (form === "edit") {
      if (fields) send({ decision: "approve", arguments: fields });
    } else {
      send({ decision: form, reason: text.trim() });
    }
  };
  return (
    <form class="reason" onSubmit={submit}>
      <label class="field">
        <span>{{ deny: "Why not? The model reads it.", edit: "Arguments (JSON)", changes: "What should be different?" }[form]}</span>
        <textarea
          ref={(element) => {
            if (element && !element.dataset.met) {
              element.dataset.met = "yes";
              element.focus();
            }
          }}
          class={form === "edit" ? "mono" : ""}
          rows={form === "edit" ? Math.min(14, given.split("\n").length + 1) : 2}
          value={text}
          spellcheck={form !== "edit"}
          aria-invalid={wrong}
          onInput={(event) => setText(event.currentTarget.value)}
          onKeyDown={(event) => {
            if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) submit(event);
          }}
        />
      </label>
      {wrong && <p class="trouble">This is no JSON object yet.</p>}
      <div class="actions">
        <button type="submit" class={form === "deny" ? "danger" : "primary"} disabled={busy || wrong || (form === "changes" && !text.trim())}>
          {{ deny: wait.kind === "review" ? "Reject" : "Deny", edit: "Approve with these", changes: "Ask for changes" }[form]} <Key>Ctrl ↵</Key>
        </button>
        <button type="button" class="quiet" onClick={cancel}>Cancel <Key>Esc</Key></button>
      </div>
    </form>
  );
}

function Questions({ questions, busy, send }: { readonly questions: readonly Question[]; readonly busy: boolean; readonly send: (answers: string[][]) => void }): JSX.Element {
  const [picked, setPicked] = useState<readonly (readonly string[])[]>(() => questions.map(() => []));
  const [words, setWords] = useState<readonly string[]>(() => questions.map(() => ""));
  const answers = questions.map((_, at) => [...(picked[at] ?? []), ...(words[at]?.trim() ? [words[at]?.trim() ?? ""] : [])]);
  const whole = questions.every((question, at) => (answers[at]?.length ?? 0) > 0 || question.multiple);
  const pick = (at: number, label: string, many: boolean): void => {
    setPicked(picked.map((each, place) => (place !== at ? each : many ? (each.includes(label) ? each.filter((other) => other !== label) : [...each, label]) : [label])));
    if (!many) setWords(words.map((each, place) => (place === at ? "" : each)));
  };
  const write = (at: number, text: string): void => {
    setWords(words.map((each, place) => (place === at ? text : each)));
    if (text && !questions[at]?.multiple) setPicked(picked.map((each, place) => (place === at ? [] : each)));
  };
  return (
    <form
      class="questions"
      onSubmit={(event) => {
        event.preventDefault();
        if (whole) send(answers);
      }}
    >
      {questions.map((question, at) => (
        <fieldset key={at}>
          <legend>{question.header && <span class="tag">{oneLine(question.header, 40)}</span>} {printable(question.question)}</legend>
          {question.options?.map((option) => (
            <label key={option.label} class="option">
              <input
                type={question.multiple ? "checkbox" : "radio"}
                name={`question-${at}`}
                checked={picked[at]?.includes(option.label) ?? false}
                onChange={() => pick(at, option.label, question.multiple ?? false)}
              />
              <span>{printable(option.label)}{option.description && <small>{printable(option.description)}</small>}</span>
            </label>
          ))}
          {(question.free ?? true) && (
            <input
              type="text"
              class="own"
              aria-label={question.options?.length ? "In your own words" : "Your answer"}
              placeholder={question.options?.length ? "In your own words" : "Your answer"}
              value={words[at] ?? ""}
              onInput={(event) => write(at, event.currentTarget.value)}
            />
          )}
        </fieldset>
      ))}
      <div class="actions">
        <button type="submit" class="primary" disabled={busy || !whole}>Send {questions.length > 1 ? count(questions.length, "answer") : "answer"} <Key>↵</Key></button>
      </div>
    </form>
  );
}
