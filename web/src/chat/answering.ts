// The answers of this tab, joined to the rest of the page: spoken status, drafts, queue, cost, other
// tabs.
import { useStore } from "zustand";
import { queries } from "../frame/client";
import { refreshSession } from "../frame/session";
import { wordCount } from "../language/format";
import { plural, t } from "../language/t";
import type { Run } from "../live/run";
import { runs, useRun } from "../live/store";
import { browserTransport } from "../live/transport";
import { announce } from "../parts/announcer";
import { Answers, type Question } from "./answers";
import { addToDraft } from "./drafts";
import { takeAll, takeNext } from "./queue";
import { tellTabs } from "./tabs";

/** The last question of each conversation: a queued one is asked in the same way. */
const last = new Map<string, Question>();

export function askQuestion(question: Question): void {
  last.set(question.conversation, question);
  void answers.ask(question);
}

/** A good end makes room for the next message; any other gives what waits back to the composer. */
function goOn(conversation: string, run: Run): void {
  const before = last.get(conversation);
  if (run.ending?.kind !== "finished" || before === undefined) {
    addToDraft(conversation, takeAll(conversation));
    return;
  }
  const text = takeNext(conversation);
  if (text === null) return;
  const { model, settings } = before;
  askQuestion({ conversation, text, model, ...(settings ? { settings } : {}) });
}

export const answers = new Answers({
  runs,
  queries,
  transport: browserTransport,
  onBegin() {
    announce(t("status.answering"));
  },
  onNamed: tellTabs,
  onEnd(conversation, run) {
    announce(spoken(run));
    tellTabs(conversation);
    void refreshSession(queries);
    // After this turn of the loop: the ending is written before the next question begins.
    queueMicrotask(() => goOn(conversation, run));
  },
  onReturn({ conversation, text, parent }) {
    // A wish for another answer has no words to give back.
    if (parent === undefined || text !== "") addToDraft(conversation, text);
  },
});

function spoken(run: Run): string {
  switch (run.ending?.kind) {
    case "stopped":
      return t("status.stopped");
    case "failed":
      return t("status.failed");
    default:
      return t("status.done", { words: plural("words", wordCount(run.text)) });
  }
}

const NONE: ReadonlySet<string> = new Set();

/** The run that this tab follows in a conversation, and the question it answers. */
export function useAnswering(conversation: string | null) {
  const entry = useStore(answers.followed, (all) =>
    conversation === null ? undefined : all[conversation],
  );
  return {
    run: useRun(entry?.runId ?? null),
    question: entry?.question ?? null,
    hidden: entry?.hidden ?? NONE,
  };
}
