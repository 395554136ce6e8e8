// What was written and not yet sent, per conversation, kept in this browser.
import { create } from "zustand";
import { recallJson, remember } from "../parts/memory";

/** The key of a draft that belongs to no conversation yet. */
export const NEW = "new";
/** Drafts that are kept; older ones go first. */
const DRAFTS_MAX = 50;

function restore(): Record<string, string> {
  const stored = recallJson("drafts");
  if (typeof stored !== "object" || stored === null) return {};
  return Object.fromEntries(
    Object.entries(stored).filter(
      (entry): entry is [string, string] => typeof entry[1] === "string",
    ),
  );
}

export const useDrafts = create<Record<string, string>>(restore);

/** Put a text before what was written since. */
export function addToDraft(key: string, text: string): void {
  if (text === "") return;
  const since = useDrafts.getState()[key] ?? "";
  setDraft(key, since === "" ? text : `${text}\n\n${since}`);
}

export function setDraft(key: string, text: string): void {
  const { [key]: _, ...others } = useDrafts.getState();
  const kept = Object.entries(others).slice(-(DRAFTS_MAX - 1));
  const next = Object.fromEntries(text === "" ? kept : [...kept, [key, text]]);
  useDrafts.setState(next, true);
  remember("drafts", Object.keys(next).length === 0 ? null : next);
}
