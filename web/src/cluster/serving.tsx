// The replicas that serve models, beside the nodes that run jobs: what each has to do at this moment.
import { Link } from "wouter";
import { Part } from "../frame/page";
import { count } from "../language/format";
import { t } from "../language/t";
import { useUpstreams } from "../models/queries";
import { HealthWord, share } from "../models/upstreams";
import { Hairline } from "../parts/gauge";
import { Table } from "../parts/table";

const EVERY_MS = 2_500;

export function Serving() {
  const { data } = useUpstreams(EVERY_MS);
  if (data === undefined || data.data.length === 0) return null;
  return (
    <Part
      title={t("cluster.serving")}
      actions={
        <Link href="/models" className="text-xs text-soft hover:text-ink">
          {t("nav.models")}
        </Link>
      }
    >
      <Table>
        <caption className="sr-only">{t("cluster.serving")}</caption>
        <thead>
          <tr>
            <th>{t("cluster.replica")}</th>
            <th>{t("jobs.col_state")}</th>
            <th>{t("upstreams.models")}</th>
            <th className="figure">{t("upstreams.running")}</th>
            <th className="figure">{t("upstreams.waiting")}</th>
            <th className="figure">{t("upstreams.prefix")}</th>
            <th className="w-56">{t("upstreams.kv")}</th>
          </tr>
        </thead>
        <tbody>
          {data.data.map(({ name, health, breaker, models, load }) => (
            <tr key={name} data-row="">
              <td>{name}</td>
              <td>
                <HealthWord health={health} breaker={breaker} />
              </td>
              <td>{models.join(", ") || "—"}</td>
              <td className="figure">{load ? count(load.running) : "—"}</td>
              <td className="figure">{load ? count(load.waiting) : "—"}</td>
              <td className="figure">{load ? share(load.prefix_hit_share) : "—"}</td>
              <td>
                {load ? (
                  <span className="flex items-center gap-3">
                    <span className="shrink-0 text-end md:w-10">{share(load.kv_share)}</span>
                    <span className="w-24">
                      <Hairline part={load.kv_share} label={t("upstreams.kv_of", { name })} />
                    </span>
                  </span>
                ) : (
                  "—"
                )}
              </td>
            </tr>
          ))}
        </tbody>
      </Table>
    </Part>
  );
}
