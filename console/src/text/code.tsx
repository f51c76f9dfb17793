/** Code with its strings, comments, numbers and common words told apart: the same few rules for every language. */
import type { ComponentChildren, JSX } from "preact";

const WORDS = new Set(
  ("and as assert async await break case catch class const continue def del do elif else enum except export extends false False " +
    "finally fn for from func function global go if impl import in interface is lambda let match mod mut new nil None not null of or " +
    "package pass pub raise return self static struct super switch then this throw trait True true try type undefined use var void " +
    "while with yield").split(" "),
);
const HASHES = new Set(["", "bash", "sh", "shell", "console", "py", "python", "rb", "ruby", "yaml", "yml", "toml", "make", "dockerfile", "r", "perl"]);
const PIECES = /("""[\s\S]*?(?:"""|$)|"(?:[^"\\\n]|\\.){0,2000}"?|'(?:[^'\\\n]|\\.){0,2000}'|`(?:[^`\\]|\\.){0,2000}`)|(#[^\n]*|\/\/[^\n]*|\/\*[\s\S]*?(?:\*\/|$))|\b(\d[\w.]*)\b|([A-Za-z_]\w*)/g;
const LONGEST = 40_000;

export function Code({ text, language }: { readonly text: string; readonly language: string }): JSX.Element {
  return <code>{text.length > LONGEST || language === "text" || !language ? text : pieces(text, language.toLowerCase())}</code>;
}

function pieces(text: string, language: string): ComponentChildren[] {
  const out: ComponentChildren[] = [];
  let last = 0;
  for (const found of text.matchAll(PIECES)) {
    const [whole, string, comment, number, word] = found;
    const kind = string ? "s" : comment ? (comment[0] === "#" ? HASHES.has(language) : !HASHES.has(language)) && "c" : number ? "n" : word && WORDS.has(word) && "k";
    if (!kind) continue;
    out.push(text.slice(last, found.index), <span key={found.index} class={`hl-${kind}`}>{whole}</span>);
    last = found.index + whole.length;
  }
  out.push(text.slice(last));
  return out;
}
