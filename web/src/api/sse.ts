// Server-sent events: an incremental parser after the WHATWG HTML standard, section 9.2, and a
// reader that gives up on a connection which has gone silent.
import { ConnectionLost, isAbort } from "./errors";

export interface SseEvent {
  /** The event's type; "message" when none was sent. */
  event: string;
  data: string;
  /** The last id seen on this connection. */
  id: string | null;
}

/** An event longer than this is a fault, not a token. */
export const EVENT_CHARACTERS_MAX = 8 * 1024 * 1024;
/** The server sends a comment on silence; after this long without a byte the connection is dead. */
export const SILENCE_MS_MAX = 45_000;

/** Feed it bytes cut anywhere, even inside a character or a line ending; it returns whole events. */
export class SseParser {
  private readonly decoder = new TextDecoder();
  private buffer = "";
  private skipNewline = false;
  private data: string[] = [];
  private size = 0;
  private event = "";
  private id: string | null = null;

  feed(bytes: Uint8Array): SseEvent[] {
    this.buffer += this.decoder.decode(bytes, { stream: true });
    const events: SseEvent[] = [];
    let start = 0;
    for (;;) {
      if (this.skipNewline && start < this.buffer.length) {
        if (this.buffer[start] === "\n") start += 1;
        this.skipNewline = false;
      }
      const end = this.endOfLine(start);
      if (end === -1) break;
      this.skipNewline = this.buffer[end] === "\r";
      this.line(this.buffer.slice(start, end), events);
      start = end + 1;
    }
    this.buffer = this.buffer.slice(start);
    if (this.buffer.length + this.size > EVENT_CHARACTERS_MAX) {
      throw new ConnectionLost("An event was longer than any token can be.");
    }
    return events;
  }

  private endOfLine(start: number): number {
    const lf = this.buffer.indexOf("\n", start);
    const cr = this.buffer.indexOf("\r", start);
    if (lf === -1 || cr === -1) return Math.max(lf, cr);
    return Math.min(lf, cr);
  }

  private line(line: string, events: SseEvent[]): void {
    if (line === "") {
      if (this.data.length > 0) {
        events.push({ event: this.event || "message", data: this.data.join("\n"), id: this.id });
      }
      this.data = [];
      this.size = 0;
      this.event = "";
      return;
    }
    const colon = line.indexOf(":");
    const field = colon === -1 ? line : line.slice(0, colon);
    let value = colon === -1 ? "" : line.slice(colon + 1);
    if (value.startsWith(" ")) value = value.slice(1);
    if (field === "data") {
      this.data.push(value);
      this.size += value.length + 1;
    } else if (field === "event") {
      this.event = value;
    } else if (field === "id" && !value.includes("\0")) {
      this.id = value;
    }
  }
}

/** Read a streamed answer as events. Throws ConnectionLost when it breaks or falls silent. */
export async function* readEvents(
  response: Response,
  silenceMsMax: number = SILENCE_MS_MAX,
): AsyncGenerator<SseEvent> {
  if (response.body === null) throw new ConnectionLost("The answer had no body.");
  const reader = response.body.getReader();
  const parser = new SseParser();
  try {
    for (;;) {
      const { done, value } = await readOrGiveUp(reader, silenceMsMax);
      if (done) return;
      yield* parser.feed(value);
    }
  } finally {
    // Also when the caller stops early: an unread body would keep the connection open.
    reader.cancel().catch(() => undefined);
  }
}

async function readOrGiveUp(
  reader: ReadableStreamDefaultReader<Uint8Array<ArrayBuffer>>,
  silenceMsMax: number,
): Promise<ReadableStreamReadResult<Uint8Array<ArrayBuffer>>> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const silence = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new ConnectionLost("The connection fell silent.")),
      silenceMsMax,
    );
  });
  try {
    return await Promise.race([reader.read(), silence]);
  } catch (error) {
    if (isAbort(error) || error instanceof ConnectionLost) throw error;
    throw new ConnectionLost("The connection broke.");
  } finally {
    clearTimeout(timer);
  }
}
