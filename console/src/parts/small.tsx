/** Small things that many screens are made of. */
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { tokens } from "../text/words";

export function Key({ children }: { readonly children: ComponentChildren }): JSX.Element {
  return <kbd aria-hidden="true">{children}</kbd>;
}

const STATES = {
  running: "Running",
  waiting: "Waiting",
  asks: "Needs you",
  open: "Interrupted",
  idle: "Idle",
  ended: "Ended",
  paused: "Paused",
  completed: "Done",
  limited: "Limit reached",
  aborted: "Aborted",
  failed: "Failed",
} as const;
export type State = keyof typeof STATES;

export function Pill({ state }: { readonly state: State }): JSX.Element {
  return <span class={`pill ${state}`}>{STATES[state]}</span>;
}

export function Gauge({ used, size }: { readonly used: number; readonly size: number | null }): JSX.Element {
  const part = size ? Math.min(1, used / size) : 0;
  const said = size ? `${Math.round(part * 100)} % of ${tokens(size)} tokens` : `${tokens(used)} tokens`;
  return (
    <div
      class={`gauge ${part > 0.9 ? "full" : part > 0.7 ? "high" : ""}`}
      role="meter"
      aria-label="Context"
      aria-valuemin={0}
      aria-valuemax={size ?? Math.max(used, 1)}
      aria-valuenow={used}
      aria-valuetext={said}
      title={`Context: ${said}`}
    >
      {size !== null && (
        <svg viewBox="0 0 36 36" aria-hidden="true">
          <circle cx="18" cy="18" r="14" />
          <circle cx="18" cy="18" r="14" pathLength={100} stroke-dasharray={`${Math.max(part * 100, 0.01)} 100`} class="used" />
        </svg>
      )}
      <span>{size ? `${Math.round(part * 100)}%` : tokens(used)}</span>
    </div>
  );
}

/** A dialog over the page, which Escape closes. */
export function Dialog({ title, close, children }: { readonly title: string; readonly close: () => void; readonly children: ComponentChildren }): JSX.Element {
  const box = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const before = document.activeElement as HTMLElement | null;
    box.current?.showModal();
    return () => before?.focus();
  }, []);
  return (
    <dialog ref={box} aria-label={title} onClose={close} onClick={(event) => event.target === box.current && close()}>
      <header>
        <h2>{title}</h2>
        <button type="button" class="quiet icon" aria-label="Close" onClick={close}>✕</button>
      </header>
      {children}
    </dialog>
  );
}

export function Trouble({ words }: { readonly words: string }): JSX.Element | null {
  return words ? <p class="trouble" role="alert">{words}</p> : null;
}

export function Mark(): JSX.Element {
  return (
    <svg class="mark" viewBox="0 0 32 32" aria-hidden="true">
      <rect width="32" height="32" rx="8" />
      <path d="M10 8v16M22 8v16M10 16h12" />
    </svg>
  );
}
