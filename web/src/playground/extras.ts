// What a request may ask for beside numbers: the form of the answer, tools, log probabilities, a bias
// of tokens. As a person writes it, and as a part of the request. Pure.
import type { CompletionRequest } from "../api/wire";
import { type Mistake, readBias, readSchema, readTools } from "./checks";

export const OUTPUTS = ["text", "json_object", "json_schema"] as const;
export type Output = (typeof OUTPUTS)[number];
export const TOOL_CHOICES = ["auto", "none", "required"] as const;
export type ToolChoice = (typeof TOOL_CHOICES)[number];
export const LOGPROBS_MAX = 20;

export interface Extras {
  output: Output;
  schema: string;
  tools: string;
  toolChoice: ToolChoice;
  /** How many likely tokens are told for each place; "" asks for none. */
  logprobs: string;
  bias: string;
}

export const NO_EXTRAS: Extras = {
  output: "text",
  schema: "",
  tools: "",
  toolChoice: "auto",
  logprobs: "",
  bias: "",
};

export const SAMPLE_SCHEMA = `{
  "type": "object",
  "properties": {
    "answer": { "type": "string" },
    "certain": { "type": "boolean" }
  },
  "required": ["answer", "certain"],
  "additionalProperties": false
}`;

export const SAMPLE_TOOLS = `[
  {
    "type": "function",
    "function": {
      "name": "get_weather",
      "description": "The weather of a place now.",
      "parameters": {
        "type": "object",
        "properties": { "place": { "type": "string" } },
        "required": ["place"]
      }
    }
  }
]`;

type Part = Pick<
  CompletionRequest,
  "response_format" | "tools" | "tool_choice" | "logprobs" | "top_logprobs" | "logit_bias"
>;
export type Written = "schema" | "tools" | "bias" | "logprobs";

export interface ReadExtras {
  part: Part;
  mistakes: Partial<Record<Written, Mistake>>;
}

function readForm(extras: Extras, read: ReadExtras): void {
  if (extras.output === "json_object") read.part.response_format = { type: "json_object" };
  if (extras.output !== "json_schema") return;
  const { value, mistake } = readSchema(extras.schema);
  if (mistake !== null) read.mistakes.schema = mistake;
  else {
    const json_schema = { name: "answer", schema: value, strict: true };
    read.part.response_format = { type: "json_schema", json_schema };
  }
}

function readToolsInto(extras: Extras, read: ReadExtras): void {
  if (extras.tools.trim() === "") return;
  const { value, mistake } = readTools(extras.tools);
  if (mistake !== null) read.mistakes.tools = mistake;
  else if (value.length > 0) {
    read.part.tools = value;
    if (extras.toolChoice !== "auto") read.part.tool_choice = extras.toolChoice;
  }
}

/** The part of the request, and what is wrong with what was written. */
export function readExtras(extras: Extras): ReadExtras {
  const read: ReadExtras = { part: {}, mistakes: {} };
  readForm(extras, read);
  readToolsInto(extras, read);
  if (extras.bias.trim() !== "") {
    const { value, mistake } = readBias(extras.bias);
    if (mistake !== null) read.mistakes.bias = mistake;
    else read.part.logit_bias = value;
  }
  if (extras.logprobs.trim() !== "") {
    const top = Number(extras.logprobs);
    if (!Number.isInteger(top) || top < 0 || top > LOGPROBS_MAX) {
      read.mistakes.logprobs = { line: null, message: `0–${LOGPROBS_MAX}` };
    } else {
      read.part.logprobs = true;
      read.part.top_logprobs = top;
    }
  }
  return read;
}

/** Stored extras as far as they can still be understood. */
export function restoreExtras(stored: unknown): Extras {
  const from = (stored ?? {}) as Partial<Record<keyof Extras, unknown>>;
  const text = (name: keyof Extras): string => {
    const value = from[name];
    return typeof value === "string" ? value : "";
  };
  return {
    output: OUTPUTS.find((each) => each === from.output) ?? "text",
    schema: text("schema"),
    tools: text("tools"),
    toolChoice: TOOL_CHOICES.find((each) => each === from.toolChoice) ?? "auto",
    logprobs: text("logprobs"),
    bias: text("bias"),
  };
}
