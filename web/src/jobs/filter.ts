// Which jobs the table shows, as it stands in the address: `?show=waiting&queue=research`. Pure.

/** Groups of states, by the word that stands in the address. */
export const GROUPS = {
  all: [],
  waiting: ["held", "queued", "backing_off"],
  running: ["starting", "running", "stopping"],
  done: ["succeeded"],
  failed: ["failed", "dead"],
  cancelled: ["cancelled"],
} as const;
export type Group = keyof typeof GROUPS;

export const TYPES = ["training", "evaluation", "batch-inference", "serving", "other"] as const;

export interface Filter {
  states: readonly string[];
  queue: string;
  type: string;
  search: string;
}

export const groupOf = (address: URLSearchParams): Group => {
  const show = address.get("show") ?? "all";
  return show in GROUPS ? (show as Group) : "all";
};

export const readFilter = (address: URLSearchParams): Filter => ({
  states: GROUPS[groupOf(address)],
  queue: address.get("queue") ?? "",
  type: address.get("type") ?? "",
  search: address.get("search") ?? "",
});

/** The address with one part set; what says nothing is left out. */
export function withPart(address: URLSearchParams, name: string, value: string): URLSearchParams {
  const next = new URLSearchParams(address);
  if (value === "" || (name === "show" && value === "all")) next.delete(name);
  else next.set(name, value);
  return next;
}
