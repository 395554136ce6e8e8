// Models: what is served, how large its window is, and what it costs.
import { useQuery } from "@tanstack/react-query";
import { server } from "../api/server";
import { Empty, Page } from "../frame/page";
import { useModels } from "../frame/session";
import { count, money } from "../language/format";
import { t } from "../language/t";
import { Notice } from "../parts/notice";
import { Table } from "../parts/table";
import { Routes } from "./routes";
import { Upstreams } from "./upstreams";

export function Models() {
  const { data, error, refetch } = useModels();
  const prices = useQuery({
    queryKey: ["prices"],
    queryFn: server.prices,
    staleTime: 300_000,
  }).data;
  const priceOf = (model: string) =>
    prices?.prices.find((each) => each.model === model) ??
    prices?.prices.find((each) => each.model === "*");
  const cost = (nanos: number | undefined) =>
    nanos === undefined || prices === undefined ? "—" : money(nanos, prices.currency);
  return (
    <Page title={t("nav.models")} sentence={t("models.sentence")}>
      {error && !data && <Notice error={error} onRetry={() => void refetch()} />}
      {data?.data.length === 0 && <Empty title={t("play.no_model")} />}
      {data && data.data.length > 0 && (
        <Table>
          <caption className="sr-only">{t("nav.models")}</caption>
          <thead>
            <tr>
              <th>{t("common.model")}</th>
              <th className="figure">{t("models.window")}</th>
              <th className="figure">{t("models.input")}</th>
              <th className="figure">{t("models.cached")}</th>
              <th className="figure">{t("models.output")}</th>
            </tr>
          </thead>
          <tbody>
            {data.data.map((model) => {
              const price = priceOf(model.id);
              return (
                <tr key={model.id}>
                  <td>
                    {model.id}
                    <span className="block text-xs text-soft">{model.owned_by}</span>
                  </td>
                  <td className="figure">
                    {model.context_window === undefined ? "—" : count(model.context_window)}
                  </td>
                  <td className="figure">{cost(price?.input_nanos_per_million)}</td>
                  <td className="figure">{cost(price?.cached_input_nanos_per_million)}</td>
                  <td className="figure">{cost(price?.output_nanos_per_million)}</td>
                </tr>
              );
            })}
          </tbody>
        </Table>
      )}
      <Upstreams />
      <Routes />
    </Page>
  );
}
