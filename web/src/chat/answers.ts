// The answers that this tab follows, one per conversation. The server owns each run: this side opens
// it, attaches to one that is already there, asks for its end, and shows how far it is.
import type { QueryClient } from "@tanstack/react-query";
import { createStore } from "zustand/vanilla";
import { ApiError, ConnectionLost, isAbort } from "../api/errors";
import { server } from "../api/server";
import { type Answer, type AnswerEvent, answerText } from "../api/wire";
import { type Follower, follow, isLast, type Start, type Transport } from "../live/follow";
import {
  append,
  type Ending,
  end,
  meterOfAnswer,
  newRun,
  type Run,
  type Trace,
  trace,
} from "../live/run";
import type { RunStore } from "../live/store";
import { newId } from "../parts/identity";
import { type Asked, showsQuestion } from "./items";
import { knownItems, refreshConversation, rememberAnswer } from "./queries";

/** "Caught up" is said for this long. */
const BACK_MS = 2_500;

export interface Question {
  conversation: string;
  /** Empty: another answer to the parent. */
  text: string;
  model: string;
  /** The item that this is put below; absent at the end of the thread, null for a new beginning. */
  parent?: string | null;
  files?: readonly { id: string; name: string }[];
  /** Sampling, instructions and the like, as the API names them. */
  settings?: Readonly<Record<string, unknown>>;
}

export interface Followed {
  runId: string;
  /** Until the stored items are known to have it. */
  question: Asked | null;
  /** Items that the new branch leaves behind, until the server shows the branch. */
  hidden: ReadonlySet<string>;
}

const NONE: ReadonlySet<string> = new Set();

/** The body of the request that asks a question. */
export function requestOf({ conversation, text, model, parent, files = [], settings }: Question) {
  const texts = text === "" ? [] : [{ type: "input_text", text }];
  const attached = files.map((file) => ({ type: "input_file", file_id: file.id }));
  const content = [...attached, ...texts];
  const plain = text !== "" && attached.length === 0;
  return {
    ...settings,
    model,
    conversation,
    input: plain ? text : content.length === 0 ? [] : [{ role: "user", content }],
    ...(parent === undefined ? {} : { parent_item_id: parent }),
  };
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

/** The answers of one tab; made once, beside React. */
export class Answers {
  /** The newest run of each conversation. */
  readonly followed = createStore<Readonly<Record<string, Followed>>>(() => ({}));

  constructor(private readonly to: AnswersOptions) {}

  /** Send a question and follow its answer to the end; a question that is not taken goes back. */
  async ask(question: Question): Promise<void> {
    const { runs, queries, onBegin, onReturn } = this.to;
    const { conversation, text, parent, files = [] } = question;
    if (this.runOf(conversation)?.ending === null) return;
    const known = knownItems(queries, conversation).map((item) => item.id);
    const after = parent === undefined ? (known.at(-1) ?? null) : parent;
    const left = known.slice(after === null ? 0 : known.indexOf(after) + 1);
    const asked: Asked = { text, after, files: files.map((file) => file.name) };
    const id = this.begin(conversation, null, asked, parent === undefined ? NONE : new Set(left));
    onBegin(conversation);
    const { signal } = new AbortController();
    const open = async (): Promise<Start> => ({
      first: await server.ask(requestOf(question), signal),
      id: null,
    });
    try {
      await this.drive(conversation, id, open, () => void this.named(conversation, id, asked));
    } catch (error) {
      await this.fail(conversation, id, error);
      this.show(conversation, id);
      this.release(conversation, id);
      if (!runs.get(id)?.responseId && !this.arrived(conversation, asked)) onReturn(question);
    }
  }

  /** Follow a run that the server already has: after a reload, or begun in another tab. */
  async attach(conversation: string, responseId: string): Promise<void> {
    const run = this.runOf(conversation);
    if (run !== undefined && (run.ending === null || settled(run, responseId))) return;
    const id = this.begin(conversation, responseId, null);
    const open = async (): Promise<Start> => ({ first: null, id: responseId });
    try {
      await this.drive(conversation, id, open, () => undefined);
    } catch (error) {
      await this.fail(conversation, id, error);
    }
  }

  /** Ask the server to end the answer; the text so far is kept. Works before the first token too. */
  stop(conversation: string): void {
    const run = this.runOf(conversation);
    if (run === undefined || run.ending !== null || run.stopping) return;
    this.to.runs.change(run.id, (each) => ({ ...each, stopping: true }));
    if (run.responseId !== null) void this.cancel(run.id, run.responseId);
  }

  /** Forget a run that has ended, with its error. */
  dismiss(conversation: string): void {
    const { [conversation]: entry, ...rest } = this.followed.getState();
    this.followed.setState(rest, true);
    if (entry !== undefined) this.to.runs.drop(entry.runId);
  }

  private runOf(conversation: string): Run | undefined {
    const entry = this.followed.getState()[conversation];
    return entry === undefined ? undefined : this.to.runs.get(entry.runId);
  }

  private begin(
    conversation: string,
    responseId: string | null,
    question: Asked | null,
    hidden: ReadonlySet<string> = NONE,
  ): string {
    const { runs } = this.to;
    const before = this.followed.getState()[conversation];
    const id = newId();
    runs.begin(newRun(id, runs.now(), responseId));
    this.followed.setState({ [conversation]: { runId: id, question, hidden } });
    if (before !== undefined) runs.drop(before.runId);
    return id;
  }

  /** The server has named the answer, so it has stored the question. */
  private async named(conversation: string, id: string, asked: Asked): Promise<void> {
    this.to.onNamed(conversation);
    await refreshConversation(this.to.queries, conversation);
    this.show(conversation, id);
    if (this.arrived(conversation, asked)) this.release(conversation, id);
  }

  /** The stored items are those of the branch that is written: nothing is left out any more. */
  private show(conversation: string, id: string): void {
    const entry = this.followed.getState()[conversation];
    if (entry?.runId !== id || entry.hidden.size === 0) return;
    this.followed.setState({ [conversation]: { ...entry, hidden: NONE } });
  }

  /** True when the question is among the stored items. */
  private arrived(conversation: string, question: Asked): boolean {
    return !showsQuestion(knownItems(this.to.queries, conversation), question);
  }

  /** The server has the question, or has refused it: the page need not show it by itself. */
  private release(conversation: string, id: string): void {
    const entry = this.followed.getState()[conversation];
    if (entry?.runId !== id) return;
    this.followed.setState({ [conversation]: { ...entry, question: null } });
  }

  /** Follow to the end; a run that was opened but never named is looked for once. */
  private async drive(
    conversation: string,
    id: string,
    open: () => Promise<Start>,
    begun: () => void,
  ): Promise<void> {
    const { transport, runs } = this.to;
    const { signal } = new AbortController();
    const follower = this.follower(conversation, id, begun);
    try {
      await follow(transport, await open(), follower, signal);
    } catch (error) {
      if (!(error instanceof ConnectionLost) || runs.get(id)?.responseId) throw error;
      const active = await activeResponse(conversation);
      if (active === null) throw error;
      await follow(transport, { first: null, id: active }, follower, signal);
    }
  }

  private follower(conversation: string, id: string, begun: () => void): Follower {
    const { runs } = this.to;
    return {
      event: (event) => {
        if (event.response && this.name(id, event.response.id)) begun();
        if (event.type === "response.output_text.delta") {
          runs.change(id, (run) => append(run, event.delta ?? "", runs.now()));
        } else if (event.type === "response.reset" && event.text !== undefined) {
          // Another model server says something else than the one that died.
          const { text } = event;
          runs.change(id, (run) => ({ ...run, text }));
        } else if (noted(event)) {
          runs.change(id, (run) => trace(run, (into) => note(into, event), runs.now()));
        } else if (isLast(event) && event.response) {
          this.finish(conversation, id, event.response);
        }
      },
      snapshot: (answer) => this.finish(conversation, id, answer),
      lost: (againInMs) => {
        const link = { state: "lost" as const, againAt: runs.now() + againInMs };
        runs.change(id, (run) => ({ ...run, link }));
      },
      back: () => {
        runs.change(id, (run) => ({ ...run, link: { state: "back", againAt: 0 } }));
        setTimeout(() => runs.change(id, quiet), BACK_MS);
      },
    };
  }

  /** Note the answer's name; true the first time. A stop that waited for the name is sent now. */
  private name(id: string, responseId: string): boolean {
    const { runs } = this.to;
    if (runs.get(id)?.responseId === responseId) return false;
    runs.change(id, (run) => ({ ...run, responseId }));
    if (runs.get(id)?.stopping) void this.cancel(id, responseId);
    return true;
  }

  private async cancel(id: string, responseId: string): Promise<void> {
    try {
      // The stream itself says when the answer has ended.
      await server.cancel(responseId);
    } catch (error) {
      if (!(error instanceof ApiError || error instanceof ConnectionLost)) throw error;
      // The wish was not heard: the button offers it again.
      this.to.runs.change(id, (run) => ({ ...run, stopping: false }));
    }
  }

  private finish(conversation: string, id: string, answer: Answer): void {
    const { runs, queries } = this.to;
    const text = answerText(answer);
    // The stored text is the truth; it differs only when something was lost on the way.
    runs.change(id, (run) => ({
      ...run,
      text: text ?? run.text,
      meter: meterOfAnswer(answer),
      responseId: answer.id,
    }));
    rememberAnswer(queries, answer);
    this.close(conversation, id, endingOf(answer));
    void refreshConversation(queries, conversation);
  }

  private async fail(conversation: string, id: string, error: unknown): Promise<void> {
    if (isAbort(error)) return;
    if (!(error instanceof ApiError || error instanceof ConnectionLost)) throw error;
    this.close(conversation, id, { kind: "failed", error });
    await refreshConversation(this.to.queries, conversation);
  }

  private close(conversation: string, id: string, ending: Ending): void {
    const { runs, onEnd } = this.to;
    runs.change(id, (run) => end(run, ending, runs.now()));
    const run = runs.get(id);
    if (run !== undefined) onEnd(conversation, run);
  }
}

/** Events of thoughts and of calls of functions. */
const noted = ({ type, item }: AnswerEvent): boolean =>
  type === "response.reasoning_text.delta" ||
  type.startsWith("response.function_call_arguments.") ||
  (type === "response.output_item.added" && item?.type === "function_call");

/** Put such an event into what is known of the answer; a call goes by the id of its item. */
function note(into: Trace, { type, item, item_id, delta = "", ...event }: AnswerEvent): void {
  if (type === "response.reasoning_text.delta") {
    into.reasoning += delta;
  } else if (item?.type === "function_call") {
    const { id, name = "", arguments: given = "" } = item;
    into.calls.push({ id, type: "function", function: { name, arguments: given } });
  } else {
    const call = into.calls.find((each) => each.id === item_id);
    if (call) call.function.arguments = event.arguments ?? call.function.arguments + delta;
  }
}

/** "Caught up" has been said for long enough. */
const quiet = (run: Run): Run =>
  run.link.state === "back" ? { ...run, link: { state: "open", againAt: 0 } } : run;

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
