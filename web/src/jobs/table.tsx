// The table of jobs. Arrow keys walk the rows, Enter opens one.
import type { KeyboardEvent } from "react";
import { Link, useSearchParams } from "wouter";
import type { JobBody } from "../../../docs/reference/openapi";
import { count, span } from "../language/format";
import { explained, outcome } from "../language/reasons";
import { known, t } from "../language/t";
import { useWallClock } from "../parts/countdown";
import { evidenceWords } from "./evidence";
import { gpusShown, isEnded, WAITING } from "./shape";

export const stateWord = (state: string): string => known("state", state) ?? state;

const TONES: Record<string, string> = {
  failed: "text-red",
  dead: "text-red",
  backing_off: "text-amber",
  stopping: "text-amber",
};

export function StateWord({ job }: { job: Pick<JobBody, "state" | "preemptions"> }) {
  const preempted = job.preemptions > 0 && WAITING.has(job.state);
  return (
    <span className={preempted ? "text-amber" : TONES[job.state]}>
      {preempted ? t("jobs.preempted") : stateWord(job.state)}
    </span>
  );
}

/** Why it waits, or how it ended; nothing where there is nothing to explain. */
export function whyOf(
  job: Pick<JobBody, "id" | "state" | "reason" | "why" | "detail" | "evidence">,
): string {
  if (job.why !== null) {
    return explained(job.reason, job.why, evidenceWords(job.id, job.evidence));
  }
  if (!isEnded(job) || job.state === "succeeded") return "";
  return outcome(job.reason, job.detail);
}

function walk(event: KeyboardEvent<HTMLElement>): void {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step === undefined) return;
  const links = [...event.currentTarget.querySelectorAll<HTMLElement>("[data-row] a")];
  const at = links.indexOf(document.activeElement as HTMLElement);
  if (at === -1) return;
  event.preventDefault();
  links[Math.min(links.length - 1, Math.max(0, at + step))]?.focus();
}

export function JobTable({ jobs }: { jobs: readonly JobBody[] }) {
  const now = useWallClock(1_000);
  return (
    <div className="wide">
      <table className="ledger stacked" onKeyDown={walk}>
        <caption className="sr-only">{t("nav.jobs")}</caption>
        <thead>
          <tr>
            <th>{t("jobs.col_job")}</th>
            <th className="max-md:hidden">{t("jobs.col_priority")}</th>
            <th>{t("jobs.col_state")}</th>
            <th>{t("jobs.col_gpus")}</th>
            <th>{t("jobs.col_age")}</th>
            <th className="max-md:hidden">{t("jobs.col_queue")}</th>
            <th className="long">{t("jobs.col_why")}</th>
          </tr>
        </thead>
        <tbody>
          {jobs.map((job) => (
            <Row key={job.id} job={job} now={now} />
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Row({ job, now }: { job: JobBody; now: number }) {
  const [address] = useSearchParams();
  const gpus = gpusShown(job);
  const name = job.array_index === null ? job.name : `${job.name} [${job.array_index}]`;
  return (
    <tr data-row="">
      <td className="md:max-w-64 md:min-w-32">
        <Link
          href={`/jobs/${job.id}${address.size === 0 ? "" : `?${address}`}`}
          className="block [overflow-wrap:anywhere] hover:underline"
        >
          {name}
        </Link>
      </td>
      <td className="max-md:hidden">{job.priority_class}</td>
      <td>
        <StateWord job={job} />
      </td>
      <td className="whitespace-nowrap">
        {gpus.wanted === 0
          ? "—"
          : t(gpus.held ? "jobs.gpus_had_held" : "jobs.gpus_had", {
              had: isEnded(job) ? count(gpus.wanted) : count(gpus.had),
              wanted: count(gpus.wanted),
            })}
      </td>
      <td className="whitespace-nowrap">{span((job.ended_at ?? now) - job.submitted_at)}</td>
      <td className="max-md:hidden">{job.queue}</td>
      <td className="long min-w-56 text-soft">{whyOf(job)}</td>
    </tr>
  );
}
