// A chat completion, followed to its end. The connection is the run: aborting it stops the
// generation on the server, and what was said until then stays in the store. A polite stop goes
// first, because the stream then still brings what was counted and what it cost.
import { ApiError, ConnectionLost, errorFromBody, isAbort } from "../api/errors";
import { readEvents } from "../api/sse";
import type { CompletionChunk } from "../api/wire";
import { append, type Ending, EVENTS_KEPT_MAX, end, meterOfChunk, newRun, note } from "./run";
import type { RunStore } from "./store";

export interface Completion {
  id: string;
  stop(): void;
  /** Settles when the run has ended, however it ended; never rejects. */
  ended: Promise<void>;
}

/** How long the server may take to end a stream that it was asked to stop. */
const STOP_MS = 3000;

/**
 * Begin a run from a request that is sent here; returns at once.
 * stop: asks the server to end the request with that id; rejects when it cannot.
 */
export function complete(
  runs: RunStore,
  id: string,
  send: (signal: AbortSignal) => Promise<Response>,
  stop: (requestId: string) => Promise<unknown> = () => Promise.reject(new Error("no stop")),
  /** What the answer has already, when an earlier one is continued. */
  before: { text: string; tokenIds: readonly number[] } | null = null,
): Completion {
  const abort = new AbortController();
  let requestId: string | null = null;
  const run = newRun(id, runs.now());
  run.trace.tokenIds.push(...(before?.tokenIds ?? []));
  runs.begin({ ...run, text: before?.text ?? "" });
  const sendAndNote = async (signal: AbortSignal) => {
    const response = await send(signal);
    requestId = response.headers.get("x-request-id");
    return response;
  };
  const ended = drive(runs, id, sendAndNote, abort.signal).then((ending) =>
    runs.change(id, (run) => end(run, run.stopping ? stopped(ending) : ending, runs.now())),
  );
  return {
    id,
    stop() {
      runs.change(id, (run) => ({ ...run, stopping: run.ending === null }));
      if (requestId === null) return abort.abort();
      setTimeout(() => abort.abort(), STOP_MS);
      stop(requestId).catch(() => abort.abort());
    },
    ended,
  };
}

/** An end that the person wished for, unless the answer was complete just before. */
function stopped(ending: Ending): Ending {
  return ending.kind === "finished" && ending.reason !== "abort" ? ending : { kind: "stopped" };
}

async function drive(
  runs: RunStore,
  id: string,
  send: (signal: AbortSignal) => Promise<Response>,
  signal: AbortSignal,
): Promise<Ending> {
  let reason: string | null = null;
  try {
    const response = await send(signal);
    for await (const event of readEvents(response)) {
      const run = runs.get(id);
      if (run !== undefined && run.trace.events.length < EVENTS_KEPT_MAX) {
        run.trace.events.push({ afterMs: runs.now() - run.askedAt, data: event.data });
      }
      if (event.data === "[DONE]") return { kind: "finished", reason: reason ?? "stop" };
      const chunk = parse(event.data, response.headers.get("x-request-id"));
      reason = chunk.choices[0]?.finish_reason ?? reason;
      runs.change(id, (run) => take(run, chunk, runs.now()));
    }
    throw new ConnectionLost("The stream ended before its last event.");
  } catch (error) {
    if (signal.aborted || isAbort(error)) return { kind: "stopped" };
    if (error instanceof ApiError || error instanceof ConnectionLost) {
      return { kind: "failed", error };
    }
    throw error;
  }
}

function take(run: Parameters<typeof append>[0], chunk: CompletionChunk, now: number) {
  note(run.trace, chunk);
  const delta = chunk.choices[0]?.delta;
  const longer = append(run, delta?.content ?? "", now);
  // A call or a thought is a first sign of life too, and must be drawn.
  if (longer === run && (delta?.tool_calls?.length || delta?.reasoning_content)) {
    return { ...run, firstTokenAt: run.firstTokenAt ?? now, lastTokenAt: now };
  }
  if (chunk.prompt_progress) {
    const { processed, total, place } = chunk.prompt_progress;
    return place === undefined
      ? { ...longer, place: null, reading: { processed, total } }
      : { ...longer, place };
  }
  if (!chunk.usage && !chunk.timings && !chunk.cost) return longer;
  return { ...longer, meter: { ...longer.meter, ...meterOfChunk(chunk) } };
}

function parse(data: string, requestId: string | null): CompletionChunk {
  let value: unknown;
  try {
    value = JSON.parse(data);
  } catch {
    throw new ConnectionLost("An event was not JSON.");
  }
  if (typeof value === "object" && value !== null && "error" in value) {
    throw errorFromBody(value, 0, requestId, null);
  }
  return value as CompletionChunk;
}
