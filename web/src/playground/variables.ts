// {{names}} in a script and what stands for them. Pure.
import type { Script } from "./script";

const PLACE = /\{\{\s*([\p{L}_][\p{L}\p{N}_.-]*)\s*\}\}/gu;

export type Variables = Readonly<Record<string, string>>;

/** The names in some texts, in the order of their first use. */
export function namesInTexts(texts: readonly string[]): string[] {
  const found = texts.flatMap((text) => [...text.matchAll(PLACE)].map((match) => match[1] ?? ""));
  return [...new Set(found)];
}

export const namesIn = (script: Script, draft: string): string[] =>
  namesInTexts([script.system, ...script.turns.map((turn) => turn.content), draft]);

/** The text with every name that has a value filled in; the others stay as they are. */
export const fill = (text: string, values: Variables): string =>
  text.replace(PLACE, (whole, name: string) =>
    Object.hasOwn(values, name) ? (values[name] ?? whole) : whole,
  );

export const fillScript = (script: Script, values: Variables): Script => ({
  system: fill(script.system, values),
  turns: script.turns.map((turn) => ({ ...turn, content: fill(turn.content, values) })),
});

export function restoreVariables(stored: unknown): Variables {
  if (typeof stored !== "object" || stored === null) return {};
  return Object.fromEntries(
    Object.entries(stored).filter(
      (entry): entry is [string, string] => typeof entry[1] === "string",
    ),
  );
}
