/**
 * Marks within a line: code, links, strong and emphasised words.
 *
 * Read from left to right; an end is looked for within a bound, so that no text, however it was meant, is looked at for
 * long. Links lead to the web or to mail, and nowhere else; pictures are links, so that no page is asked for anything.
 */
import type { ComponentChildren, JSX } from "preact";

export const DEEPEST = 12;
/** Characters above which a paragraph is shown as it was written. */
const LONGEST = 20_000;
/** Characters between a mark and its end. */
const APART = 2_000;

const LINK = /!?\[((?:[^\[\]\\]|\\.|\[[^\[\]]{0,200}\]){0,500})\]\(\s{0,9}<?([^\s()<>]{0,2000}(?:\([^\s()]{0,500}\)[^\s()<>]{0,500}){0,3})>?(?:\s{1,9}["'(][^"')]{0,300}["')])?\s{0,9}\)/y;
const BARE = /https?:\/\/[^\s<>()\[\]"'`]{1,2000}(?:\([^\s<>()]{0,500}\)[^\s<>()\[\]"'`]{0,500})?/y;
const SPECIAL = /[`!\[*_~\\\n]|https?:\/\//g;
const PUNCTUATION = /[!-/:-@[-`{-~]/;

/** Something that was found: what it becomes, and where the text goes on behind it. */
interface Found {
  readonly element: ComponentChildren;
  readonly end: number;
}

/** Returns what stands in a paragraph, as text and elements. */
export function inline(text: string, depth = 0): ComponentChildren[] {
  if (depth >= DEEPEST || text.length > LONGEST) return [text];
  const out: ComponentChildren[] = [];
  const reader = new Reader(text, depth);
  let last = 0;
  let at = 0;
  for (;;) {
    SPECIAL.lastIndex = at;
    const special = SPECIAL.exec(text);
    if (!special) break;
    const found = reader.read(special.index, out.length);
    if (typeof found === "number") {
      at = found;
      continue;
    }
    if (special.index > last) out.push(text.slice(last, special.index));
    out.push(found.element);
    last = at = found.end;
  }
  if (last < text.length) out.push(text.slice(last));
  return out;
}

class Reader {
  /** Lengths of runs of backticks that no other run of that length follows. */
  private readonly open = new Set<number>();

  constructor(
    private readonly text: string,
    private readonly depth: number,
  ) {}

  /** Returns the element that begins at a place; where there is none, where to look on. */
  read(at: number, key: number): Found | number {
    const { text } = this;
    switch (text[at]) {
      case "`":
        return this.code(at, key);
      case "!":
      case "[":
        return text[at] === "[" || text[at + 1] === "[" ? this.link(at, key) : at + 1;
      case "*":
      case "_":
      case "~":
        return this.marked(at, key);
      case "\\":
        return PUNCTUATION.test(text[at + 1] ?? "") ? { element: text[at + 1], end: at + 2 } : at + 1;
      case "\n":
        return { element: <br key={key} />, end: at + 1 };
      default:
        return this.bare(at, key);
    }
  }

  private run(at: number): number {
    let end = at;
    while (this.text[end] === this.text[at]) end += 1;
    return end - at;
  }

  private code(at: number, key: number): Found | number {
    const size = this.run(at);
    const begin = at + size;
    if (this.open.has(size)) return begin;
    for (let end = this.text.indexOf("`", begin); end >= 0; ) {
      const found = this.run(end);
      if (found === size) {
        const inner = this.text.slice(begin, end);
        return { element: <code key={key}>{inner.length > 2 && inner.startsWith(" ") && inner.endsWith(" ") ? inner.slice(1, -1) : inner}</code>, end: end + size };
      }
      end = this.text.indexOf("`", end + found);
    }
    this.open.add(size);
    return begin;
  }

  private link(at: number, key: number): Found | number {
    LINK.lastIndex = at;
    const found = LINK.exec(this.text);
    if (!found) return at + 1;
    const [whole, label = "", target = ""] = found;
    return { element: <Link key={key} to={target} whole={whole}>{label ? inline(label, this.depth + 1) : [target]}</Link>, end: at + whole.length };
  }

  private marked(at: number, key: number): Found | number {
    const { text } = this;
    const size = this.run(at);
    const sign = text[at] ?? "";
    const wide = size === 2 || size === 3;
    if (size > 3 || (sign === "~" && size !== 2)) return at + size;
    if (sign === "_" && !wide && /\w/.test(text[at - 1] ?? "")) return at + size;
    const mark = wide ? sign + sign : sign;
    const begin = at + mark.length;
    if (!/\S/.test(text[begin] ?? "")) return at + size;
    const end = this.close(mark, begin);
    if (end < 0) return at + size;
    const Tag = sign === "~" ? "del" : wide ? "strong" : "em";
    return { element: <Tag key={key}>{inline(text.slice(begin, end), this.depth + 1)}</Tag>, end: end + mark.length };
  }

  /** Returns where a mark ends that began; -1 where it does not, near. */
  private close(mark: string, begin: number): number {
    const { text } = this;
    for (let end = text.indexOf(mark, begin + 1); end >= 0 && end - begin <= APART; ) {
      const size = this.run(end);
      const after = text[end + size] ?? "";
      if (/\S/.test(text[end - 1] ?? "") && (mark.length === 2 || (size !== 2 && !/\w/.test(after)))) return end + size - mark.length;
      end = text.indexOf(mark, end + size);
    }
    return -1;
  }

  private bare(at: number, key: number): Found | number {
    BARE.lastIndex = at;
    const found = BARE.exec(this.text)?.[0];
    if (!found) return at + 4;
    let size = found.length;
    while (".,;:!?".includes(found[size - 1] ?? " ")) size -= 1;
    const address = found.slice(0, size);
    return { element: <Link key={key} to={address} whole={address}>{[address]}</Link>, end: at + size };
  }
}

function Link({ to, whole, children }: { readonly to: string; readonly whole: string; readonly children: ComponentChildren }): JSX.Element {
  const address = safe(to);
  if (!address) return <span class="nolink" title="This link leads nowhere a page may lead.">{whole}</span>;
  return (
    <a href={address} title={address} target="_blank" rel="noopener noreferrer nofollow">
      {children}
    </a>
  );
}

/** Returns an address of the web or of mail; empty for every other. */
export function safe(address: string): string {
  try {
    const found = new URL(address);
    return ["https:", "http:", "mailto:"].includes(found.protocol) ? found.href : "";
  } catch {
    return "";
  }
}
