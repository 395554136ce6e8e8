// Messages that were written while an answer was still coming: each is sent when the one before it
// has its answer. A message is never sent twice and never lost: it rather becomes a draft.
import { create } from "zustand";
import { addToDraft } from "./drafts";

export const QUEUED_MAX = 10;

const useStore = create<Record<string, readonly string[]>>(() => ({}));
const NOTHING: readonly string[] = [];

export const useQueued = (conversation: string): readonly string[] =>
  useStore((all) => all[conversation] ?? NOTHING);

export const queued = (conversation: string): readonly string[] =>
  useStore.getState()[conversation] ?? NOTHING;

/** True when the message has a place in the queue. */
export function enqueue(conversation: string, text: string): boolean {
  const before = queued(conversation);
  if (before.length >= QUEUED_MAX) return false;
  useStore.setState({ [conversation]: [...before, text] });
  return true;
}

export const unqueue = (conversation: string, place: number): void =>
  useStore.setState({
    [conversation]: queued(conversation).filter((_, at) => at !== place),
  });

/** The next message, which then waits no longer. */
export function takeNext(conversation: string): string | null {
  const [next, ...rest] = queued(conversation);
  useStore.setState({ [conversation]: rest });
  return next ?? null;
}

/** All that waits, as one text; nothing waits afterwards. */
export function takeAll(conversation: string): string {
  const all = queued(conversation).join("\n\n");
  useStore.setState({ [conversation]: NOTHING });
  return all;
}

/** Leaving the page: what waits is written into the drafts, for whoever opens the thread next. */
export function keepQueuesOnLeaving(): void {
  window.addEventListener("pagehide", () => {
    for (const conversation of Object.keys(useStore.getState())) {
      addToDraft(conversation, takeAll(conversation));
    }
  });
}
