// The numbers behind a job's wait, and the changes with which it would start, in the reader's words.
import type { ChangeBody, EvidenceBody } from "../../../docs/reference/openapi";
import { decimal, moment } from "../language/format";
import { plural, t } from "../language/t";

const gpus = (amount: number): string => decimal(amount, Number.isInteger(amount) ? 0 : 2);

/** What is known of it, in one line; empty where there are no numbers. own: the job that waits. */
export function evidenceWords(own: string, evidence: EvidenceBody | null): string {
  if (evidence === null) return "";
  const {
    about,
    members_needed: needed,
    members_possible: possible,
    gpus_free: free,
    until,
    planned_start: planned,
    queue,
    queue_gpus_used: used,
    queue_gpus_left: left,
  } = evidence;
  const parts = [
    about != null && about !== own && about,
    needed != null && possible != null && t("why.members", { possible, needed }),
    free != null && t("why.gpus_free", { gpus: gpus(free) }),
    used != null &&
      left != null &&
      t("why.queue", { queue: queue ?? "", used: gpus(used), left: gpus(left) }),
    until != null && t("why.until", { time: moment(until) }),
    planned != null && t("why.planned", { time: moment(planned) }),
  ];
  return parts.filter(Boolean).join(" · ");
}

export function changeWords({ kind, count, name }: ChangeBody): string {
  switch (kind) {
    case "loose_topology":
      return t("why.if_loose", { level: name });
    case "any_model":
      return t("why.if_any_model");
    case "fewer_gpus":
      return plural("why.if_gpus", count);
    case "fewer_members":
      return plural("why.if_members", count, { role: name });
  }
}
