/** A unified diff, read and shown: file by file, with the numbers of its lines. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { count, printable } from "./words";

interface Line {
  readonly kind: "+" | "-" | " " | "@" | "\\";
  readonly text: string;
  readonly old: number;
  readonly now: number;
}

export interface FileDiff {
  readonly path: string;
  readonly lines: readonly Line[];
  readonly added: number;
  readonly removed: number;
}

/** Returns the files of a diff, one without a name where it is of one file alone; and what is said before them. */
export function filesOf(diff: string): { readonly files: FileDiff[]; readonly notes: string[] } {
  const notes: string[] = [];
  const found: { path: string; lines: Line[]; added: number; removed: number }[] = [];
  let file: (typeof found)[number] | undefined;
  let [old, now, olds, nows] = [0, 0, 0, 0];
  let note = "";
  const tell = (next: string): void => {
    if (note) notes.push(note);
    note = next;
  };
  const begin = (path: string): void => {
    file = { path, lines: note ? [{ kind: "\\", text: note, old: 0, now: 0 }] : [], added: 0, removed: 0 };
    note = "";
    found.push(file);
  };
  for (const line of diff.replace(/\n$/, "").split("\n")) {
    const inside = olds > 0 || nows > 0;
    const hunk = /^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@(.*)/.exec(line);
    if (hunk) {
      if (!file) begin("");
      [old, olds, now, nows] = [Number(hunk[1]), Number(hunk[2] ?? 1), Number(hunk[3]), Number(hunk[4] ?? 1)];
      file?.lines.push({ kind: "@", text: line, old: 0, now: 0 });
    } else if (inside && (line[0] === "+" || line[0] === "-" || line[0] === " " || line === "")) {
      const kind = (line[0] ?? " ") as "+" | "-" | " ";
      file?.lines.push({ kind, text: line.slice(1), old: kind === "+" ? 0 : old, now: kind === "-" ? 0 : now });
      if (kind !== "+") [old, olds] = [old + 1, olds - 1];
      if (kind !== "-") [now, nows] = [now + 1, nows - 1];
      if (file && kind === "+") file.added += 1;
      if (file && kind === "-") file.removed += 1;
    } else if (line[0] === "\\") {
      file?.lines.push({ kind: "\\", text: line, old: 0, now: 0 });
    } else if (line.startsWith("diff --git ")) {
      begin(named(/ b\/(.*)$/.exec(line)?.[1] ?? line.slice(11)));
    } else if (line.startsWith("--- ")) {
      if (!file || file.lines.some((each) => each.kind !== "\\")) begin(named(line.slice(4)));
    } else if (line.startsWith("+++ ")) {
      const path = named(line.slice(4));
      if (file && path && path !== "/dev/null") file.path = path;
    } else if (line.trim() && !/^(index |new file|deleted file|old mode|new mode|similarity|rename )/.test(line)) {
      // What is said of a file stands before its lines, where there are any.
      if (line.startsWith("  ") && note) note += ` ${line.trim()}`;
      else tell(line);
      file = undefined;
    }
  }
  tell("");
  return { files: found, notes };
}

function named(path: string): string {
  const plain = path.split("\t")[0]?.trim() ?? "";
  return plain === "/dev/null" ? plain : plain.replace(/^[ab]\//, "");
}

const SHOWN = 400;

export function Diff({ text, path = "" }: { readonly text: string; readonly path?: string }): JSX.Element {
  const { files, notes } = filesOf(printable(text));
  return (
    <div class="diff">
      {notes.length > 0 && <pre class="lines">{notes.join("\n")}</pre>}
      {files.map((file, place) => (
        <File key={place} file={file.path ? file : { ...file, path: printable(path) }} />
      ))}
    </div>
  );
}

function File({ file }: { readonly file: FileDiff }): JSX.Element {
  const [all, setAll] = useState(false);
  const lines = all ? file.lines : file.lines.slice(0, SHOWN);
  const said = `${file.path || "Changes"}: ${count(file.added, "line")} added, ${count(file.removed, "line")} removed`;
  return (
    <details class="file" open>
      <summary>
        <span class="path">{file.path || "changes"}</span>
        <span class="added" aria-hidden="true">+{file.added}</span>
        <span class="removed" aria-hidden="true">−{file.removed}</span>
      </summary>
      <div class="scroll" tabIndex={0} role="region" aria-label={said}>
        <table>
          <tbody>
            {lines.map((line, place) => (
              <tr key={place} class={CLASSES[line.kind]}>
                <td class="num">{line.old || ""}</td>
                <td class="num">{line.now || ""}</td>
                <td class="sign">{line.kind === "+" ? "+" : line.kind === "-" ? "−" : ""}</td>
                <td class="line">{line.text || " "}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {file.lines.length > lines.length && (
        <button type="button" class="quiet wide" onClick={() => setAll(true)}>
          Show {count(file.lines.length - lines.length, "more line")}
        </button>
      )}
    </details>
  );
}

const CLASSES = { "+": "plus", "-": "minus", " ": "same", "@": "hunk", "\\": "meta" } as const;
