// The server's named reasons in the reader's language, beside the server's own sentence. That one is
// in English and has the numbers: English readers get it as it is, others get the reason first.
import { known, languageTag } from "./t";

/** Reasons of which the server's sentence tells only the numbers. */
const NAMED_FIRST = new Set([
  "rate_limit_requests",
  "rate_limit_input_tokens",
  "rate_limit_output_tokens",
  "rate_limit_spend",
  "concurrency_limit",
  "insufficient_quota",
  "system_overloaded",
  "queue_full",
  "model_loading",
  "upstream_unavailable",
  "upstream_failed",
  "upstream_timeout",
  "generation_failed",
  "producer_lost",
  "shutting_down",
  "conversation_busy",
]);

export const isForeign = (): boolean => languageTag() !== "en";

export const reasonWords = (code: string | null): string | null =>
  code === null ? null : known("reason", code);

/** What was refused or failed: the reason, then what the server says of it. */
export function refusal(code: string | null, own: string): string {
  const named = reasonWords(code);
  if (named === null || own === "" || own === named) return named ?? own;
  return isForeign() || NAMED_FIRST.has(code ?? "") ? `${named} ${own}` : own;
}

/** How something ended: the reason, then the detail that the server has of it. */
export function outcome(code: string | null, detail: string | null): string {
  const named = reasonWords(code);
  if (named === null || !detail) return named ?? detail ?? "";
  return `${named.replace(/[.。]$/u, "")}: ${detail}`;
}

/** Why something waits, in one sentence. told: the numbers of the server's own, in the reader's words. */
export function explained(code: string | null, own: string | null, told: string): string {
  const named = reasonWords(code);
  return (isForeign() && named !== null ? outcome(code, told) : (own ?? named)) ?? "";
}
