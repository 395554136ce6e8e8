// The script of turns that the Playground edits. Pure state and its steps.
import type { ScriptMessage, ScriptRole, ToolCall } from "../api/wire";
import type { Meter } from "../live/run";

export interface Turn {
  id: string;
  role: ScriptRole;
  content: string;
  /** For an answer: what it used and the word for how it ended. */
  record?: { meter: Meter; finish: string; tokenIds?: number[] };
  /** For an answer: the tools that it calls. */
  calls?: ToolCall[];
  /** For a tool's turn: the call that it answers. */
  callId?: string;
}

export interface Script {
  system: string;
  turns: Turn[];
}

export const EMPTY: Script = { system: "", turns: [] };

export const isEmpty = (script: Script): boolean =>
  script.system === "" && script.turns.length === 0;

/**
 * The script as it stands when Run is pressed: the composer's text becomes a user turn; without one,
 * an answer at the end makes room for a new one. Null when there is nothing to answer.
 */
export function prepare(script: Script, draft: string, turnId: string): Script | null {
  const turns = [...script.turns];
  if (draft.trim() !== "") {
    turns.push({ id: turnId, role: "user", content: draft });
  } else {
    while (turns.at(-1)?.role === "assistant") turns.pop();
  }
  const last = turns.at(-1);
  if (last === undefined || last.content.trim() === "") return null;
  return { ...script, turns };
}

/** The messages of a request; empty turns are left out. */
export function messages(script: Script): ScriptMessage[] {
  const turns: Pick<Turn, "role" | "content" | "calls" | "callId">[] = script.turns;
  return [{ role: "system" as ScriptRole, content: script.system }, ...turns]
    .filter((turn) => turn.content.trim() !== "" || ("calls" in turn && turn.calls))
    .map((turn) => {
      const message: ScriptMessage = { role: turn.role, content: turn.content };
      if ("calls" in turn && turn.calls) message.tool_calls = turn.calls;
      if ("callId" in turn && turn.callId) message.tool_call_id = turn.callId;
      return message;
    });
}

/** The answer at the end that can go on from its very last token; null when there is none. */
export function unfinished(script: Script): Turn | null {
  const last = script.turns.at(-1);
  return last?.role === "assistant" && last.record?.tokenIds?.length ? last : null;
}

/** Change one turn; an answer that was edited by hand no longer is what the meter measured. */
export function edit(script: Script, id: string, change: Partial<Pick<Turn, "role" | "content">>) {
  return {
    ...script,
    turns: script.turns.map((turn) => {
      if (turn.id !== id) return turn;
      const { record: _, ...bare } = turn;
      return { ...bare, ...change };
    }),
  };
}

export const remove = (script: Script, id: string): Script => ({
  ...script,
  turns: script.turns.filter((turn) => turn.id !== id),
});

const ROLES: readonly unknown[] = ["user", "assistant", "system", "tool"];

/** A stored script as far as it can still be understood. */
export function restoreScript(stored: unknown): Script {
  const from = (stored ?? {}) as { system?: unknown; turns?: unknown };
  const turns = Array.isArray(from.turns) ? (from.turns as Partial<Turn>[]) : [];
  return {
    system: typeof from.system === "string" ? from.system : "",
    turns: turns.filter(
      (turn): turn is Turn =>
        typeof turn?.id === "string" &&
        typeof turn.content === "string" &&
        ROLES.includes(turn.role),
    ),
  };
}
