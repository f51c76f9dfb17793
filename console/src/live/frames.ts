/** Server-sent events, read from the pieces of a response: whatever is cut in two is put together again. */
import type { Item } from "../api/events";

export class Frames {
  private rest = "";
  private readonly decoder = new TextDecoder();

  /** Returns the items that are whole by now. */
  take(piece: Uint8Array): Item[] {
    this.rest += this.decoder.decode(piece, { stream: true });
    const blocks = this.rest.split(/\r?\n\r?\n/);
    this.rest = blocks.pop() ?? "";
    const found: Item[] = [];
    for (const block of blocks) {
      const data = block
        .split(/\r?\n/)
        .filter((line) => line.startsWith("data:"))
        .map((line) => line.slice(line[5] === " " ? 6 : 5))
        .join("\n");
      if (!data) continue;
      try {
        found.push(JSON.parse(data) as Item);
      } catch {
        // What cannot be read is left out: the rest can be shown all the same.
      }
    }
    return found;
  }
}
