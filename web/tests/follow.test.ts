import { describe, expect, it } from "vitest";
import { ApiError, ConnectionLost } from "../src/api/errors";
import type { SseEvent } from "../src/api/sse";
import type { Answer, AnswerEvent } from "../src/api/wire";
import {
  backoffMs,
  type Follower,
  follow,
  judge,
  RECONNECT_ATTEMPTS_MAX,
  type Transport,
} from "../src/live/follow";

const ID = "resp_1";
const TEXT = "The text of an answer with ümläuts and 😀, long enough to be cut many times.";

/** The log of a whole response, as the server keeps it. */
function log(): AnswerEvent[] {
  const answer: Answer = { id: ID, status: "in_progress", model: "m" };
  const deltas = [...TEXT].map((delta) => ({ type: "response.output_text.delta", delta }));
  return [
    { type: "response.created", response: answer },
    ...deltas,
    { type: "response.completed", response: { ...answer, status: "completed" as const } },
  ].map((event, sequence_number) => ({ ...event, sequence_number }));
}

const sse = (event: AnswerEvent): SseEvent => ({
  event: event.type,
  id: null,
  data: JSON.stringify(event),
});

/** One connection of a scripted server: the events it sends, and an error at its end or none. */
type Connection = { events: AnswerEvent[]; error?: Error; status?: number } | ApiError | Error;

class Server implements Transport {
  asked: (number | null)[] = [];
  waited: number[] = [];
  answers = 0;
  stored: Answer | ApiError = { id: ID, status: "completed", model: "m" };
  private readonly open = new WeakMap<Response, { events: AnswerEvent[]; error?: Error }>();

  constructor(private readonly connect: (after: number | null, times: number) => Connection) {}

  async resume(_: string, after: number | null): Promise<Response> {
    this.asked.push(after);
    return this.connection(this.connect(after, this.asked.length));
  }

  connection(made: Connection, headers: Record<string, string> = {}): Response {
    if (made instanceof Error) throw made;
    const response = new Response(null, { status: made.status ?? 200, headers });
    this.open.set(response, made);
    return response;
  }

  async *read(response: Response) {
    const made = this.open.get(response);
    for (const event of made?.events ?? []) yield sse(event);
    if (made?.error) throw made.error;
  }

  async answer(): Promise<Answer> {
    this.answers += 1;
    if (this.stored instanceof ApiError) throw this.stored;
    return this.stored;
  }

  async wait(milliseconds: number): Promise<void> {
    this.waited.push(milliseconds);
  }

  random() {
    return 1;
  }
}

class Reader implements Follower {
  text = "";
  numbers: number[] = [];
  links: string[] = [];
  snapshots: Answer[] = [];

  event(event: AnswerEvent) {
    this.numbers.push(event.sequence_number);
    this.text += event.delta ?? "";
  }
  snapshot(answer: Answer) {
    this.snapshots.push(answer);
  }
  lost() {
    this.links.push("lost");
  }
  back() {
    this.links.push("back");
  }
}

const cut = () => new ConnectionLost("cut");
const never = new AbortController().signal;
const all = log().map((event) => event.sequence_number);

async function read(
  server: Server,
  start = { first: null as Response | null, id: ID as string | null },
) {
  const reader = new Reader();
  await follow(server, start, reader, never);
  return reader;
}

describe("judge", () => {
  it.each([
    [null, 0, "take"],
    [null, 1, "gap"],
    [4, 5, "take"],
    [4, 4, "duplicate"],
    [4, 0, "duplicate"],
    [4, 6, "gap"],
  ] as const)("after %s comes %s: %s", (last, next, verdict) => {
    expect(judge(last, next)).toBe(verdict);
  });
});

describe("follow", () => {
  it("reads a whole answer over one connection", async () => {
    const server = new Server(() => ({ events: log() }));
    const reader = await read(server);
    expect(reader.text).toBe(TEXT);
    expect(server.asked).toEqual([null]);
  });

  it.each([1, 2, 3, 7, 20])("reads the same bytes when cut after every %s events", async (each) => {
    const server = new Server((after) => {
      const from = after === null ? 0 : after + 1;
      return { events: log().slice(from, from + each), error: cut() };
    });
    const reader = await read(server);
    expect(reader.text).toBe(TEXT);
    expect(reader.numbers).toEqual(all);
    expect(reader.links).toEqual([]);
  });

  it("takes each event once when the server sends too much again", async () => {
    const server = new Server((after) => ({
      events: log().slice(Math.max(0, (after ?? -1) - 4), (after ?? -1) + 9),
    }));
    const reader = await read(server);
    expect(reader.numbers).toEqual(all);
  });

  it("never takes an event after a gap, but asks again from the last one", async () => {
    const server = new Server((after, times) => {
      const events = log().slice(after === null ? 0 : after + 1);
      return {
        events: times === 1 ? events.filter((event) => event.sequence_number !== 3) : events,
      };
    });
    const reader = await read(server);
    expect(server.asked).toEqual([null, 2]);
    expect(reader.numbers).toEqual(all);
  });

  it("attaches to the request that opened the run, then resumes what that one lost", async () => {
    const server = new Server((after) => ({ events: log().slice((after ?? -1) + 1) }));
    const first = server.connection({ events: log().slice(0, 5), error: cut() });
    const reader = await read(server, { first, id: null });
    expect(server.asked).toEqual([4]);
    expect(reader.text).toBe(TEXT);
  });

  it("gives up at once when the run was never named", async () => {
    const server = new Server(() => ({ events: log() }));
    const first = server.connection({ events: [], error: cut() });
    await expect(read(server, { first, id: null })).rejects.toBeInstanceOf(ConnectionLost);
    expect(server.asked).toEqual([]);
  });

  it("resumes a run that only the head of the first answer named", async () => {
    const server = new Server((after) => ({ events: log().slice((after ?? -1) + 1) }));
    const first = server.connection({ events: [], error: cut() }, { "x-response-id": ID });
    const reader = await read(server, { first, id: null });
    expect(server.asked).toEqual([null]);
    expect(reader.text).toBe(TEXT);
  });

  it("says that the connection is lost only when a first new attempt failed, and when it is back", async () => {
    const server = new Server((after, times) =>
      times === 1
        ? { events: log().slice(0, 3), error: cut() }
        : times < 4
          ? cut()
          : { events: log().slice((after ?? -1) + 1) },
    );
    const reader = await read(server);
    expect(reader.links).toEqual(["lost", "lost", "back"]);
    expect(server.waited).toEqual([500, 1000]);
    expect(reader.text).toBe(TEXT);
  });

  it("waits at least as long as a busy server asks for", async () => {
    const busy = new ApiError("busy", 503, "shutting_down", null, null, 7);
    const server = new Server((_, times) => (times === 1 ? busy : { events: log() }));
    await read(server);
    expect(server.waited).toEqual([7000]);
  });

  it("takes the stored answer when nothing is left to send", async () => {
    const server = new Server(() => ({ events: [], status: 204 }));
    const reader = await read(server);
    expect(reader.snapshots.map((answer) => answer.status)).toEqual(["completed"]);
  });

  it("takes the stored answer when the stream is gone", async () => {
    const server = new Server(() => new ApiError("gone", 404, "not_found", null, null, null));
    const reader = await read(server);
    expect(reader.snapshots).toHaveLength(1);
  });

  it("passes a refusal on", async () => {
    const refused = new ApiError("no", 401, "expired_session", null, null, null);
    await expect(read(new Server(() => refused))).rejects.toBe(refused);
  });

  it("ends after a bounded number of attempts that brought nothing", async () => {
    const server = new Server(() => cut());
    await expect(read(server)).rejects.toBeInstanceOf(ConnectionLost);
    expect(server.asked).toHaveLength(RECONNECT_ATTEMPTS_MAX + 1);
    expect(Math.max(...server.waited)).toBe(10_000);
  });
});

describe("backoffMs", () => {
  it("begins at once, doubles, and stays between half and all of a bounded wait", () => {
    expect(backoffMs(1, 0.5)).toBe(0);
    for (let attempt = 2; attempt < 40; attempt += 1) {
      const most = Math.min(10_000, 500 * 2 ** (attempt - 2));
      expect(backoffMs(attempt, 0)).toBe(most / 2);
      expect(backoffMs(attempt, 1)).toBe(most);
    }
  });
});
