// How much of the model's context the script fills. Exact right after an answer, when the server has
// counted; an estimate while a person edits, because the page has no tokenizer.
import type { ContextUse } from "../parts/gauge";
import type { Script } from "./script";

/** English text in common tokenizers; corrected by the last counted prompt. */
const CHARACTERS_PER_TOKEN = 4;
/** What a chat template adds around a turn, about. */
const TOKENS_PER_TURN = 5;

export interface Counted {
  /** The characters and turns that were counted, and the tokens they came to. */
  characters: number;
  turns: number;
  tokens: number;
}

/** A stored count; null where it cannot be understood. */
export function restoreCounted(stored: unknown): Counted | null {
  const { characters, turns, tokens } = (stored ?? {}) as Record<string, unknown>;
  if (typeof characters !== "number" || typeof turns !== "number") return null;
  return typeof tokens === "number" ? { characters, turns, tokens } : null;
}

export function measure(script: Script, draft: string): { characters: number; turns: number } {
  const texts = [script.system, ...script.turns.map((turn) => turn.content), draft].filter(
    (text) => text !== "",
  );
  return { characters: texts.reduce((sum, text) => sum + text.length, 0), turns: texts.length };
}

/** The use of the context; exact only when the text is what the server counted. */
export function contextUse(
  size: { characters: number; turns: number },
  counted: Counted | null,
  window: number | null,
): ContextUse {
  if (counted !== null && counted.characters === size.characters && counted.turns === size.turns) {
    return { tokens: counted.tokens, exact: true, window };
  }
  const base = counted ?? { characters: 0, turns: 0, tokens: 0 };
  const more =
    (size.characters - base.characters) / CHARACTERS_PER_TOKEN +
    (size.turns - base.turns) * TOKENS_PER_TURN;
  return { tokens: Math.max(0, Math.round(base.tokens + more)), exact: size.turns === 0, window };
}
