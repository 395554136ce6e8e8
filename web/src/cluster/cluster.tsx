// The cluster: nodes as rows, GPUs as cells, what is held and what is of no use to anyone, and how
// it went in the last hours.
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { Link } from "wouter";
import type { ClusterBody, GpuBody, HistoryPoint, NodeBody } from "../../../docs/reference/openapi";
import { ask } from "../api/routes";
import { Empty, Page, Part } from "../frame/page";
import { GROUPS } from "../jobs/filter";
import { useCluster, useJobs } from "../jobs/queries";
import { count, decimal, span } from "../language/format";
import { known, plural, t } from "../language/t";
import { useWallClock } from "../parts/countdown";
import { Notice } from "../parts/notice";
import { Strip } from "../parts/strip";
import { ActionsHead, Table } from "../parts/table";
import { series } from "./series";
import { Serving } from "./serving";

const HOURS = 6;
const HISTORY_EVERY_MS = 15_000;

export function Cluster() {
  const { data, error, refetch } = useCluster();
  return (
    <Page title={t("nav.cluster")} sentence={data ? sentenceOf(data) : <>&nbsp;</>}>
      {error && !data && <Notice error={error} onRetry={() => void refetch()} />}
      {data && data.nodes.length === 0 && (
        <Empty title={t("cluster.empty")}>
          <p>{t("cluster.empty_more")}</p>
        </Empty>
      )}
      {data && data.nodes.length > 0 && (
        <>
          <History cluster={data} />
          <div className="space-y-2">
            <Nodes nodes={data.nodes} />
            <p className="max-w-[96ch] text-xs text-soft">{t("cluster.legend")}</p>
          </div>
        </>
      )}
      <Serving />
    </Page>
  );
}

/** What is known of this very moment, as the last point of the history. */
function present(cluster: ClusterBody, at: number): HistoryPoint {
  const jobs = Object.entries(cluster.jobs).map(([state, count]) => [`queue/all/${state}`, count]);
  return {
    at,
    values: {
      "cluster/gpus": cluster.gpus,
      "cluster/gpus_free": cluster.gpus_free,
      "cluster/gpus_held": cluster.gpus_held,
      ...Object.fromEntries(jobs),
    },
  };
}

function sentenceOf(cluster: ClusterBody): string {
  const parts = [
    plural("cluster.nodes", cluster.nodes.length),
    cluster.gpus > 0 &&
      t("jobs.gpus_used", {
        used: decimal(cluster.gpus - cluster.gpus_free, 0),
        gpus: count(cluster.gpus),
      }),
    cluster.gpus_held > 0 && t("jobs.gpus_held", { held: count(cluster.gpus_held) }),
    cluster.gpus_fragmented > 0 &&
      t("cluster.fragmented", { gpus: count(Math.round(cluster.gpus_fragmented * 10) / 10) }),
    cluster.preemptions > 0 && plural("cluster.preemptions", cluster.preemptions),
    cluster.lost_gpu_seconds > 0 && t("cluster.lost", { time: span(cluster.lost_gpu_seconds) }),
    t("cluster.profile", { profile: cluster.profile }),
  ];
  return parts.filter(Boolean).join(" · ");
}

function History({ cluster }: { cluster: ClusterBody }) {
  const { data } = useQuery({
    queryKey: ["cluster", "history"],
    queryFn: ({ signal }) =>
      ask(
        "GET /api/cluster/history",
        {
          query: {
            since: Math.floor(Date.now() / 1000) - HOURS * 3600,
            limit: 720,
            names: "cluster/,queue/",
          },
        },
        signal,
      ),
    refetchInterval: HISTORY_EVERY_MS,
  });
  const now = useWallClock(HISTORY_EVERY_MS);
  if (data === undefined) return <div className="h-20" />;
  const view = series([...data.data, present(cluster, now)]);
  const window = { from: now - HOURS * 3600, to: now };
  return (
    <Part title={t("cluster.history", { hours: HOURS })}>
      <div className="grid grid-cols-2 gap-x-8 gap-y-4 xl:grid-cols-4">
        <Strip label={t("cluster.used")} points={view.used} {...window} top={view.gpusMax} />
        <Strip label={t("cluster.held")} points={view.held} {...window} top={view.gpusMax} />
        <Strip label={t("cluster.running")} points={view.running} {...window} />
        <Strip label={t("cluster.waiting")} points={view.waiting} {...window} />
      </div>
    </Part>
  );
}

/** What runs or holds seats, by its name. */
function useJobNames(): ReadonlyMap<string, string> {
  const running = useJobs({ ...EVERY_JOB, states: GROUPS.running }).data?.pages ?? [];
  const waiting = useJobs({ ...EVERY_JOB, states: GROUPS.waiting }).data?.pages ?? [];
  const jobs = [...running, ...waiting].flatMap((page) => page.data);
  return new Map(jobs.map((job) => [job.id, job.name]));
}

const EVERY_JOB = { queue: "", type: "", search: "" };

function Nodes({ nodes }: { nodes: readonly NodeBody[] }) {
  const names = useJobNames();
  return (
    <Table>
      <caption className="sr-only">{plural("cluster.nodes", nodes.length)}</caption>
      <thead>
        <tr>
          <th>{t("cluster.node")}</th>
          <th>{t("jobs.col_state")}</th>
          <th>{t("cluster.gpus")}</th>
          <th className="figure">{t("cluster.cpus")}</th>
          <th className="figure">{t("cluster.memory")}</th>
          <th>{t("cluster.work")}</th>
          <ActionsHead />
        </tr>
      </thead>
      <tbody>
        {nodes.map((node) => (
          <NodeRow key={node.name} node={node} names={names} />
        ))}
      </tbody>
    </Table>
  );
}

const gib = (mib: number): string => decimal(mib / 1024, mib < 10_240 ? 1 : 0);

function NodeRow({ node, names }: { node: NodeBody; names: ReadonlyMap<string, string> }) {
  const tone = node.state === "open" ? "" : node.state === "lost" ? "text-red" : "text-amber";
  return (
    <tr data-row="">
      <td className="whitespace-nowrap">
        {node.name}
        <span className="block text-xs text-soft">
          {[node.executor, node.gpu_model].filter(Boolean).join(" · ")}
        </span>
      </td>
      <td className={tone}>
        {known("node", node.state) ?? node.state}
        {node.reason && <span className="block text-xs text-soft">{node.reason}</span>}
      </td>
      <td className={node.devices.length > 0 ? "min-w-44" : ""}>
        {node.devices.length === 0 ? "—" : <Gpus devices={node.devices} names={names} />}
      </td>
      <td className="figure">
        {t("cluster.of", { used: decimal(node.cpus - node.cpus_free, 0), all: count(node.cpus) })}
      </td>
      <td className="figure">
        {t("cluster.of_gib", {
          used: gib(node.memory_mib - node.memory_mib_free),
          all: gib(node.memory_mib),
        })}
      </td>
      <td className="min-w-40">
        {node.jobs.length === 0 ? (
          <span className="text-soft">—</span>
        ) : (
          <ul className="flex flex-wrap gap-x-3">
            {node.jobs.slice(0, 8).map((job) => (
              <li key={job}>
                <Link
                  href={`/jobs/${job}`}
                  className="text-xs underline decoration-line underline-offset-4 hover:decoration-accent"
                >
                  {names.get(job) ?? job.slice(0, 12)}
                </Link>
              </li>
            ))}
            {node.jobs.length > 8 && (
              <li className="text-xs text-soft">
                {t("cluster.more_jobs", { count: node.jobs.length - 8 })}
              </li>
            )}
          </ul>
        )}
      </td>
      <td className="text-end">
        <StateChoice node={node} />
      </td>
    </tr>
  );
}

/** A cell for each GPU: filled as far as it is used, hatched when it is held for a gang. */
function Gpus({
  devices,
  names,
}: {
  devices: readonly GpuBody[];
  names: ReadonlyMap<string, string>;
}) {
  const nameOf = (job: string) => names.get(job) ?? job;
  return (
    <ul className="flex max-w-72 flex-wrap gap-1">
      {devices.map((gpu) => {
        const used = Math.round((1 - gpu.free) * 100);
        const what =
          gpu.held_for !== null
            ? t("cluster.gpu_held", { index: gpu.index, job: nameOf(gpu.held_for) })
            : used === 0
              ? t("cluster.gpu_free", { index: gpu.index })
              : t("cluster.gpu_used", {
                  index: gpu.index,
                  percent: used,
                  jobs: gpu.jobs.map(nameOf).join(", "),
                });
        return (
          <li
            key={gpu.index}
            title={what}
            className={`relative size-4 border border-edge ${gpu.held_for !== null ? "hatch" : ""}`}
          >
            <span
              aria-hidden="true"
              className="absolute inset-x-0 bottom-0 bg-accent"
              style={{ height: `${used}%` }}
            />
            <span className="sr-only">{what}</span>
          </li>
        );
      })}
    </ul>
  );
}

const STATES = ["open", "cordoned", "draining"] as const;

function StateChoice({ node }: { node: NodeBody }) {
  const queries = useQueryClient();
  const [error, setError] = useState<unknown>(null);
  const change = async (state: (typeof STATES)[number]) => {
    try {
      await ask("POST /api/cluster/nodes/{node}", { path: { node: node.name }, body: { state } });
      setError(null);
    } catch (failure) {
      setError(failure);
    }
    await queries.invalidateQueries({ queryKey: ["cluster"] });
  };
  const chosen = STATES.find((each) => each === node.state);
  return (
    <div className="space-y-1">
      <select
        aria-label={t("cluster.change", { node: node.name })}
        value={chosen ?? ""}
        onChange={(event) => void change(event.target.value as (typeof STATES)[number])}
        className="min-h-8 bg-transparent text-soft hover:text-ink max-md:min-h-11"
      >
        {chosen === undefined && <option value="">{node.state}</option>}
        {STATES.map((each) => (
          <option key={each} value={each}>
            {t(`cluster.set_${each}`)}
          </option>
        ))}
      </select>
      {error !== null && <Notice error={error} onDismiss={() => setError(null)} />}
    </div>
  );
}
