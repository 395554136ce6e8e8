// Cuts Markdown into its top-level blocks while it is still growing. Only the last block can still
// change, so the blocks before it are settled: they are never read or rendered again.
import { Lexer } from "marked";

/** A new line in a reply is a new line on the page, as models mean it. */
export const lexer = (): Lexer => new Lexer({ gfm: true, breaks: true });

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
    const ended: string[] = [];
    for (const token of tokens.slice(0, last)) {
      this.prefix += token.raw;
      if (token.raw.trim() !== "") ended.push(token.raw);
    }
    if (ended.length > 0) this.settled = [...this.settled, ...ended];
    return [...this.settled, (tokens[last] as { raw: string }).raw];
  }
}
