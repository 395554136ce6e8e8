// A script as a stored prompt, and a stored prompt as a script. Pure.
import type { PromptContentBody } from "../../../docs/reference/openapi";
import { newId } from "../parts/identity";
import { DEFAULTS, fits, type Parameters } from "./parameters";
import type { Script, Turn } from "./script";
import { namesIn } from "./variables";

/** The stored prompt that a script came from. */
export interface Origin {
  id: string;
  name: string;
  version: number;
  /** The content as it was stored, to tell whether the script has changed since. */
  saved: string;
}

const typed = (name: "temperature" | "top_p" | "max_completion_tokens", from: Parameters) =>
  from[name].trim() !== "" && fits(name, from[name]) ? { value: Number(from[name]) } : null;

/** What would be stored of a script. Empty turns and calls of tools are no part of a prompt. */
export function contentOf(script: Script, parameters: Parameters): PromptContentBody {
  const messages = script.turns.flatMap(({ role, content }) =>
    (role === "user" || role === "assistant") && content.trim() !== "" ? [{ role, content }] : [],
  );
  return {
    instructions: script.system,
    messages,
    variables: namesIn({ ...script, turns: messages as Turn[] }, "").map((name) => ({ name })),
    temperature: typed("temperature", parameters)?.value ?? null,
    top_p: typed("top_p", parameters)?.value ?? null,
    max_output_tokens: typed("max_completion_tokens", parameters)?.value ?? null,
  };
}

/** The text that says whether two contents are the same to a person. */
export const fingerprint = (content: PromptContentBody): string =>
  JSON.stringify([
    content.instructions ?? "",
    (content.messages ?? []).map((each) => [each.role, each.content]),
    content.temperature ?? null,
    content.top_p ?? null,
    content.max_output_tokens ?? null,
  ]);

/** The script and the parameters of a stored content. */
export function scriptOf(content: PromptContentBody): { script: Script; parameters: Parameters } {
  const turns = (content.messages ?? []).flatMap((each): Turn[] =>
    each.role === "user" || each.role === "assistant"
      ? [{ id: newId(), role: each.role, content: each.content }]
      : [],
  );
  const number = (value: number | null | undefined) => (value == null ? "" : String(value));
  return {
    script: { system: content.instructions ?? "", turns },
    parameters: {
      ...DEFAULTS,
      temperature: number(content.temperature),
      top_p: number(content.top_p),
      max_completion_tokens: number(content.max_output_tokens) || DEFAULTS.max_completion_tokens,
    },
  };
}

export function restoreOrigin(stored: unknown): Origin | null {
  const from = (stored ?? {}) as Partial<Origin>;
  const whole =
    typeof from.id === "string" &&
    typeof from.name === "string" &&
    typeof from.version === "number" &&
    typeof from.saved === "string";
  return whole ? (from as Origin) : null;
}
