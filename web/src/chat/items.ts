// What a thread shows: stored items, the question that is not stored yet, the answer being written.
// Each of them once. Pure.
import { type Item, itemText } from "../api/wire";
import type { Run } from "../live/run";

/** What was asked, and the newest item before it. */
export interface Asked {
  text: string;
  after: string | null;
}

/** Items in the order of the thread, without the one that `run` shows. */
export function visibleItems(pages: { data: Item[] }[] | undefined, run: Run | undefined): Item[] {
  const items = (pages ?? []).flatMap((page) => page.data).reverse();
  const live = run?.ending === null ? run.responseId : null;
  return items.filter(
    (item) =>
      item.type === "message" &&
      (item.role === "user" || item.role === "assistant") &&
      !(item.role === "assistant" && live !== null && item.response_id === live),
  );
}

/** True while the run has something to show that the items do not have. */
export function showsRun(items: readonly Item[], run: Run | undefined): run is Run {
  if (run === undefined) return false;
  if (run.ending === null) return true;
  const stored = items.some(
    (item) => item.role === "assistant" && item.response_id === run.responseId,
  );
  return !stored && (run.text !== "" || run.ending.kind !== "failed");
}

/** True while the items do not have this question yet. */
export function showsQuestion(items: readonly Item[], question: Asked | null): question is Asked {
  if (question === null) return false;
  const since = items.slice(items.findIndex((item) => item.id === question.after) + 1);
  return !since.some((item) => item.role === "user" && itemText(item) === question.text);
}

/** One turn of the thread. The key holds while a reply goes from written to stored. */
export interface Shown {
  key: string;
  role: "user" | "assistant";
  text: string;
  responseId: string | null;
  run: Run | undefined;
}

/** The whole thread as it is shown. */
export function thread(
  items: readonly Item[],
  question: Asked | null,
  run: Run | undefined,
): Shown[] {
  const shown: Shown[] = items.map((item) => {
    const responseId = item.role === "assistant" ? (item.response_id ?? null) : null;
    return {
      key: responseId ?? item.id,
      role: item.role === "user" ? "user" : "assistant",
      text: itemText(item),
      responseId,
      // A run of this tab knows its meter already.
      run: responseId !== null && run?.responseId === responseId ? run : undefined,
    };
  });
  if (showsQuestion(items, question)) {
    shown.push({ ...NOTHING, key: "question", role: "user", text: question.text });
  }
  if (showsRun(items, run)) {
    const { responseId, text } = run;
    shown.push({ key: responseId ?? run.id, role: "assistant", text, responseId, run });
  }
  return shown;
}

const NOTHING = { responseId: null, run: undefined };
