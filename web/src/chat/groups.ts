// How the list of conversations is divided. Pure.
import type { Conversation } from "../api/wire";

export interface Group {
  kind: "pinned" | "folder" | "rest";
  name: string;
  entries: Conversation[];
}

/** Pinned, then folders by name, then the rest; the order within each is kept. Empty ones are left out. */
export function grouped(conversations: readonly Conversation[]): Group[] {
  const pinned = conversations.filter((each) => each.pinned);
  const others = conversations.filter((each) => !each.pinned);
  const folders = [...new Set(others.map((each) => each.folder).filter(Boolean))].sort((one, two) =>
    one.localeCompare(two),
  );
  const groups: Group[] = [
    { kind: "pinned", name: "", entries: pinned },
    ...folders.map((name): Group => {
      return { kind: "folder", name, entries: others.filter((each) => each.folder === name) };
    }),
    { kind: "rest", name: "", entries: others.filter((each) => !each.folder) },
  ];
  return groups.filter((group) => group.entries.length > 0);
}
