// A live run: one generation as the page follows it. Pure state; who feeds it is in complete.ts and
// follow.ts, when it is shown is in store.ts.
import type { ApiError, ConnectionLost } from "../api/errors";
import type { Answer, CompletionChunk, Cost, Timings, TokenLogprob, ToolCall } from "../api/wire";

/** What was used and how fast, for the line under a reply. Absent parts are unknown. */
export interface Meter {
  inputTokens?: number;
  cachedTokens?: number;
  outputTokens?: number;
  reasoningTokens?: number;
  timings?: Timings;
  cost?: Cost;
  /** What the page itself saw of a run that was cut before the server could say what it counted. */
  seen?: { firstTokenMs: number; pieces: number };
}

/** How a run ended. `stopped` is the person's own wish; the text so far is kept in every case. */
export type Ending =
  | { kind: "finished"; reason: string }
  | { kind: "stopped" }
  | { kind: "failed"; error: ApiError | ConnectionLost };

export interface Link {
  /** lost: trying again at `againAt`. back: caught up, said for a short while. */
  state: "open" | "lost" | "back";
  againAt: number;
}

/** What an answer is made of beside its text. One object for the whole run, which only grows. */
export interface Trace {
  reasoning: string;
  tokens: TokenLogprob[];
  tokenIds: number[];
  calls: ToolCall[];
  /** The events as they came, with the milliseconds since the question; the first ones only. */
  events: { afterMs: number; data: string }[];
}

export const EVENTS_KEPT_MAX = 2_000;

export interface Run {
  id: string;
  trace: Trace;
  text: string;
  /** Milliseconds of the page's clock. */
  askedAt: number;
  firstTokenAt: number | null;
  lastTokenAt: number | null;
  endedAt: number | null;
  /** Pieces of text received: close to the number of tokens while nothing exact is known. */
  pieces: number;
  /** How much of the prompt the model server has read, while it tells. */
  reading: { processed: number; total: number } | null;
  /** Its place in line at the model server, while it waits there and the server tells; 1 is next. */
  place: number | null;
  stopping: boolean;
  link: Link;
  meter: Meter;
  ending: Ending | null;
  responseId: string | null;
}

export const newRun = (id: string, askedAt: number, responseId: string | null = null): Run => ({
  id,
  trace: { reasoning: "", tokens: [], tokenIds: [], calls: [], events: [] },
  text: "",
  askedAt,
  firstTokenAt: null,
  lastTokenAt: null,
  endedAt: null,
  pieces: 0,
  reading: null,
  place: null,
  stopping: false,
  link: { state: "open", againAt: 0 },
  meter: {},
  ending: null,
  responseId,
});

/** Add a piece of text. An empty one changes nothing: it is not a token. */
export function append(run: Run, piece: string, now: number): Run {
  if (piece === "") return run;
  return {
    ...run,
    text: run.text + piece,
    pieces: run.pieces + 1,
    firstTokenAt: run.firstTokenAt ?? now,
    lastTokenAt: now,
  };
}

/** Note a piece of what an answer is made of beside its text; a sign of life, as a token is. */
export function trace(run: Run, change: (trace: Trace) => void, now: number): Run {
  change(run.trace);
  return { ...run, firstTokenAt: run.firstTokenAt ?? now, lastTokenAt: now };
}

/** Note what a chunk brings beside text. */
export function note(trace: Trace, chunk: CompletionChunk): void {
  const choice = chunk.choices[0];
  if (choice === undefined) return;
  trace.reasoning += choice.delta.reasoning_content ?? "";
  trace.tokens.push(...(choice.logprobs?.content ?? []));
  trace.tokenIds.push(...(choice.token_ids ?? []));
  for (const piece of choice.delta.tool_calls ?? []) {
    const place = piece.index ?? trace.calls.length;
    const call = trace.calls[place] ?? {
      id: "",
      type: "function",
      function: { name: "", arguments: "" },
    };
    trace.calls[place] = {
      ...call,
      id: call.id || (piece.id ?? ""),
      function: {
        name: call.function.name + (piece.function?.name ?? ""),
        arguments: call.function.arguments + (piece.function?.arguments ?? ""),
      },
    };
  }
}

/** Close a run; the first ending holds. */
export function end(run: Run, ending: Ending, now: number): Run {
  if (run.ending !== null) return run;
  return { ...run, ending, endedAt: now, stopping: false, link: { state: "open", againAt: 0 } };
}

/** The meter of a run as far as it is known: the server's counts, else what the page saw. */
export function meterOfRun(run: Run): Meter {
  if (run.meter.outputTokens !== undefined || run.firstTokenAt === null) return run.meter;
  const firstTokenMs = run.firstTokenAt - run.askedAt;
  return { ...run.meter, seen: { firstTokenMs, pieces: run.pieces } };
}

/** What the last chunk of a chat completion says about the use of tokens, time and money. */
export function meterOfChunk(chunk: CompletionChunk): Meter {
  const meter: Meter = {};
  if (chunk.usage) {
    meter.inputTokens = chunk.usage.prompt_tokens;
    meter.outputTokens = chunk.usage.completion_tokens;
    meter.cachedTokens = chunk.usage.prompt_tokens_details?.cached_tokens ?? 0;
    meter.reasoningTokens = chunk.usage.completion_tokens_details?.reasoning_tokens ?? 0;
  }
  if (chunk.timings) meter.timings = chunk.timings;
  if (chunk.cost) meter.cost = chunk.cost;
  return meter;
}

/** The same of a response of the Responses API. */
export function meterOfAnswer(answer: Answer): Meter {
  const meter: Meter = {};
  if (answer.usage) {
    meter.inputTokens = answer.usage.input_tokens;
    meter.outputTokens = answer.usage.output_tokens;
    meter.cachedTokens = answer.usage.input_tokens_details?.cached_tokens ?? 0;
    meter.reasoningTokens = answer.usage.output_tokens_details?.reasoning_tokens ?? 0;
  }
  if (answer.timings) meter.timings = answer.timings;
  if (answer.cost) meter.cost = answer.cost;
  return meter;
}

/** Tokens per second after the first one; null while there is too little to say. */
export function tokensPerSecond(meter: Meter): number | null {
  if (meter.timings === undefined || meter.outputTokens === undefined) return null;
  const seconds = (meter.timings.total_ms - meter.timings.first_token_ms) / 1000;
  const tokens = meter.outputTokens - 1;
  return seconds > 0 && tokens > 0 ? tokens / seconds : null;
}

/** A live estimate of the same, from the pieces received so far; a pause of the line is not slowness. */
export function piecesPerSecond(run: Run): number | null {
  if (run.firstTokenAt === null || run.lastTokenAt === null || run.pieces < 5) return null;
  const seconds = (run.lastTokenAt - run.firstTokenAt) / 1000;
  return seconds >= 0.25 ? (run.pieces - 1) / seconds : null;
}
