// What a thread shows: stored items, the question that is not stored yet, the answer being written.
// Each of them once. Pure.
import { type Item, itemFiles, itemText } from "../api/wire";
import type { Run } from "../live/run";

/** What was asked, and the newest item before it. */
export interface Asked {
  /** Empty when another answer to what is there is wanted. */
  text: string;
  after: string | null;
  files?: readonly string[];
}

/** Items in the order of the thread, without the one that `run` shows and those of another branch. */
export function visibleItems(
  pages: { data: Item[] }[] | undefined,
  run: Run | undefined,
  hidden: ReadonlySet<string> = new Set(),
): Item[] {
  const items = (pages ?? []).flatMap((page) => page.data).reverse();
  const live = run?.ending === null ? run.responseId : null;
  return items.filter(
    (item) =>
      !hidden.has(item.id) &&
      (isStep(item) ||
        item.role === "user" ||
        item.role === "assistant" ||
        item.summary_through !== undefined) &&
      !(isAnswer(item) && live !== null && item.response_id === live),
  );
}

/** A thought, a call of a function or what came of it: a step on the way to a message. */
export const isStep = (item: Pick<Item, "type">): boolean => item.type !== "message";

/** What the model wrote. */
const isAnswer = (item: Item): boolean =>
  item.role === "assistant" || item.type === "function_call" || item.type === "reasoning";

/** True while the run has something to show that the items do not have. */
export function showsRun(items: readonly Item[], run: Run | undefined): run is Run {
  if (run === undefined) return false;
  if (run.ending === null) return true;
  const stored = items.some((item) => isAnswer(item) && item.response_id === run.responseId);
  return !stored && (run.text !== "" || run.ending.kind !== "failed");
}

/** True while the items do not have this question yet. */
export function showsQuestion(items: readonly Item[], question: Asked | null): question is Asked {
  if (question === null || (question.text === "" && !question.files?.length)) return false;
  const since = items.slice(items.findIndex((item) => item.id === question.after) + 1);
  return !since.some((item) => item.role === "user" && itemText(item) === question.text);
}

/** One turn of the thread. The key holds while a reply goes from written to stored. */
export interface Shown {
  key: string;
  /** Null while it is not stored yet. */
  item: Item | null;
  role: "user" | "assistant";
  text: string;
  files: readonly string[];
  responseId: string | null;
  run: Run | undefined;
}

/** The whole thread as it is shown. */
export function thread(
  items: readonly Item[],
  question: Asked | null,
  run: Run | undefined,
): Shown[] {
  const keys = new Set<string>();
  const shown: Shown[] = items.map((item) => {
    const responseId = item.role === "assistant" ? (item.response_id ?? null) : null;
    // Only one of an answer's messages can take the place of the run that wrote them.
    const key = responseId === null || keys.has(responseId) ? item.id : responseId;
    keys.add(key);
    return {
      key,
      item,
      files: itemFiles(item),
      role: item.role === "user" ? "user" : "assistant",
      text: itemText(item) || (item.arguments ?? item.output ?? ""),
      responseId,
      // A run of this tab knows its meter already.
      run: responseId !== null && run?.responseId === responseId ? run : undefined,
    };
  });
  if (showsQuestion(items, question)) {
    shown.push({
      ...NOTHING,
      key: "question",
      role: "user",
      text: question.text,
      files: question.files ?? [],
    });
  }
  if (showsRun(items, run)) {
    const { responseId, text } = run;
    const key = responseId ?? run.id;
    shown.push({ ...NOTHING, key, role: "assistant", text, responseId, run });
  }
  return shown;
}

/** The item that an answer answers: the last before it that the model did not write. */
export function questionOf(turns: readonly Shown[], place: number): string | null {
  const item = turns
    .slice(0, place)
    .findLast((turn) => turn.item !== null && !isAnswer(turn.item))?.item;
  return item?.id ?? turns[place]?.item?.parent_id ?? null;
}

const NOTHING = { item: null, files: [], responseId: null, run: undefined };

/** The branches that begin at the same place as an item: its place among them, and their ids. */
export interface Siblings {
  at: number;
  ids: readonly string[];
}

/** For each item of a tree that has siblings of its role, which they are. */
export function siblingsOf(
  nodes: readonly { id: string; parent_id: string | null; role: string; kind: string }[],
): ReadonlyMap<string, Siblings> {
  const groups = new Map<string, string[]>();
  for (const node of nodes) {
    if (node.kind === "summary") continue;
    const place = `${node.parent_id ?? ""} ${node.role}`;
    groups.set(place, [...(groups.get(place) ?? []), node.id]);
  }
  const found = new Map<string, Siblings>();
  for (const ids of groups.values()) {
    if (ids.length > 1) for (const [at, id] of ids.entries()) found.set(id, { at, ids });
  }
  return found;
}
