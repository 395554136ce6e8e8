// A bench: one script with its parameters and its run. The Playground has one; comparing has up to
// four beside each other. Kept outside React so that a run goes on while another area is open, and in
// this browser's storage so that a reload loses nothing.
import type { QueryClient } from "@tanstack/react-query";
import { createContext, useContext } from "react";
import { useStore } from "zustand";
import { createStore } from "zustand/vanilla";
import { server } from "../api/server";
import type { CompletionRequest } from "../api/wire";
import { refreshSession } from "../frame/session";
import { wordCount } from "../language/format";
import { plural, t } from "../language/t";
import { type Completion, complete } from "../live/complete";
import { meterOfRun, type Run, type Trace } from "../live/run";
import { runs } from "../live/store";
import { announce } from "../parts/announcer";
import { newId } from "../parts/identity";
import { recall, recallJson, remember } from "../parts/memory";
import { endingWord } from "../parts/meter";
import { type Counted, measure, restoreCounted } from "./context";
import { type Extras, NO_EXTRAS, readExtras, restoreExtras } from "./extras";
import { DEFAULTS, type Parameters, readParameters, restoreParameters } from "./parameters";
import {
  EMPTY,
  messages,
  prepare,
  restoreScript,
  type Script,
  type Turn,
  unfinished,
} from "./script";
import { type Origin, restoreOrigin } from "./stored";
import { fillScript, restoreVariables, type Variables } from "./variables";

/** Longer answers are not continued after a reload. */
const TOKEN_IDS_KEPT_MAX = 8_192;
/** Traces of this many answers are kept for looking into. */
const TRACES_KEPT_MAX = 20;

export interface BenchState {
  script: Script;
  parameters: Parameters;
  extras: Extras;
  variables: Variables;
  /** Null means the model that the whole page uses. */
  model: string | null;
  /** The run whose answer is the last turn, while it is not yet part of the script. */
  runId: string | null;
  /** An error of the last run, until it is dismissed or the next run begins. */
  failure: unknown;
  counted: Counted | null;
  /** The stored prompt that the script came from. */
  origin: Origin | null;
}

const KEPT = ["script", "parameters", "extras", "variables", "model", "counted", "origin"] as const;

/** What answers of this visit were made of, by the turn's id; forgotten at a reload. */
export const traces = new Map<string, Trace>();

function keepTrace(id: string, trace: Trace): void {
  traces.set(id, trace);
  const oldest = traces.keys().next().value;
  if (traces.size > TRACES_KEPT_MAX && oldest !== undefined) traces.delete(oldest);
}

export class Bench {
  readonly store;
  private current: Completion | null = null;

  constructor(
    /** What its place in the storage is called; "" for the first. */
    private readonly suffix: string,
  ) {
    const stored = (name: string) => recallJson(name + suffix);
    this.store = createStore<BenchState>(() => ({
      script: restoreScript(stored("script")),
      parameters: restoreParameters(stored("parameters")),
      extras: restoreExtras(stored("extras")),
      variables: restoreVariables(stored("variables")),
      model: suffix === "" ? null : recall(`model${suffix}`),
      runId: null,
      failure: null,
      counted: restoreCounted(stored("counted")),
      origin: restoreOrigin(stored("origin")),
    }));
  }

  get state(): BenchState {
    return this.store.getState();
  }

  set(change: Partial<BenchState>): void {
    this.store.setState(change);
    for (const name of KEPT) {
      if (name in change && !(name === "model" && this.suffix === "")) {
        remember(name + this.suffix, change[name] ?? null);
      }
    }
  }

  reset(): void {
    this.set({ parameters: DEFAULTS, extras: NO_EXTRAS });
  }

  stop(): void {
    this.current?.stop();
  }

  clear(): void {
    this.stop();
    this.set({ script: EMPTY, counted: null, failure: null, origin: null });
  }

  /** The request that Run would send; null when there is nothing to answer or a field is wrong. */
  request(model: string, draft: string): CompletionRequest | null {
    const prepared = prepare(this.state.script, draft, "");
    return prepared === null ? null : this.requestOf(model, prepared);
  }

  private requestOf(model: string, script: Script): CompletionRequest | null {
    const { parameters, extras, variables } = this.state;
    const { sampling } = readParameters(parameters);
    const { part, mistakes } = readExtras(extras);
    if (sampling === null || Object.keys(mistakes).length > 0) return null;
    return { model, messages: messages(fillScript(script, variables)), ...sampling, ...part };
  }

  /** Send the script; false when there is nothing to answer or a field is out of range. */
  run(model: string, draft: string, queries: QueryClient): boolean {
    const prepared = prepare(this.state.script, draft, newId());
    const request = prepared === null ? null : this.requestOf(model, prepared);
    if (this.state.runId !== null || prepared === null || request === null) return false;
    this.begin(prepared, request, null, queries);
    return true;
  }

  /** Go on with the last answer from its very last token. */
  continue(model: string, queries: QueryClient): void {
    const { script } = this.state;
    const turn = unfinished(script);
    const tokenIds = turn?.record?.tokenIds;
    if (this.state.runId !== null || turn === null || tokenIds === undefined) return;
    const before = { ...script, turns: script.turns.slice(0, -1) };
    const request = this.requestOf(model, before);
    if (request === null) return;
    request.continue_token_ids = tokenIds;
    if (request.max_completion_tokens !== undefined) {
      // The tokens that are there count as written.
      request.max_completion_tokens += tokenIds.length;
    }
    this.begin(before, request, turn, queries);
  }

  private begin(
    script: Script,
    request: CompletionRequest,
    continued: Turn | null,
    queries: QueryClient,
  ): void {
    this.set({ script });
    const id = newId();
    this.set({ runId: id, failure: null });
    announce(t("status.answering"));
    const before = continued && {
      text: continued.content,
      tokenIds: continued.record?.tokenIds ?? [],
    };
    const started = complete(
      runs,
      id,
      (signal) =>
        server.complete({ ...request, return_token_ids: true, return_progress: true }, signal),
      server.stop,
      before,
    );
    this.current = started;
    void started.ended.then(() => {
      if (this.current === started) this.current = null;
      const ended = runs.get(id);
      if (this.state.runId === id && ended !== undefined) this.settle(ended);
      void refreshSession(queries);
    });
  }

  /** Make the ended run's text the last turn. What was said is kept, however it ended. */
  private settle(ended: Run): void {
    keepTrace(ended.id, ended.trace);
    const script = withAnswer(this.state.script, ended);
    const { inputTokens, outputTokens } = ended.meter;
    const tokens =
      inputTokens === undefined || outputTokens === undefined ? null : inputTokens + outputTokens;
    this.set({
      script,
      runId: null,
      failure: ended.ending?.kind === "failed" ? ended.ending.error : null,
      counted: tokens === null ? this.state.counted : { ...measure(script, ""), tokens },
    });
    runs.drop(ended.id);
    announce(spoken(ended));
  }

  /** The page goes away: what was said until now stays in the script. */
  keep(): void {
    const { runId, script } = this.state;
    const running = runId === null ? undefined : runs.get(runId);
    if (running === undefined) return;
    // Stopped, not failed: the broken connection that follows is the person's own doing.
    this.stop();
    if (running.text !== "") remember(`script${this.suffix}`, withAnswer(script, running));
  }
}

function withAnswer(script: Script, ended: Run): Script {
  const { calls, tokenIds } = ended.trace;
  if (ended.text === "" && calls.length === 0 && ended.ending?.kind === "failed") return script;
  const finish = ended.ending === null ? t("finish.stopped") : endingWord(ended.ending);
  const record: NonNullable<Turn["record"]> = { meter: meterOfRun(ended), finish };
  // One that ended by itself has nothing to go on with.
  const whole = ended.ending?.kind === "finished" && ended.ending.reason === "stop";
  if (!whole && tokenIds.length > 0 && tokenIds.length <= TOKEN_IDS_KEPT_MAX) {
    record.tokenIds = tokenIds;
  }
  const turn: Turn = { id: ended.id, role: "assistant", content: ended.text, record };
  if (calls.length > 0) turn.calls = calls;
  // A call waits for what the tool says: a turn for each.
  const asked = calls.map(
    (call): Turn => ({ id: newId(), role: "tool", content: "", callId: call.id }),
  );
  return { ...script, turns: [...script.turns, turn, ...asked] };
}

function spoken(ended: Run): string {
  if (ended.ending?.kind === "stopped") return t("status.stopped");
  if (ended.ending?.kind === "failed") return t("status.failed");
  return t("status.done", { words: plural("words", wordCount(ended.text)) });
}

export const COLUMNS_MAX = 4;
export const benches: readonly Bench[] = Array.from(
  { length: COLUMNS_MAX },
  (_, place) => new Bench(place === 0 ? "" : `-${place + 1}`),
);
const first = benches[0] as Bench;

const BenchContext = createContext<Bench>(first);
export const BenchProvider = BenchContext.Provider;
export const useBench = (): Bench => useContext(BenchContext);

/** The state of the bench that the component stands in. */
export function useBenchState(): BenchState {
  return useStore(useBench().store);
}

/** What all columns share: the next message, and how many columns there are. */
interface Shared {
  draft: string;
  columns: number;
}

export const desk = createStore<Shared>(() => ({
  draft: recall("script-draft") ?? "",
  columns: Math.min(COLUMNS_MAX, Math.max(1, Number(recall("columns")) || 1)),
}));

export const useDesk = (): Shared => useStore(desk);

export function setDraft(draft: string): void {
  desk.setState({ draft });
  remember("script-draft", draft);
}

/** Show so many columns; a new one begins as a copy of the first. */
export function setColumns(columns: number): void {
  const { columns: before } = desk.getState();
  for (const bench of benches.slice(before, columns)) {
    const { script, parameters, extras, variables } = first.state;
    bench.set({ script, parameters, extras, variables, failure: null, counted: null });
  }
  for (const bench of benches.slice(columns)) bench.stop();
  desk.setState({ columns });
  remember("columns", columns === 1 ? null : String(columns));
}

/** Leaving the page ends the connection and with it the run; the text so far stays in the script. */
export function keepOnLeaving(): void {
  window.addEventListener("pagehide", () => {
    for (const bench of benches) bench.keep();
  });
}
