// The answers of this tab, joined to the rest of the page: spoken status, drafts, cost, other tabs.
import { useStore } from "zustand";
import { queries } from "../frame/client";
import { refreshSession } from "../frame/session";
import { wordCount } from "../language/format";
import { plural, t } from "../language/t";
import type { Run } from "../live/run";
import { runs, useRun } from "../live/store";
import { browserTransport } from "../live/transport";
import { announce } from "../parts/announcer";
import { Answers } from "./answers";
import { setDraft, useDrafts } from "./drafts";
import { tellTabs } from "./tabs";

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
  },
  onReturn({ conversation, text }) {
    // What was written since then is kept too.
    const since = useDrafts.getState()[conversation] ?? "";
    setDraft(conversation, since === "" ? text : `${text}\n\n${since}`);
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

/** The run that this tab follows in a conversation, and the question it answers. */
export function useAnswering(conversation: string | null) {
  const entry = useStore(answers.followed, (all) =>
    conversation === null ? undefined : all[conversation],
  );
  return { run: useRun(entry?.runId ?? null), question: entry?.question ?? null };
}
