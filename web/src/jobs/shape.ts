// What a job's numbers mean for the eye: how much of its gang it has, how long each state lasted.
// Pure.
import type { JobBody, JobEventBody } from "../../../docs/reference/openapi";

export const ENDED = new Set(["succeeded", "failed", "cancelled", "dead"]);
export const WAITING = new Set(["held", "queued", "backing_off"]);
export const isEnded = (job: Pick<JobBody, "state">): boolean => ENDED.has(job.state);

export type Slot = "taken" | "held" | "missing";

/** One slot for each member of the gang: first those that sit, then those held, then the rest. */
export function slotsOf(job: JobBody): Slot[] {
  const wanted = (job.spec?.roles ?? []).reduce((sum, role) => sum + (role.replicas ?? 1), 0);
  const taken = job.seats.length;
  const held = job.held_seats.length;
  const missing = Math.max(0, wanted - taken - held);
  return [
    ...Array<Slot>(taken).fill("taken"),
    ...Array<Slot>(held).fill("held"),
    ...Array<Slot>(isEnded(job) ? 0 : missing).fill("missing"),
  ];
}

const gpusOf = (seats: JobBody["seats"]): number =>
  seats.reduce((sum, seat) => sum + seat.gpus.length, 0);

/** GPUs as the table writes them: had, wanted, and whether they are only held. */
export function gpusShown(job: JobBody): { had: number; wanted: number; held: boolean } {
  const held = gpusOf(job.held_seats);
  const had = gpusOf(job.seats);
  return { had: had === 0 ? held : had, wanted: job.gpus, held: had === 0 && held > 0 };
}

export type Phase = "waiting" | "starting" | "running" | "stopping" | "failed" | "done";

const PHASES: Record<string, Phase> = {
  submitted: "waiting",
  released: "waiting",
  requeued: "waiting",
  retried: "waiting",
  backing_off: "waiting",
  launched: "starting",
  running: "running",
  stopping: "stopping",
  succeeded: "done",
  failed: "failed",
  cancelled: "done",
  dead: "failed",
};

export interface Stretch {
  phase: Phase;
  from: number;
  to: number;
}

/** The life of a job as stretches of time; the last one runs until now while it lives. */
export function stretches(events: readonly JobEventBody[], now: number): Stretch[] {
  const found: Stretch[] = [];
  for (const event of events) {
    const phase = PHASES[event.kind];
    const last = found.at(-1);
    if (phase === undefined || last?.phase === phase) continue;
    if (last) last.to = event.at;
    found.push({ phase, from: event.at, to: event.at });
  }
  const last = found.at(-1);
  if (last && last.phase !== "done" && last.phase !== "failed") last.to = Math.max(now, last.from);
  return found;
}

/** Waits of all classes and queues in one pair of numbers: those of the class that had most. */
export function typicalWait(
  queues: readonly {
    waits: Record<string, { count: number; p50: number | null; p95: number | null }>;
  }[],
): { p50: number; p95: number } | null {
  const all = queues.flatMap((queue) => Object.values(queue.waits));
  const most = all.reduce<(typeof all)[number] | null>(
    (best, each) => (each.count > (best?.count ?? 0) ? each : best),
    null,
  );
  return most === null || most.p50 === null ? null : { p50: most.p50, p95: most.p95 ?? most.p50 };
}
