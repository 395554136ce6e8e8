// A response of the server's, followed over any number of connections. The server owns the run and
// numbers its events; this side takes each number exactly once, in order:
//   the next number is taken, an old one is dropped, and after a gap the connection is closed and
//   the stream asked for again from the last number taken.
// It does not know what the events mean, except which one is the last.
import { ApiError, ConnectionLost, isAbort } from "../api/errors";
import type { SseEvent } from "../api/sse";
import { type Answer, type AnswerEvent, isFinal } from "../api/wire";

export interface Transport {
  /** The stream strictly after an event; all of it when null. Throws ApiError or ConnectionLost. */
  resume(id: string, after: number | null, signal: AbortSignal): Promise<Response>;
  read(response: Response): AsyncIterable<SseEvent>;
  answer(id: string): Promise<Answer>;
  /** Wait, or less when there is a sign that the network is back. Rejects when aborted. */
  wait(milliseconds: number, signal: AbortSignal): Promise<void>;
  /** Uniform in [0, 1). */
  random(): number;
}

export interface Follower {
  event(event: AnswerEvent): void;
  /** The final state when the stream itself can no longer be had. */
  snapshot(answer: Answer): void;
  /** The connection is gone; the next attempt is after this many milliseconds. */
  lost(againInMs: number): void;
  /** Events flow again after `lost`. */
  back(): void;
}

export const RECONNECT_ATTEMPTS_MAX = 60;
const RECONNECT_MS_FIRST = 500;
const RECONNECT_MS_MAX = 10_000;

const LAST_TYPES = new Set(["response.completed", "response.incomplete", "response.failed"]);
export const isLast = (event: AnswerEvent): boolean => LAST_TYPES.has(event.type);

/** Milliseconds before an attempt: none before the first, then doubling, with jitter above a half. */
export function backoffMs(attempt: number, random: number): number {
  if (attempt <= 1) return 0;
  const full = Math.min(RECONNECT_MS_MAX, RECONNECT_MS_FIRST * 2 ** (attempt - 2));
  return Math.round(full * (0.5 + random / 2));
}

/** What to do with an event's number when `last` was the last one taken. */
export function judge(last: number | null, next: number): "take" | "duplicate" | "gap" {
  if (last === null) return next === 0 ? "take" : "gap";
  if (next <= last) return "duplicate";
  return next === last + 1 ? "take" : "gap";
}

const worthRetrying = (error: unknown): boolean =>
  error instanceof ConnectionLost ||
  (error instanceof ApiError &&
    (error.status === 429 || error.status >= 500 || error.status === 0));

export interface Start {
  /** The answer to the request that opened the run, when it was opened here. */
  first: Response | null;
  /** The run's id; may be unknown only when `first` is given. */
  id: string | null;
}

/**
 * Follow a response to its last event. Rejects with ApiError when the server refuses, with
 * ConnectionLost when every attempt failed or the run has no id yet, and with AbortError.
 */
export async function follow(
  transport: Transport,
  start: Start,
  follower: Follower,
  signal: AbortSignal,
): Promise<void> {
  const place: Place = { id: start.id, last: null, attempt: 0, saidLost: false };
  let connection = start.first;
  for (;;) {
    try {
      connection ??= await reopen(transport, place, signal);
      place.id ??= connection.headers.get("x-response-id");
      if (await drain(transport, connection, place, follower, signal)) return;
      throw new ConnectionLost("The stream ended before its last event.");
    } catch (error) {
      if (signal.aborted || isAbort(error)) throw error;
      if (place.id === null) throw error;
      if (error instanceof ApiError && (error.status === 404 || error.status === 410)) {
        return await settle(transport, place.id, follower, error);
      }
      if (!worthRetrying(error) || place.attempt >= RECONNECT_ATTEMPTS_MAX) throw error;
      connection = null;
      await pause(transport, place, follower, error, signal);
    }
  }
}

interface Place {
  id: string | null;
  last: number | null;
  attempt: number;
  saidLost: boolean;
}

function reopen(transport: Transport, place: Place, signal: AbortSignal): Promise<Response> {
  if (place.id === null) throw new ConnectionLost("The run has no name yet.");
  return transport.resume(place.id, place.last, signal);
}

/** Take events until the last one (true) or the end of the connection (false). */
async function drain(
  transport: Transport,
  connection: Response,
  place: Place,
  follower: Follower,
  signal: AbortSignal,
): Promise<boolean> {
  if (connection.status === 204) {
    const answer = await transport.answer(place.id as string);
    if (!isFinal(answer.status)) return false;
    follower.snapshot(answer);
    return true;
  }
  for await (const raw of transport.read(connection)) {
    signal.throwIfAborted();
    const event = parse(raw.data);
    if (event === null) continue;
    const verdict = judge(place.last, event.sequence_number);
    if (verdict === "duplicate") continue;
    if (verdict === "gap") throw new ConnectionLost("An event is missing.");
    place.last = event.sequence_number;
    place.id = event.response?.id ?? place.id;
    place.attempt = 0;
    if (place.saidLost) {
      place.saidLost = false;
      follower.back();
    }
    follower.event(event);
    if (isLast(event)) return true;
  }
  return false;
}

/** An event without a number is not part of the log: `[DONE]`, or an error of this one connection. */
function parse(data: string): AnswerEvent | null {
  if (data === "[DONE]") return null;
  let value: unknown;
  try {
    value = JSON.parse(data);
  } catch {
    throw new ConnectionLost("An event was not JSON.");
  }
  const event = value as Partial<AnswerEvent> | null;
  if (typeof event?.sequence_number !== "number" || typeof event.type !== "string") {
    throw new ConnectionLost("An event had no number.");
  }
  return event as AnswerEvent;
}

/** The stream is gone; the stored answer, where there is one, is the truth. */
async function settle(
  transport: Transport,
  id: string,
  follower: Follower,
  gone: ApiError,
): Promise<void> {
  const answer = await transport.answer(id);
  if (!isFinal(answer.status)) throw gone;
  follower.snapshot(answer);
}

async function pause(
  transport: Transport,
  place: Place,
  follower: Follower,
  error: unknown,
  signal: AbortSignal,
): Promise<void> {
  place.attempt += 1;
  const asked = error instanceof ApiError ? (error.retryAfterSeconds ?? 0) * 1000 : 0;
  const milliseconds = Math.max(asked, backoffMs(place.attempt, transport.random()));
  if (milliseconds === 0) return;
  place.saidLost = true;
  follower.lost(milliseconds);
  await transport.wait(milliseconds, signal);
}
