import type { JSX } from "preact";
import { useState } from "preact/hooks";

export function Copy({ text, label = "Copy" }: { readonly text: string; readonly label?: string }): JSX.Element {
  const [done, setDone] = useState(false);
  const copy = async (): Promise<void> => {
    try {
      await navigator.clipboard.writeText(text);
      setDone(true);
      setTimeout(() => setDone(false), 1500);
    } catch {
      setDone(false);
    }
  };
  return (
    <button type="button" class="quiet small" onClick={() => void copy()}>
      {done ? "Copied" : label}
    </button>
  );
}
