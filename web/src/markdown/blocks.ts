// Cuts Markdown into its top-level blocks while it is still growing. Only the last block can still
// change, so the blocks before it are settled: they are never read or rendered again.
import { Lexer, type Token } from "marked";

/** A new line in a reply is a new line on the page, as models mean it. */
export const lexer = (): Lexer => new Lexer({ gfm: true, breaks: true });

/** What may become the marker of a list's next entry when more is written. */
const MARKER_BEGUN = /^\s*(\d{1,9}[.)]?|[-*+])\s*$/;

export class BlockSplitter {
  private settled: readonly string[] = [];
  private prefix = "";

  /** The source of each block of `text`; together they are the whole text but for blank lines. */
  split(written: string): readonly string[] {
    const text = written.includes("\r") ? written.replace(/\r\n?/g, "\n") : written;
    if (!text.startsWith(this.prefix)) {
      this.settled = [];
      this.prefix = "";
    }
    const tokens = lexer().blockTokens(text.slice(this.prefix.length));
    const last = tokens.findLastIndex((token) => token.raw.trim() !== "");
    if (last === -1) return this.settled;
    const open = this.firstOpen(tokens, last);
    const ended: string[] = [];
    for (const token of tokens.slice(0, open)) {
      this.prefix += token.raw;
      if (token.raw.trim() !== "") ended.push(token.raw);
    }
    if (ended.length > 0) this.settled = [...this.settled, ...ended];
    const rest = tokens.slice(open, last + 1).filter((token) => token.raw.trim() !== "");
    return [...this.settled, ...rest.map((token) => token.raw)];
  }

  /** The first block that may still change: the last one, or the list that it may yet join. */
  private firstOpen(tokens: readonly Token[], last: number): number {
    if (!MARKER_BEGUN.test(tokens[last]?.raw ?? "")) return last;
    const before = tokens.slice(0, last).findLastIndex((token) => token.raw.trim() !== "");
    return tokens[before]?.type === "list" ? before : last;
  }
}
