/** Markdown as elements. Nothing of a text ever becomes HTML: what is no mark of ours is text, and stays it. */
import type { ComponentChildren, JSX } from "preact";
import { memo } from "../parts/memo";
import { Copy } from "../parts/copy";
import { Code } from "./code";
import { DEEPEST, inline } from "./inline";
import { printable } from "./words";

/** Shows a text; the blocks that did not change since the last time are not drawn again. */
export function Markdown({ text }: { readonly text: string }): JSX.Element {
  return <div class="prose">{blocks(printable(text)).map((block, place) => <Block key={place} source={block} />)}</div>;
}

const Block = memo(({ source }: { readonly source: string }) => <>{rendered(source.split("\n"), 0)}</>);

/** Returns the blocks of a text, at the empty lines between them; a fence is one block. */
export function blocks(text: string): string[] {
  const found: string[] = [];
  let held: string[] = [];
  let fence = "";
  let inList = false;
  for (const line of text.split("\n")) {
    const mark = /^ {0,3}(`{3,}|~{3,})/.exec(line)?.[1];
    if (fence) {
      held.push(line);
      if (mark && mark[0] === fence[0] && mark.length >= fence.length && line.trim() === mark) fence = "";
      continue;
    }
    if (mark) fence = mark;
    // A list goes on over an empty line where the next line is of it, too.
    if (!line.trim() && held.length && !inList) {
      found.push(held.join("\n"));
      held = [];
    } else if (held.length && inList && !(held.at(-1) ?? "").trim() && line.trim() && !listed(line) && !/^\s{2,}/.test(line)) {
      found.push(held.join("\n"));
      held = [line];
      inList = listed(line);
    } else if (line.trim() || held.length) {
      if (!held.length) inList = listed(line);
      held.push(line);
    }
  }
  if (held.length) found.push(held.join("\n"));
  return found;
}

const ITEM = /^(\s*)([-*+]|\d{1,9}[.)])(?:\s+|$)/;

function listed(line: string): boolean {
  return ITEM.test(line) && !/^\s*([-*_])(?:\s*\1){2,}\s*$/.test(line);
}

function rendered(lines: readonly string[], depth: number): ComponentChildren[] {
  const out: ComponentChildren[] = [];
  let at = 0;
  while (at < lines.length) {
    const line = lines[at] ?? "";
    if (!line.trim()) {
      at += 1;
      continue;
    }
    const [element, next] = depth < DEEPEST ? one(lines, at, depth, out.length) : [paragraph(lines.slice(at), out.length), lines.length];
    out.push(element);
    at = next;
  }
  return out;
}

function one(lines: readonly string[], at: number, depth: number, key: number): [ComponentChildren, number] {
  const line = lines[at] ?? "";
  const fence = /^ {0,3}(`{3,}|~{3,})\s*([^\s`]*)/.exec(line);
  if (fence) return fenced(lines, at, fence[1] ?? "```", fence[2] ?? "", key);
  const heading = /^ {0,3}(#{1,6})\s(.*)$/.exec(line);
  if (heading) return [<Heading key={key} level={(heading[1] ?? "#").length} text={(heading[2] ?? "").trim().replace(/ #+$/, "")} />, at + 1];
  if (/^ {0,3}([-*_])(?:\s*\1){2,}\s*$/.test(line)) return [<hr key={key} />, at + 1];
  if (/^ {0,3}>/.test(line)) {
    const end = reach(lines, at, (each) => /^ {0,3}>/.test(each));
    const inner = lines.slice(at, end).map((each) => each.replace(/^ {0,3}> ?/, ""));
    return [<blockquote key={key}>{rendered(inner, depth + 1)}</blockquote>, end];
  }
  if (listed(line)) return list(lines, at, depth, key);
  if (line.includes("|") && ruled(lines[at + 1] ?? "")) return table(lines, at, key);
  const end = reach(lines, at + 1, (each) => each.trim() !== "" && !/^ {0,3}(#{1,6}\s|>|`{3,}|~{3,})/.test(each) && !listed(each));
  return [paragraph(lines.slice(at, end), key), end];
}

/** Whether a line is the one below the head of a table. */
function ruled(line: string): boolean {
  return line.includes("-") && line.length < 2000 && cells(line).every((each) => /^:?-+:?$/.test(each));
}

function reach(lines: readonly string[], from: number, fits: (line: string) => boolean): number {
  let end = from;
  while (end < lines.length && fits(lines[end] ?? "")) end += 1;
  return end;
}

function fenced(lines: readonly string[], at: number, mark: string, language: string, key: number): [ComponentChildren, number] {
  let end = at + 1;
  const closes = (each: string): boolean => each.trim().startsWith(mark) && each.trim().replaceAll(mark[0] ?? "`", "") === "";
  while (end < lines.length && !closes(lines[end] ?? "")) end += 1;
  const text = lines.slice(at + 1, end).join("\n");
  const element = (
    <figure class="fence" key={key}>
      <figcaption>
        <span>{language.slice(0, 30)}</span>
        <Copy text={text} />
      </figcaption>
      <pre tabIndex={0}><Code text={text} language={language} /></pre>
    </figure>
  );
  return [element, end + 1];
}

function Heading({ level, text }: { readonly level: number; readonly text: string }): JSX.Element {
  // The page has headings of its own above those of a text.
  const Tag = `h${Math.min(6, level + 2)}` as "h3";
  return <Tag class={`h${level}`}>{inline(text)}</Tag>;
}

function paragraph(lines: readonly string[], key: number): ComponentChildren {
  return <p key={key}>{inline(lines.map((line) => line.trim() + (line.endsWith("  ") ? "\n" : "")).join(" "))}</p>;
}

function list(lines: readonly string[], at: number, depth: number, key: number): [ComponentChildren, number] {
  const first = ITEM.exec(lines[at] ?? "");
  const indent = (first?.[1] ?? "").length;
  const numbered = /\d/.test(first?.[2] ?? "");
  const items: string[][] = [];
  let end = at;
  for (; end < lines.length; end += 1) {
    const line = lines[end] ?? "";
    const mark = ITEM.exec(line);
    const inset = line.length - line.trimStart().length;
    if (mark && listed(line) && inset <= indent + 1 && inset >= indent) {
      if (/\d/.test(mark[2] ?? "") !== numbered) break;
      items.push([line.slice(mark[0].length)]);
    } else if (!line.trim() || inset > indent) {
      items.at(-1)?.push(line.slice(Math.min(inset, indent + (numbered ? 3 : 2))));
    } else if (listed(line) || /^ {0,3}(#{1,6}\s|>|`{3,})/.test(line)) {
      break;
    } else {
      items.at(-1)?.push(line);
    }
  }
  const inner = items.map((each, place) => <li key={place}>{item(each, depth)}</li>);
  const start = Number.parseInt(first?.[2] ?? "1", 10);
  return [numbered ? <ol key={key} start={start}>{inner}</ol> : <ul key={key}>{inner}</ul>, Math.max(end, at + 1)];
}

function item(lines: readonly string[], depth: number): ComponentChildren {
  const box = /^\[([ xX])\]\s+/.exec(lines[0] ?? "");
  const rest = box ? [(lines[0] ?? "").slice(box[0].length), ...lines.slice(1)] : lines;
  const simple = reach(rest, 0, (each) => each.trim() !== "" && !listed(each) && !/^\s*(`{3,}|>)/.test(each));
  const done = box ? (box[1] === " " ? "☐ " : "☑ ") : "";
  return [done, ...inline(rest.slice(0, simple).map((each) => each.trim()).join(" ")), ...rendered(rest.slice(simple), depth + 1)];
}

function table(lines: readonly string[], at: number, key: number): [ComponentChildren, number] {
  const end = reach(lines, at + 2, (line) => line.includes("|") && line.trim() !== "");
  const rows = [at, ...Array.from({ length: end - at - 2 }, (_, place) => at + 2 + place)].map((each) => cells(lines[each] ?? ""));
  const aligned = cells(lines[at + 1] ?? "").map((each) => (each.endsWith(":") ? (each.startsWith(":") ? "to-center" : "to-end") : "to-start"));
  const [head = [], ...body] = rows;
  const element = (
    <div class="scroll" key={key} tabIndex={0} role="region" aria-label="Table">
      <table>
        <thead><tr>{head.map((each, place) => <th key={place} scope="col" class={aligned[place]}>{inline(each)}</th>)}</tr></thead>
        <tbody>
          {body.map((row, place) => (
            <tr key={place}>{head.map((_, column) => <td key={column} class={aligned[column]}>{inline(row[column] ?? "")}</td>)}</tr>
          ))}
        </tbody>
      </table>
    </div>
  );
  return [element, end];
}

function cells(line: string): string[] {
  return line.trim().replace(/^\||\|$/g, "").split(/(?<!\\)\|/).map((each) => each.trim().replaceAll("\\|", "|"));
}
