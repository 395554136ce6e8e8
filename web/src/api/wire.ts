// The server's words, as far as the page uses them. Times are Unix seconds, money is integer nanos.
import type { ConversationBody, SessionBody } from "../../../docs/reference/openapi";

export interface Cost {
  nanos: number;
  currency: string;
}

/** How long each part took; our extension of the last event, kept with a response. */
export interface Timings {
  /** Absent where the model server does not tell. */
  queue_ms?: number;
  first_token_ms: number;
  total_ms: number;
}

export type Session = SessionBody;

export interface Model {
  id: string;
  owned_by: string;
  context_window?: number;
}

export interface PriceBook {
  currency: string;
  prices: {
    model: string;
    input_nanos_per_million: number;
    cached_input_nanos_per_million: number;
    output_nanos_per_million: number;
  }[];
}

export interface Page<T> {
  data: T[];
  has_more: boolean;
  last_id: string | null;
}

export type ScriptRole = "system" | "user" | "assistant" | "tool";

export interface ToolCall {
  id: string;
  type: "function";
  function: { name: string; arguments: string };
}

export interface ScriptMessage {
  role: ScriptRole;
  content: string;
  tool_calls?: ToolCall[];
  tool_call_id?: string;
}

export interface ResponseFormat {
  type: "json_object" | "json_schema";
  json_schema?: { name: string; schema: unknown; strict?: boolean };
}

export interface CompletionRequest {
  model: string;
  messages: ScriptMessage[];
  temperature?: number;
  top_p?: number;
  top_k?: number;
  min_p?: number;
  seed?: number;
  max_completion_tokens?: number;
  min_tokens?: number;
  frequency_penalty?: number;
  presence_penalty?: number;
  repetition_penalty?: number;
  stop?: string[];
  logit_bias?: Record<string, number>;
  response_format?: ResponseFormat;
  tools?: unknown[];
  tool_choice?: unknown;
  logprobs?: boolean;
  top_logprobs?: number;
  return_token_ids?: boolean;
  return_progress?: boolean;
  continue_token_ids?: number[];
}

export interface LikelyToken {
  token: string;
  logprob: number;
}

export interface TokenLogprob extends LikelyToken {
  top_logprobs: LikelyToken[];
}

/** A part of a call of a tool; the parts with one index belong together. */
export interface ToolCallPiece {
  index?: number;
  id?: string | null;
  function?: { name?: string | null; arguments?: string | null };
}

export interface CompletionChunk {
  id: string;
  choices: {
    delta: {
      content?: string | null;
      reasoning_content?: string | null;
      tool_calls?: ToolCallPiece[] | null;
    };
    finish_reason: string | null;
    logprobs?: { content: TokenLogprob[] | null } | null;
    token_ids?: number[] | null;
  }[];
  usage?: {
    prompt_tokens: number;
    completion_tokens: number;
    prompt_tokens_details?: { cached_tokens?: number } | null;
    completion_tokens_details?: { reasoning_tokens?: number } | null;
  } | null;
  timings?: Timings;
  cost?: Cost;
  prompt_progress?: { total: number; processed: number; place?: number } | null;
}

export type Conversation = Omit<ConversationBody, "object">;

export interface Item {
  type: string;
  id: string;
  role: "system" | "developer" | "user" | "assistant";
  status: "in_progress" | "completed" | "incomplete";
  /** Calls of functions have none. */
  content?: { type: string; text?: string; filename?: string | null }[];
  response_id?: string | null;
  parent_id?: string | null;
  /** For a call of a function, and for what came of it. */
  name?: string;
  arguments?: string;
  output?: string;
  /** For a summary: the last item that it stands for. */
  summary_through?: string;
}

export type ResponseStatus =
  | "queued"
  | "in_progress"
  | "completed"
  | "incomplete"
  | "cancelled"
  | "failed";

export interface Answer {
  id: string;
  status: ResponseStatus;
  model: string;
  output?: Item[];
  usage?: {
    input_tokens: number;
    output_tokens: number;
    input_tokens_details?: { cached_tokens?: number } | null;
    output_tokens_details?: { reasoning_tokens?: number } | null;
  } | null;
  error?: { code: string | null; message: string } | null;
  incomplete_details?: { reason: string | null } | null;
  cost?: Cost | null;
  timings?: Timings | null;
}

/** One event of a response's stream; only the fields that the page reads. */
export interface AnswerEvent {
  type: string;
  sequence_number: number;
  response?: Answer;
  delta?: string;
  text?: string;
  item?: Item;
  item_id?: string;
  arguments?: string;
}

export const itemText = (item: Item): string =>
  (item.content ?? []).map((part) => part.text ?? "").join("");

/** The title that a person or a model gave, else the first words of the first message. */
export const conversationTitle = ({ title, metadata }: Conversation): string =>
  title || metadata.title || "";

export const itemFiles = (item: Item): string[] =>
  (item.content ?? []).flatMap((part) =>
    part.type === "input_file" ? [part.filename ?? "—"] : [],
  );

export const answerText = (answer: Answer): string | null => {
  const messages = (answer.output ?? []).filter((item) => item.type === "message");
  return messages.length === 0 ? null : messages.map(itemText).join("");
};

export const isFinal = (status: ResponseStatus): boolean =>
  status !== "in_progress" && status !== "queued";
