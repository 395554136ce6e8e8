// Jobs: one sentence, one table that says why each job waits, a sheet beside it for one job.
import { useState } from "react";
import { useLocation, useSearchParams } from "wouter";
import { Empty, Page } from "../frame/page";
import { count, span } from "../language/format";
import { plural, t } from "../language/t";
import { Button } from "../parts/button";
import { Modal } from "../parts/modal";
import { Notice } from "../parts/notice";
import { readFilter } from "./filter";
import { Filters } from "./filters";
import { useCluster, useJobs, useQueues } from "./queries";
import { typicalWait } from "./shape";
import { JobSheet } from "./sheet";
import { Submit } from "./submit";
import { JobTable } from "./table";

export function Jobs({ job }: { job: string | null }) {
  const [, go] = useLocation();
  const [address] = useSearchParams();
  const [submitting, setSubmitting] = useState(false);
  const search = address.size === 0 ? "" : `?${address}`;
  return (
    <Page
      title={t("nav.jobs")}
      sentence={<Sentence />}
      actions={
        <Button kind="plain" onClick={() => setSubmitting(true)}>
          {t("jobs.submit")}
        </Button>
      }
    >
      <Filters />
      <List onSubmit={() => setSubmitting(true)} />
      <Modal
        open={job !== null}
        onClose={() => go(`/jobs${search}`)}
        title={t("jobs.one")}
        place="side"
      >
        {job !== null && <JobSheet key={job} id={job} />}
      </Modal>
      <Modal
        open={submitting}
        onClose={() => setSubmitting(false)}
        title={t("jobs.submit_title")}
        place="side"
      >
        <Submit
          onDone={(id) => {
            setSubmitting(false);
            go(`/jobs/${id}${search}`);
          }}
        />
      </Modal>
    </Page>
  );
}

/** The state of the whole yard in one sentence. */
function Sentence() {
  const cluster = useCluster().data;
  const queues = useQueues().data?.data;
  if (cluster === undefined || queues === undefined) return <>&nbsp;</>;
  const waiting = queues.reduce((sum, queue) => sum + queue.waiting + queue.held, 0);
  const wait = typicalWait(queues);
  const failed = Object.values(cluster.failures).reduce((sum, each) => sum + each, 0);
  const used = cluster.gpus - cluster.gpus_free;
  const parts = [
    wait === null
      ? t("jobs.waiting", { count: waiting })
      : t("jobs.waiting_median", { count: waiting, p50: span(wait.p50), p95: span(wait.p95) }),
    cluster.gpus > 0 && t("jobs.gpus_used", { used: count(used), gpus: count(cluster.gpus) }),
    cluster.gpus_held > 0 && t("jobs.gpus_held", { held: count(cluster.gpus_held) }),
    failed > 0 && plural("jobs.failures", failed),
  ];
  return <>{parts.filter(Boolean).join(" · ")}</>;
}

function List({ onSubmit }: { onSubmit: () => void }) {
  const [address] = useSearchParams();
  const list = useJobs(readFilter(address));
  const jobs = list.data?.pages.flatMap((page) => page.data) ?? [];
  if (list.error && jobs.length === 0) {
    return <Notice error={list.error} onRetry={() => void list.refetch()} />;
  }
  if (list.isPending) return null;
  if (jobs.length === 0) {
    if (address.size > 0) return <Empty title={t("jobs.none_match")} />;
    return (
      <Empty title={t("jobs.empty")}>
        <p>{t("jobs.empty_more")}</p>
        <Button kind="primary" onClick={onSubmit}>
          {t("jobs.submit")}
        </Button>
      </Empty>
    );
  }
  return (
    <>
      <JobTable jobs={jobs} />
      {list.hasNextPage && (
        <Button onClick={() => void list.fetchNextPage()} disabled={list.isFetchingNextPage}>
          {t("jobs.more")}
        </Button>
      )}
    </>
  );
}
