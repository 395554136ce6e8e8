// The Playground's state, kept outside React so that a run goes on while another area is open, and
// in this browser's storage so that a reload loses nothing.
import type { QueryClient } from "@tanstack/react-query";
import { create } from "zustand";
import { server } from "../api/server";
import { refreshSession } from "../frame/session";
import { wordCount } from "../language/format";
import { plural, t } from "../language/t";
import { type Completion, complete } from "../live/complete";
import { meterOfRun, type Run } from "../live/run";
import { runs } from "../live/store";
import { announce } from "../parts/announcer";
import { newId } from "../parts/identity";
import { recall, recallJson, remember } from "../parts/memory";
import { endingWord } from "../parts/meter";
import { type Counted, measure } from "./context";
import { DEFAULTS, type Parameters, readParameters, restoreParameters } from "./parameters";
import { EMPTY, messages, prepare, restoreScript, type Script } from "./script";

interface State {
  script: Script;
  draft: string;
  parameters: Parameters;
  /** The run whose answer is the last turn, while it is not yet part of the script. */
  runId: string | null;
  /** An error of the last run, until it is dismissed or the next run begins. */
  failure: unknown;
  counted: Counted | null;
}

export const usePlayground = create<State>(() => ({
  script: restoreScript(recallJson("script")),
  draft: recall("script-draft") ?? "",
  parameters: restoreParameters(recallJson("parameters")),
  runId: null,
  failure: null,
  counted: null,
}));

const set = usePlayground.setState;
const get = usePlayground.getState;
let current: Completion | null = null;

export function setScript(script: Script): void {
  set({ script });
  remember("script", script);
}

export function setDraft(draft: string): void {
  set({ draft });
  remember("script-draft", draft);
}

export function setParameters(parameters: Parameters): void {
  set({ parameters });
  remember("parameters", parameters);
}

export const resetParameters = () => setParameters(DEFAULTS);
export const dismissFailure = () => set({ failure: null });
export const stop = () => current?.stop();

export function clear(): void {
  stop();
  setScript(EMPTY);
  setDraft("");
  set({ counted: null, failure: null });
}

/** Send the script; false when there is nothing to answer or a parameter is out of range. */
export function run(model: string, queries: QueryClient): boolean {
  const { script, draft, parameters, runId } = get();
  const { sampling } = readParameters(parameters);
  const prepared = prepare(script, draft, newId());
  if (runId !== null || sampling === null || prepared === null) return false;
  setScript(prepared);
  setDraft("");
  const id = newId();
  set({ runId: id, failure: null });
  announce(t("status.answering"));
  const request = { model, messages: messages(prepared), ...sampling };
  const started = complete(runs, id, (signal) => server.complete(request, signal), server.stop);
  current = started;
  void started.ended.then(() => {
    if (current === started) current = null;
    const ended = runs.get(id);
    if (get().runId === id && ended !== undefined) settle(ended);
    void refreshSession(queries);
  });
  return true;
}

/** Make the ended run's text the last turn of the script. What was said is kept, however it ended. */
function settle(ended: Run): void {
  const script = withAnswer(get().script, ended);
  setScript(script);
  const { inputTokens, outputTokens } = ended.meter;
  const tokens =
    inputTokens === undefined || outputTokens === undefined ? null : inputTokens + outputTokens;
  set({
    runId: null,
    failure: ended.ending?.kind === "failed" ? ended.ending.error : null,
    counted: tokens === null ? get().counted : { ...measure(script, ""), tokens },
  });
  runs.drop(ended.id);
  announce(spoken(ended));
}

function withAnswer(script: Script, ended: Run): Script {
  if (ended.text === "" && ended.ending?.kind === "failed") return script;
  const finish = ended.ending === null ? t("finish.stopped") : endingWord(ended.ending);
  const turn = {
    id: ended.id,
    role: "assistant" as const,
    content: ended.text,
    record: { meter: meterOfRun(ended), finish },
  };
  return { ...script, turns: [...script.turns, turn] };
}

function spoken(ended: Run): string {
  if (ended.ending?.kind === "stopped") return t("status.stopped");
  if (ended.ending?.kind === "failed") return t("status.failed");
  return t("status.done", { words: plural("words", wordCount(ended.text)) });
}

/** Leaving the page ends the connection and with it the run; the text so far stays in the script. */
export function keepOnLeaving(): void {
  window.addEventListener("pagehide", () => {
    const { runId, script } = get();
    const running = runId === null ? undefined : runs.get(runId);
    if (running === undefined) return;
    // Stopped, not failed: the broken connection that follows is the person's own doing.
    stop();
    if (running.text !== "") remember("script", withAnswer(script, running));
  });
}
