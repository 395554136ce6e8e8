// The end of what a member of a job writes, growing while it runs.
import { useEffect, useState } from "react";
import type { JobBody } from "../../../docs/reference/openapi";
import { ApiError, ConnectionLost, isAbort } from "../api/errors";
import { ask } from "../api/routes";
import { Part } from "../frame/page";
import { t } from "../language/t";
import { CopyButton } from "../parts/copy";
import { sentence } from "../parts/notice";
import { ScrollPre } from "./scroll-pre";

const EVERY_MS = 1_000;
const TAIL_BYTES = 65_536;
/** Older text is dropped; the whole file can be had over the API. */
const CHARACTERS_MAX = 200_000;

/** The log's text as far as it is known; asks for more until the member has ended. */
function useLog(job: string, attempt: number, rank: number) {
  const [text, setText] = useState("");
  const [error, setError] = useState<unknown>(null);
  useEffect(() => {
    const stop = new AbortController();
    let offset: number | null = null;
    setText("");
    const read = async (): Promise<boolean> => {
      const query = offset === null ? { tail: TAIL_BYTES } : { offset };
      const piece = await ask(
        "GET /api/jobs/{job_id}/logs",
        { path: { job_id: job }, query: { attempt, rank, ...query } },
        stop.signal,
      );
      offset = piece.next_offset;
      if (piece.text !== "") setText((before) => (before + piece.text).slice(-CHARACTERS_MAX));
      return piece.ended;
    };
    const follow = async () => {
      for (;;) {
        try {
          if (await read()) return;
          setError(null);
        } catch (failure) {
          if (isAbort(failure)) return;
          if (!(failure instanceof ApiError || failure instanceof ConnectionLost)) throw failure;
          setError(failure);
          if (failure instanceof ApiError && failure.status < 500) return;
        }
        await new Promise((wake) => setTimeout(wake, EVERY_MS));
        if (stop.signal.aborted) return;
      }
    };
    void follow();
    return () => stop.abort();
  }, [job, attempt, rank]);
  return { text, error };
}

export function LogTail({ job }: { job: JobBody }) {
  const [attempt, setAttempt] = useState<number | null>(null);
  const [rank, setRank] = useState(0);
  const shown = attempt ?? job.attempt;
  const members = (job.spec?.roles ?? []).reduce((sum, role) => sum + (role.replicas ?? 1), 0) || 1;
  const { text, error } = useLog(job.id, shown, rank);
  return (
    <Part
      title={t("jobs.log")}
      actions={
        <div className="flex gap-4 text-xs text-soft">
          {members > 1 && (
            <Pick
              label={t("jobs.rank")}
              value={rank}
              from={0}
              to={members - 1}
              onChange={setRank}
            />
          )}
          {job.attempt > 1 && (
            <Pick
              label={t("jobs.attempt")}
              value={shown}
              from={1}
              to={job.attempt}
              onChange={setAttempt}
            />
          )}
          {text !== "" && <CopyButton text={text} inline />}
        </div>
      }
    >
      {error !== null && <p className="text-xs text-amber">{sentence(error)}</p>}
      <ScrollPre label={t("jobs.log")} text={text === "" ? t("jobs.log_empty") : text} />
    </Part>
  );
}

function Pick({
  label,
  value,
  from,
  to,
  onChange,
}: {
  label: string;
  value: number;
  from: number;
  to: number;
  onChange: (value: number) => void;
}) {
  return (
    <label className="inline-flex items-baseline gap-1.5">
      {label}
      <select
        value={value}
        onChange={(event) => onChange(+event.target.value)}
        className="bg-transparent text-ink"
      >
        {Array.from({ length: Math.min(to - from + 1, 512) }, (_, place) => (
          <option key={place}>{from + place}</option>
        ))}
      </select>
    </label>
  );
}
