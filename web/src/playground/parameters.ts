// The parameters of a run as a person types them, and their ranges. Pure: typed text in, a part of
// the request or the field at fault out.
import type { CompletionRequest } from "../api/wire";

/** Typed text per parameter; empty means that the request does not name it. */
export interface Parameters {
  temperature: string;
  top_p: string;
  top_k: string;
  max_completion_tokens: string;
  seed: string;
  min_p: string;
  min_tokens: string;
  frequency_penalty: string;
  presence_penalty: string;
  repetition_penalty: string;
  stop: string[];
}

export type NumberName = Exclude<keyof Parameters, "stop">;

export interface Range {
  low: number;
  high: number;
  whole: boolean;
  /** The step of the slider; absent where a slider makes no sense. */
  step?: number;
  /** What the slider shows when the field is empty. */
  unset?: number;
}

export const STOP_TEXTS_MAX = 4;

export const RANGES: Record<NumberName, Range> = {
  temperature: { low: 0, high: 2, whole: false, step: 0.05, unset: 1 },
  top_p: { low: 0.01, high: 1, whole: false, step: 0.01, unset: 1 },
  top_k: { low: 0, high: 1_000_000, whole: true },
  max_completion_tokens: { low: 1, high: 1_000_000, whole: true },
  seed: { low: -Number.MAX_SAFE_INTEGER, high: Number.MAX_SAFE_INTEGER, whole: true },
  min_p: { low: 0, high: 1, whole: false, step: 0.01, unset: 0 },
  min_tokens: { low: 0, high: 1_000_000, whole: true },
  frequency_penalty: { low: -2, high: 2, whole: false, step: 0.05, unset: 0 },
  presence_penalty: { low: -2, high: 2, whole: false, step: 0.05, unset: 0 },
  repetition_penalty: { low: 0.01, high: 2, whole: false, step: 0.01, unset: 1 },
};

/** Small models wander at the API's own default of 1; these suit them and hurt no larger one. */
export const DEFAULTS: Parameters = {
  temperature: "0.2",
  top_p: "0.9",
  top_k: "",
  max_completion_tokens: "512",
  seed: "",
  min_p: "",
  min_tokens: "",
  frequency_penalty: "",
  presence_penalty: "",
  repetition_penalty: "",
  stop: [],
};

/** True when a typed value is empty or a number in its range. */
export function fits(name: NumberName, typed: string): boolean {
  if (typed.trim() === "") return true;
  const { low, high, whole } = RANGES[name];
  const value = Number(typed);
  return (
    Number.isFinite(value) && value >= low && value <= high && (!whole || Number.isInteger(value))
  );
}

/** A typed stop text with its \n, \t and \\ read as what they stand for. */
export function readStop(typed: string): string {
  const meant: Record<string, string> = { n: "\n", t: "\t", "\\": "\\" };
  return typed.replace(/\\(.)/g, (whole, letter: string) => meant[letter] ?? whole);
}

export type Sampling = Pick<CompletionRequest, NumberName | "stop">;

/** The part of the request that the parameters make, or the first field that is out of range. */
export function readParameters(
  typed: Parameters,
): { sampling: Sampling; fault: null } | { sampling: null; fault: NumberName } {
  const sampling: Sampling = {};
  for (const name of Object.keys(RANGES) as NumberName[]) {
    if (!fits(name, typed[name])) return { sampling: null, fault: name };
    if (typed[name].trim() !== "") sampling[name] = Number(typed[name]);
  }
  const stop = typed.stop.filter((text) => text !== "").map(readStop);
  if (stop.length > 0) sampling.stop = stop;
  return { sampling, fault: null };
}

/** Stored parameters as far as they can still be understood. */
export function restoreParameters(stored: unknown): Parameters {
  const from = (stored ?? {}) as Partial<Record<keyof Parameters, unknown>>;
  const restored = { ...DEFAULTS };
  for (const name of Object.keys(RANGES) as NumberName[]) {
    const value = from[name];
    if (typeof value === "string") restored[name] = value;
  }
  if (Array.isArray(from.stop)) {
    restored.stop = from.stop
      .filter((text): text is string => typeof text === "string")
      .slice(0, STOP_TEXTS_MAX);
  }
  return restored;
}
