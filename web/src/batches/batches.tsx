// Batches: files of requests that run beside the chats, how far each is, and what went wrong by line.
import { useInfiniteQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { Link, useLocation } from "wouter";
import type { BatchBody } from "../../../docs/reference/openapi";
import { ask } from "../api/routes";
import { useModel } from "../frame/model";
import { Empty, Page, Part } from "../frame/page";
import { count, moment, span } from "../language/format";
import { known, t } from "../language/t";
import { Button } from "../parts/button";
import { useWallClock } from "../parts/countdown";
import { Modal } from "../parts/modal";
import { Notice } from "../parts/notice";
import { Table } from "../parts/table";
import { sampleBatch } from "./sample";
import { Upload } from "./upload";

const EVERY_MS = 2_500;
const BATCHES_PER_PAGE = 30;
export const BATCHES_KEY = ["batches"];
const OPEN = new Set(["validating", "in_progress", "finalizing", "cancelling"]);

const useBatches = () =>
  useInfiniteQuery({
    queryKey: BATCHES_KEY,
    queryFn: ({ pageParam, signal }) =>
      ask(
        "GET /v1/batches",
        {
          query:
            pageParam === null
              ? { limit: BATCHES_PER_PAGE }
              : { limit: BATCHES_PER_PAGE, after: pageParam },
        },
        signal,
      ),
    initialPageParam: null as string | null,
    getNextPageParam: (page) => (page.has_more ? (page.data.at(-1)?.id ?? null) : null),
    refetchInterval: (query) =>
      query.state.data?.pages.some((page) => page.data.some((each) => OPEN.has(each.status)))
        ? EVERY_MS
        : EVERY_MS * 6,
  });

export function Batches({ batch }: { batch: string | null }) {
  const [, go] = useLocation();
  const list = useBatches();
  const [making, setMaking] = useState(false);
  const batches = list.data?.pages.flatMap((page) => page.data) ?? [];
  const open = batches.filter((each) => OPEN.has(each.status));
  const left = open.reduce(
    (sum, { request_counts: counts }) => sum + counts.total - counts.completed - counts.failed,
    0,
  );
  return (
    <Page
      title={t("nav.batches")}
      sentence={batches.length > 0 && t("batches.sentence", { open: open.length, left })}
      actions={
        <Button kind="plain" onClick={() => setMaking(true)}>
          {t("batches.new")}
        </Button>
      }
    >
      {list.error && batches.length === 0 && (
        <Notice error={list.error} onRetry={() => void list.refetch()} />
      )}
      {list.isSuccess && batches.length === 0 && <First />}
      {batches.length > 0 && <BatchTable batches={batches} />}
      {list.hasNextPage && (
        <Button onClick={() => void list.fetchNextPage()}>{t("batches.more")}</Button>
      )}
      <Modal
        open={batch !== null}
        onClose={() => go("/batches")}
        title={t("batches.one")}
        place="side"
      >
        <Sheet batch={batches.find((each) => each.id === batch)} />
      </Modal>
      <Modal open={making} onClose={() => setMaking(false)} title={t("batches.new")}>
        <Upload
          onDone={(id) => {
            setMaking(false);
            go(`/batches/${id}`);
          }}
        />
      </Modal>
    </Page>
  );
}

function First() {
  const { model } = useModel();
  const [, go] = useLocation();
  return (
    <Empty title={t("batches.empty")}>
      <p>{t("batches.empty_more")}</p>
      {model && <Upload file={sampleBatch(model.id)} onDone={(id) => go(`/batches/${id}`)} />}
    </Empty>
  );
}

const progress = ({ request_counts: counts }: BatchBody): number =>
  counts.total === 0 ? 0 : (counts.completed + counts.failed) / counts.total;

const TONES: Record<string, string> = {
  failed: "text-red",
  expired: "text-amber",
  cancelling: "text-amber",
};

const statusWord = (status: string): string => known("batch", status) ?? status;

function BatchTable({ batches }: { batches: readonly BatchBody[] }) {
  const now = useWallClock(5_000);
  return (
    <Table>
      <caption className="sr-only">{t("nav.batches")}</caption>
      <thead>
        <tr>
          <th>{t("batches.one")}</th>
          <th>{t("common.model")}</th>
          <th>{t("jobs.col_state")}</th>
          <th>{t("batches.progress")}</th>
          <th className="figure">{t("batches.failed_lines")}</th>
          <th className="figure">{t("batches.tokens")}</th>
          <th>{t("jobs.col_age")}</th>
        </tr>
      </thead>
      <tbody>
        {batches.map((batch) => (
          <tr key={batch.id} data-row="">
            <td>
              <Link
                href={`/batches/${batch.id}`}
                className="[overflow-wrap:anywhere] hover:underline"
              >
                {batch.metadata.name ?? batch.id}
              </Link>
            </td>
            <td>{batch.model ?? "—"}</td>
            <td className={TONES[batch.status]}>{statusWord(batch.status)}</td>
            <td className="min-w-40">
              <Progress batch={batch} />
            </td>
            <td className={`figure ${batch.request_counts.failed > 0 ? "text-red" : ""}`}>
              {count(batch.request_counts.failed)}
            </td>
            <td className="figure">{count(batch.usage.total_tokens)}</td>
            <td className="whitespace-nowrap">{span(now - batch.created_at)}</td>
          </tr>
        ))}
      </tbody>
    </Table>
  );
}

function Progress({ batch }: { batch: BatchBody }) {
  const { total, completed, failed } = batch.request_counts;
  return (
    <>
      <span className="text-xs">{t("batches.done_of", { done: completed + failed, total })}</span>
      <div
        role="progressbar"
        aria-label={t("batches.progress")}
        aria-valuenow={Math.round(progress(batch) * 100)}
        aria-valuemin={0}
        aria-valuemax={100}
        className="mt-1 h-[3px] bg-line"
      >
        <div className="h-full bg-accent" style={{ width: `${progress(batch) * 100}%` }} />
      </div>
    </>
  );
}

function Sheet({ batch }: { batch: BatchBody | undefined }) {
  const queries = useQueryClient();
  const [error, setError] = useState<unknown>(null);
  if (batch === undefined) return null;
  const cancel = async () => {
    try {
      await ask("POST /v1/batches/{batch_id}/cancel", { path: { batch_id: batch.id } });
      setError(null);
    } catch (failure) {
      setError(failure);
    }
    await queries.invalidateQueries({ queryKey: BATCHES_KEY });
  };
  const times = [
    ["created", batch.created_at],
    ["began", batch.in_progress_at],
    ["completed", batch.completed_at],
    ["failed", batch.failed_at],
    ["cancelled", batch.cancelled_at],
    ["expired", batch.expired_at],
  ] as const;
  return (
    <div className="space-y-6">
      <div className="space-y-2">
        <h3 className="text-lg">
          {batch.metadata.name ?? batch.endpoint}{" "}
          <span className={TONES[batch.status]}>{statusWord(batch.status)}</span>
        </h3>
        <p className="text-xs text-soft">{batch.id}</p>
        <Progress batch={batch} />
        {error !== null && <Notice error={error} onDismiss={() => setError(null)} />}
        {OPEN.has(batch.status) && batch.status !== "cancelling" && (
          <Button kind="danger" onClick={() => void cancel()}>
            {t("batches.cancel")}
          </Button>
        )}
      </div>
      <Downloads batch={batch} />
      {batch.errors && batch.errors.data.length > 0 && <Faults batch={batch} />}
      <Part title={t("jobs.life")}>
        <dl className="grid grid-cols-[8rem_minmax(0,1fr)] gap-y-1">
          {times.map(
            ([word, at]) =>
              at !== undefined && (
                <div key={word} className="contents">
                  <dt className="text-soft">{t(`batches.at_${word}`)}</dt>
                  <dd>{moment(at)}</dd>
                </div>
              ),
          )}
          <dt className="text-soft">{t("batches.tokens")}</dt>
          <dd>
            {t("batches.usage", {
              input: batch.usage.input_tokens,
              cached: batch.usage.input_tokens_details.cached_tokens ?? 0,
              output: batch.usage.output_tokens,
            })}
          </dd>
        </dl>
      </Part>
    </div>
  );
}

function Downloads({ batch }: { batch: BatchBody }) {
  const files = [
    ["input", batch.input_file_id],
    ["output", batch.output_file_id],
    ["errors", batch.error_file_id],
  ] as const;
  return (
    <Part title={t("batches.files")}>
      <ul className="flex flex-wrap gap-x-5">
        {files.map(
          ([word, id]) =>
            id && (
              <li key={word}>
                <a
                  href={`/v1/files/${encodeURIComponent(id)}/content`}
                  download={`${batch.id}-${word}.jsonl`}
                  className="underline decoration-line underline-offset-4 hover:decoration-accent"
                >
                  {t(`batches.file_${word}`)}
                </a>
              </li>
            ),
        )}
      </ul>
    </Part>
  );
}

function Faults({ batch }: { batch: BatchBody }) {
  return (
    <Part title={t("batches.errors")}>
      <Table>
        <thead>
          <tr>
            <th className="figure">{t("batches.line")}</th>
            <th>{t("batches.what")}</th>
          </tr>
        </thead>
        <tbody>
          {batch.errors?.data.map((fault, place) => (
            <tr key={place}>
              <td className="figure">{fault.line === null ? "—" : count(fault.line)}</td>
              <td>
                {fault.message} <span className="text-xs text-soft">{fault.code}</span>
              </td>
            </tr>
          ))}
        </tbody>
      </Table>
    </Part>
  );
}
