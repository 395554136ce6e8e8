// The use of the model's context by a thread: the last count of the server plus an estimate of what
// is being written.
import type { Answer } from "../api/wire";
import type { Run } from "../live/run";
import type { ContextUse } from "../parts/gauge";

const CHARACTERS_PER_TOKEN = 4;

export function threadContext(
  last: Pick<Answer, "usage"> | undefined,
  run: Run | undefined,
  draft: string,
  window: number | null,
): ContextUse {
  const { inputTokens, outputTokens } = run?.meter ?? {};
  const counted =
    inputTokens !== undefined && outputTokens !== undefined
      ? inputTokens + outputTokens
      : last?.usage
        ? last.usage.input_tokens + last.usage.output_tokens
        : 0;
  const open = run?.ending === null ? run.pieces : 0;
  const more = open + Math.ceil(draft.length / CHARACTERS_PER_TOKEN);
  return { tokens: counted + more, exact: more === 0, window };
}
