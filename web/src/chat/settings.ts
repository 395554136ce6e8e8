// What one conversation asks of the model, kept in its metadata so that every device has the same.
// Pure. Metadata values are texts of limited length.
import type { Conversation } from "../api/wire";

export const INSTRUCTIONS_CHARACTERS_MAX = 512;

export interface Settings {
  model: string;
  instructions: string;
  temperature: string;
  top_p: string;
  max_output_tokens: string;
}

/** Small models wander at the API's own default of 1, and may repeat themselves without an end. */
export const USUAL: Settings = {
  model: "",
  instructions: "",
  temperature: "0.2",
  top_p: "0.9",
  max_output_tokens: "2048",
};

const NAMES = Object.keys(USUAL) as (keyof Settings)[];
const RANGES = {
  temperature: [0, 2],
  top_p: [0.01, 1],
  max_output_tokens: [1, 1_000_000],
} as const;
export type NumberName = keyof typeof RANGES;
export const NUMBERS = Object.keys(RANGES) as NumberName[];

export function readSettings(conversation: Pick<Conversation, "metadata"> | undefined): Settings {
  const kept = conversation?.metadata ?? {};
  const read = { ...USUAL };
  for (const name of NAMES) read[name] = kept[name] ?? USUAL[name];
  return read;
}

/** The metadata that says these settings; what is as usual is left out. */
export function writeSettings(
  metadata: Readonly<Record<string, string>>,
  settings: Settings,
): Record<string, string> {
  const next = { ...metadata };
  for (const name of NAMES) {
    if (settings[name] === USUAL[name]) delete next[name];
    else next[name] = settings[name];
  }
  return next;
}

export function fitsSetting(name: NumberName, typed: string): boolean {
  if (typed.trim() === "") return true;
  const [low, high] = RANGES[name];
  const value = Number(typed);
  const whole = name !== "max_output_tokens" || Number.isInteger(value);
  return Number.isFinite(value) && value >= low && value <= high && whole;
}

/** The fields of a request. */
export function requestSettings(settings: Settings): Record<string, unknown> {
  const fields: Record<string, unknown> = {};
  for (const name of NUMBERS) {
    const typed = settings[name].trim();
    if (typed !== "" && fitsSetting(name, typed)) fields[name] = Number(typed);
  }
  if (settings.instructions.trim() !== "") fields.instructions = settings.instructions;
  return fields;
}
