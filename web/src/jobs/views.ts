// Views of the table that a person named; each is an address. Kept in this browser.
import { create } from "zustand";
import { recallJson, remember } from "../parts/memory";

const VIEWS_MAX = 20;

export interface View {
  name: string;
  search: string;
}

const isView = (value: unknown): value is View =>
  typeof (value as View | null)?.name === "string" && typeof (value as View).search === "string";

function restore(): View[] {
  const stored = recallJson("job-views");
  return Array.isArray(stored) ? stored.filter(isView).slice(0, VIEWS_MAX) : [];
}

export const useViews = create<{ views: View[] }>(() => ({ views: restore() }));

function keep(views: View[]): void {
  useViews.setState({ views });
  remember("job-views", views.length === 0 ? null : views);
}

export function saveView(name: string, search: string): void {
  const others = useViews.getState().views.filter((view) => view.name !== name);
  keep([...others, { name, search }].slice(-VIEWS_MAX));
}

export const forgetView = (name: string): void =>
  keep(useViews.getState().views.filter((view) => view.name !== name));
