// The answers that this tab follows, one per conversation. The server owns each run: this side opens
// it, attaches to one that is already there, asks for its end, and shows how far it is.
import type { QueryClient } from "@tanstack/react-query";
import { createStore } from "zustand/vanilla";
import { ApiError, ConnectionLost, isAbort } from "../api/errors";
import { server } from "../api/server";
import { type Answer, type AnswerEvent, answerText } from "../api/wire";
import { type Follower, follow, isLast, type Start, type Transport } from "../live/follow";
import { append, type Ending, end, meterOfAnswer, newRun, type Run } from "../live/run";
import type { RunStore } from "../live/store";
import { newId } from "../parts/identity";
import { type Asked, showsQuestion } from "./items";
import { knownItems, refreshConversation, rememberAnswer } from "./queries";

/** Small models wander at the API's own default of 1, and may repeat themselves without an end. */
const SAMPLING = { temperature: 0.2, top_p: 0.9, max_output_tokens: 2048 };
/** "Caught up" is said for this long. */
const BACK_MS = 2_500;

export interface Question {
  conversation: string;
  text: string;
  model: string;
}

export interface Followed {
  runId: string;
  /** Until the stored items are known to have it. */
  question: Asked | null;
}

export interface AnswersOptions {
  runs: RunStore;
  queries: QueryClient;
  transport: Transport;
  /** A question was sent, the server has named its answer, the answer has ended. */
  onBegin(conversation: string): void;
  onNamed(conversation: string): void;
  onEnd(conversation: string, run: Run): void;
  /** A question did not reach the server: it goes back to where it was written. */
  onReturn(question: Question): void;
}

export function createAnswers(options: AnswersOptions) {
  const { runs, queries, transport } = options;
  /** The newest run of each conversation. */
  const followed = createStore<Readonly<Record<string, Followed>>>(() => ({}));

  const runOf = (conversation: string): Run | undefined => {
    const entry = followed.getState()[conversation];
    return entry === undefined ? undefined : runs.get(entry.runId);
  };
  const change = (id: string, step: (run: Run) => Run) => runs.change(id, step);

  function begin(conversation: string, responseId: string | null, question: Asked | null) {
    const before = followed.getState()[conversation];
    const id = newId();
    runs.begin(newRun(id, runs.now(), responseId));
    followed.setState({ [conversation]: { runId: id, question } });
    if (before !== undefined) runs.drop(before.runId);
    return id;
  }

  /** The server has the question, or has refused it: the page need not show it by itself. */
  function releaseQuestion(conversation: string, id: string): void {
    const entry = followed.getState()[conversation];
    if (entry?.runId !== id) return;
    followed.setState({ [conversation]: { ...entry, question: null } });
  }

  function finish(conversation: string, id: string, ending: Ending): void {
    change(id, (run) => end(run, ending, runs.now()));
    const run = runs.get(id);
    if (run !== undefined) options.onEnd(conversation, run);
    void refreshConversation(queries, conversation);
  }

  function takeAnswer(id: string, answer: Answer): Ending {
    const text = answerText(answer);
    // The stored text is the truth; it differs only when something was lost on the way.
    change(id, (run) => ({
      ...run,
      text: text === null || text === run.text ? run.text : text,
      meter: meterOfAnswer(answer),
      responseId: answer.id,
    }));
    rememberAnswer(queries, answer);
    return endingOf(answer);
  }

  function follower(conversation: string, id: string, begun: () => void): Follower {
    return {
      event(event: AnswerEvent) {
        if (event.response && runs.get(id)?.responseId !== event.response.id) {
          const named = event.response.id;
          change(id, (run) => ({ ...run, responseId: named }));
          begun();
          if (runs.get(id)?.stopping) void cancel(id, named);
        }
        if (event.type === "response.output_text.delta") {
          change(id, (run) => append(run, event.delta ?? "", runs.now()));
        } else if (event.type === "response.output_text.done" && event.text !== undefined) {
          const { text } = event;
          change(id, (run) => (run.text === text ? run : { ...run, text }));
        } else if (isLast(event) && event.response) {
          finish(conversation, id, takeAnswer(id, event.response));
        }
      },
      snapshot(answer) {
        finish(conversation, id, takeAnswer(id, answer));
      },
      lost(againInMs) {
        const againAt = runs.now() + againInMs;
        change(id, (run) => ({ ...run, link: { state: "lost", againAt } }));
      },
      back() {
        change(id, (run) => ({ ...run, link: { state: "back", againAt: 0 } }));
        const over = (run: Run): Run =>
          run.link.state === "back" ? { ...run, link: { state: "open", againAt: 0 } } : run;
        setTimeout(() => change(id, over), BACK_MS);
      },
    };
  }

  async function cancel(id: string, responseId: string): Promise<void> {
    try {
      // The stream itself says when the answer has ended.
      await server.cancel(responseId);
    } catch (error) {
      if (!(error instanceof ApiError || error instanceof ConnectionLost)) throw error;
      // The wish was not heard: the button offers it again.
      change(id, (run) => ({ ...run, stopping: false }));
    }
  }

  /** Follow to the end; a run that was opened but never named is looked for once. */
  async function drive(
    conversation: string,
    id: string,
    open: () => Promise<Start>,
    begun: () => void,
  ): Promise<void> {
    const { signal } = new AbortController();
    const listener = follower(conversation, id, begun);
    try {
      await follow(transport, await open(), listener, signal);
    } catch (error) {
      if (!(error instanceof ConnectionLost) || runs.get(id)?.responseId) throw error;
      const active = await activeResponse(conversation);
      if (active === null) throw error;
      await follow(transport, { first: null, id: active }, listener, signal);
    }
  }

  async function ask(question: Question): Promise<void> {
    const { conversation, text, model } = question;
    if (runOf(conversation)?.ending === null) return;
    const after = knownItems(queries, conversation).at(-1)?.id ?? null;
    const asked: Asked = { text, after };
    const id = begin(conversation, null, asked);
    options.onBegin(conversation);
    const { signal } = new AbortController();
    const open = async (): Promise<Start> => ({
      first: await server.ask({ model, input: text, conversation, ...SAMPLING }, signal),
      id: null,
    });
    const named = async () => {
      options.onNamed(conversation);
      await refreshConversation(queries, conversation);
      if (arrived(conversation, asked)) releaseQuestion(conversation, id);
    };
    try {
      await drive(conversation, id, open, () => void named());
    } catch (error) {
      await fail(conversation, id, error);
      releaseQuestion(conversation, id);
      if (!runs.get(id)?.responseId && !arrived(conversation, asked)) options.onReturn(question);
    }
  }

  /** True when the question is among the stored items. */
  const arrived = (conversation: string, question: Asked): boolean =>
    !showsQuestion(knownItems(queries, conversation), question);

  async function fail(conversation: string, id: string, error: unknown): Promise<void> {
    if (isAbort(error)) return;
    if (!(error instanceof ApiError || error instanceof ConnectionLost)) throw error;
    change(id, (run) => end(run, { kind: "failed", error }, runs.now()));
    const run = runs.get(id);
    if (run !== undefined) options.onEnd(conversation, run);
    await refreshConversation(queries, conversation);
  }

  return {
    followed,
    ask,
    /** Follow a run that the server already has: after a reload, or begun in another tab. */
    async attach(conversation: string, responseId: string): Promise<void> {
      const run = runOf(conversation);
      if (run !== undefined && (run.ending === null || settled(run, responseId))) return;
      const id = begin(conversation, responseId, null);
      const open = async (): Promise<Start> => ({ first: null, id: responseId });
      try {
        await drive(conversation, id, open, () => undefined);
      } catch (error) {
        await fail(conversation, id, error);
      }
    },
    /** Ask the server to end the answer; the text so far is kept. Works before the first token too. */
    stop(conversation: string): void {
      const run = runOf(conversation);
      if (run === undefined || run.ending !== null || run.stopping) return;
      change(run.id, (each) => ({ ...each, stopping: true }));
      if (run.responseId !== null) void cancel(run.id, run.responseId);
    },
    /** Forget a run that has ended, with its error. */
    dismiss(conversation: string): void {
      const { [conversation]: entry, ...rest } = followed.getState();
      followed.setState(rest, true);
      if (entry !== undefined) runs.drop(entry.runId);
    },
  };
}

export type Answers = ReturnType<typeof createAnswers>;

/** True when the run needs no second look; one that lost its connection for good does. */
function settled(run: Run, responseId: string): boolean {
  const cut = run.ending?.kind === "failed" && run.ending.error instanceof ConnectionLost;
  return run.responseId === responseId && !cut;
}

async function activeResponse(conversation: string): Promise<string | null> {
  try {
    return (await server.conversation(conversation)).active_response_id ?? null;
  } catch (error) {
    if (error instanceof ApiError || error instanceof ConnectionLost) return null;
    throw error;
  }
}

/** How a stored answer ended, in the page's words. */
export function endingOf(answer: Answer): Ending {
  switch (answer.status) {
    case "cancelled":
      return { kind: "stopped" };
    case "failed": {
      const { code = null, message = "" } = answer.error ?? {};
      return { kind: "failed", error: new ApiError(message, 0, code, null, null, null) };
    }
    case "incomplete":
      return { kind: "finished", reason: answer.incomplete_details?.reason ?? "incomplete" };
    default:
      return { kind: "finished", reason: "stop" };
  }
}
