// One job: why it is where it is, its life so far, its gang, what it took, and what it wrote.
import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import type {
  AttemptBody,
  JobBody,
  JobEventBody,
  TimelineBody,
} from "../../../docs/reference/openapi";
import { ask } from "../api/routes";
import { useNames } from "../frame/names";
import { Part } from "../frame/page";
import { count, decimal, moment, money, span } from "../language/format";
import { explained, outcome, reasonWords } from "../language/reasons";
import { known, plural, t } from "../language/t";
import { Button } from "../parts/button";
import { useWallClock } from "../parts/countdown";
import { Notice } from "../parts/notice";
import { Table } from "../parts/table";
import { changeWords, evidenceWords } from "./evidence";
import { LogTail } from "./log";
import { JOBS_KEY, useExplanation, useJob, useTimeline } from "./queries";
import { isEnded, type Phase, slotsOf, stretches, WAITING } from "./shape";
import { StateWord, whyOf } from "./table";

export function JobSheet({ id }: { id: string }) {
  const { data: job, error, refetch } = useJob(id);
  const timeline = useTimeline(id).data;
  if (job === undefined) {
    return error ? <Notice error={error} onRetry={() => void refetch()} /> : null;
  }
  return (
    <div className="space-y-6">
      <Summary job={job} />
      {WAITING.has(job.state) && <Why id={id} />}
      {timeline && <Life timeline={timeline} />}
      <Gang job={job} />
      {timeline && timeline.attempts.length > 0 && <Attempts attempts={timeline.attempts} />}
      {job.attempt > 0 && <LogTail job={job} />}
      {timeline && <Events timeline={timeline} />}
      {job.spec && <Spec spec={job.spec} />}
    </div>
  );
}

function Summary({ job }: { job: JobBody }) {
  const facts = [
    job.type,
    t("jobs.in_queue", { queue: job.queue }),
    t("jobs.gpu_hours", { hours: decimal(job.gpu_seconds / 3600, 2) }),
    job.lost_gpu_seconds > 0 &&
      t("jobs.gpu_hours_lost", { hours: decimal(job.lost_gpu_seconds / 3600, 2) }),
    job.saved_seconds > 0 && t("jobs.saved", { time: span(job.saved_seconds) }),
  ];
  return (
    <div className="space-y-2">
      <h3 className="text-lg [overflow-wrap:anywhere]">
        {job.name} <StateWord job={job} />
      </h3>
      <p className="text-xs text-soft">
        {facts.filter(Boolean).join(" · ")}
        <br />
        {job.id}
      </p>
      <Actions job={job} />
      {isEnded(job) && whyOf(job) !== "" && <p className="max-w-[68ch]">{whyOf(job)}</p>}
    </div>
  );
}

const CLASSES = ["low", "normal", "high", "urgent"];

function Actions({ job }: { job: JobBody }) {
  const queries = useQueryClient();
  const [error, setError] = useState<unknown>(null);
  const act = async (step: () => Promise<unknown>) => {
    try {
      await step();
      setError(null);
    } catch (failure) {
      setError(failure);
    }
    await queries.invalidateQueries({ queryKey: JOBS_KEY });
  };
  const path = { job_id: job.id };
  const retriable = job.state === "failed" || job.state === "dead";
  const classes = CLASSES.includes(job.priority_class) ? CLASSES : [job.priority_class, ...CLASSES];
  return (
    <div className="space-y-2">
      <div className="flex flex-wrap items-center gap-3">
        {!isEnded(job) && (
          <Button
            kind="danger"
            onClick={() => void act(() => ask("POST /api/jobs/{job_id}/cancel", { path }))}
          >
            {t("jobs.cancel")}
          </Button>
        )}
        {retriable && (
          <Button
            kind="primary"
            onClick={() => void act(() => ask("POST /api/jobs/{job_id}/retry", { path }))}
          >
            {t("jobs.retry")}
          </Button>
        )}
        {!isEnded(job) && (
          <label className="flex items-center gap-2 text-soft">
            {t("jobs.col_priority")}
            <select
              value={job.priority_class}
              onChange={(event) => {
                const body = { priority: event.target.value };
                void act(() => ask("POST /api/jobs/{job_id}/priority", { path, body }));
              }}
              className="field min-h-8 px-1 text-ink max-md:min-h-11"
            >
              {classes.map((each) => (
                <option key={each}>{each}</option>
              ))}
            </select>
          </label>
        )}
      </div>
      {error !== null && <Notice error={error} onDismiss={() => setError(null)} />}
    </div>
  );
}

function Why({ id }: { id: string }) {
  const { data } = useExplanation(id, true);
  if (data === undefined) return null;
  return (
    <Part title={t("jobs.why")}>
      <p className="max-w-[68ch]">
        {explained(data.reason, data.sentence, evidenceWords(id, data.evidence))}
      </p>
      <ul className="max-w-[68ch] list-disc space-y-1 ps-5 text-soft">
        {data.predicted_start !== null && (
          <li>{t("jobs.predicted", { time: moment(data.predicted_start) })}</li>
        )}
        {data.ahead_count > 0 && <li>{plural("jobs.ahead", data.ahead_count)}</li>}
        {data.changes.map((change) => (
          <li key={JSON.stringify(change)}>{changeWords(change)}</li>
        ))}
      </ul>
    </Part>
  );
}

const SHADES: Record<Phase, string> = {
  waiting: "bg-line",
  starting: "bg-edge",
  running: "bg-accent",
  stopping: "bg-amber",
  failed: "bg-red",
  done: "bg-ink",
};

function Life({ timeline }: { timeline: TimelineBody }) {
  const now = useWallClock(1_000);
  const parts = stretches(timeline.events, now);
  const first = parts[0];
  const last = parts.at(-1);
  if (first === undefined || last === undefined) return null;
  const total = Math.max(1, last.to - first.from);
  return (
    <Part title={t("jobs.life")}>
      <div className="flex h-2.5 gap-px" aria-hidden="true">
        {parts.map((part) => (
          <div
            key={`${part.phase}${part.from}`}
            title={`${t(`jobs.phase_${part.phase}`)} ${span(part.to - part.from)}`}
            className={SHADES[part.phase]}
            style={{ flexGrow: Math.max(part.to - part.from, total / 200), flexBasis: 3 }}
          />
        ))}
      </div>
      <p className="text-xs text-soft">
        {parts
          .filter((part) => part.to > part.from)
          .map((part) => `${t(`jobs.phase_${part.phase}`)} ${span(part.to - part.from)}`)
          .join(" · ")}
      </p>
    </Part>
  );
}

function Gang({ job }: { job: JobBody }) {
  const slots = slotsOf(job);
  if (slots.length === 0) return null;
  const seats = [...job.seats, ...job.held_seats];
  const had = slots.filter((slot) => slot !== "missing").length;
  return (
    <Part title={t("jobs.gang", { had, wanted: slots.length })}>
      <ul className="flex flex-wrap gap-1">
        {slots.map((slot, place) => {
          const seat = seats[place];
          const where = seat
            ? t("jobs.seat", {
                rank: seat.rank,
                node: seat.node,
                gpus: seat.gpus.length > 0 ? seat.gpus.join(", ") : t("common.none"),
              })
            : t("jobs.seat_missing");
          const look = { taken: "bg-accent", held: "hatch", missing: "" }[slot];
          return (
            <li key={place} title={where} className={`size-3.5 border border-edge ${look}`}>
              <span className="sr-only">{where}</span>
            </li>
          );
        })}
      </ul>
      {seats.length > 0 && (
        <p className="text-xs text-soft">
          {[...new Set(seats.map((seat) => seat.node))].join(", ")}
          {job.held_seats.length > 0 && ` · ${plural("jobs.held_seats", job.held_seats.length)}`}
        </p>
      )}
    </Part>
  );
}

const outcomeWord = (outcome: string | null): string =>
  outcome === null ? "—" : (known("state", outcome) ?? reasonWords(outcome) ?? outcome);

function Attempts({ attempts }: { attempts: readonly AttemptBody[] }) {
  const now = useWallClock(1_000);
  return (
    <Part title={t("jobs.attempts")}>
      <Table>
        <thead>
          <tr>
            <th>{t("jobs.attempt")}</th>
            <th>{t("jobs.started")}</th>
            <th>{t("jobs.lasted")}</th>
            <th>{t("jobs.outcome")}</th>
            <th className="figure">{t("jobs.gpu_time")}</th>
            <th className="figure">{t("jobs.gpu_time_lost")}</th>
            <th className="figure">{t("rows.cost")}</th>
          </tr>
        </thead>
        <tbody>
          {attempts.map((each) => (
            <tr key={each.number}>
              <td>{count(each.number)}</td>
              <td className="whitespace-nowrap">{moment(each.launched_at)}</td>
              <td className="whitespace-nowrap">
                {span((each.ended_at ?? now) - each.launched_at)}
              </td>
              <td>
                {outcomeWord(each.outcome)}
                {each.exit_status !== null && ` (${each.exit_status})`}
              </td>
              <td className="figure">{span(each.gpu_seconds)}</td>
              <td className="figure">{span(each.lost_gpu_seconds)}</td>
              <td className="figure">
                {each.cost ? money(each.cost.nanos, each.cost.currency) : "—"}
              </td>
            </tr>
          ))}
        </tbody>
      </Table>
    </Part>
  );
}

/** What else is known of an event: its reason in words, then the server's detail. */
function because({ reason, detail }: JobEventBody): string {
  const more = outcome(reason, detail);
  return more === "" ? "" : `: ${more}`;
}

function Events({ timeline }: { timeline: TimelineBody }) {
  const names = useNames();
  return (
    <Part title={t("jobs.events")}>
      <ol className="space-y-1">
        {timeline.events.map((event) => (
          <li key={event.number} className="grid grid-cols-[6.5rem_minmax(0,1fr)] gap-x-3">
            <time className="text-xs leading-[1.375rem] text-soft">{moment(event.at)}</time>
            <span>
              {known("event", event.kind) ?? event.kind}
              <span className="text-soft">{because(event)}</span>
              {event.by && (
                <span className="text-soft"> ({t("jobs.by", { who: names(event.by) })})</span>
              )}
            </span>
          </li>
        ))}
      </ol>
    </Part>
  );
}

function Spec({ spec }: { spec: NonNullable<JobBody["spec"]> }) {
  return (
    <details>
      <summary className="text-xs text-soft">{t("jobs.spec")}</summary>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: long lines are scrolled by keyboard too. */}
      <pre tabIndex={0} className="mt-2 overflow-x-auto bg-wash p-3 text-xs">
        {JSON.stringify(spec, null, 2)}
      </pre>
    </details>
  );
}
