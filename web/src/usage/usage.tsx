// Usage: what it took and what it cost, by whatever a person asks for; budgets as hairlines.
import { useQuery } from "@tanstack/react-query";
import { useSearchParams } from "wouter";
import type { MonthSummary, Standing } from "../../../docs/reference/openapi";
import { ask } from "../api/routes";
import { useNames } from "../frame/names";
import { Empty, Page, Part } from "../frame/page";
import { count, money, span } from "../language/format";
import { t } from "../language/t";
import { Hairline } from "../parts/gauge";
import { Notice } from "../parts/notice";
import { Table } from "../parts/table";
import { Tabs } from "../parts/tabs";
import { type Bar, bars, DIMENSIONS, type Dimension, SPANS, type Total, totals } from "./sums";

const DAY = 86_400;
const NAMED_MAX = 4;
const LABELS_MAX = 8;
const SHADES = [1, 0.7, 0.45, 0.25, 0.12];

interface View {
  by: Dimension;
  days: number;
}

function useView(): [View, (change: Partial<Record<keyof View, string>>) => void] {
  const [address, setAddress] = useSearchParams();
  const by = DIMENSIONS.find((each) => each === address.get("by")) ?? "model";
  const days = SPANS.find((each) => String(each) === address.get("days")) ?? 7;
  const change = (part: Partial<Record<keyof View, string>>) => {
    const next = new URLSearchParams(address);
    for (const [name, value] of Object.entries(part)) next.set(name, value);
    setAddress(next, { replace: true });
  };
  return [{ by, days }, change];
}

/** Whole buckets: hours for a day, days for more. */
function rangeOf({ days, by }: View) {
  const width = days === 1 ? ("1h" as const) : ("1d" as const);
  const unit = days === 1 ? 3600 : DAY;
  const end = (Math.floor(Date.now() / 1000 / unit) + 1) * unit;
  const limit = days === 1 ? 24 : days;
  const start_time = end - limit * unit;
  return { start_time, end_time: end, bucket_width: width, limit, group_by: by };
}

export function Usage() {
  const [view] = useView();
  const query = rangeOf(view);
  const { data, error, refetch } = useQuery({
    queryKey: ["usage", query],
    queryFn: ({ signal }) => ask("GET /v1/organization/usage/completions", { query }, signal),
    refetchInterval: 30_000,
  });
  const month = useQuery({
    queryKey: ["usage", "month"],
    queryFn: ({ signal }) => ask("GET /api/usage/month", {}, signal),
  }).data;
  const sums = totals(data?.data ?? [], view.by);
  const currency =
    month?.currency ?? data?.data.flatMap((each) => each.results)[0]?.currency ?? "USD";
  const { start_time, end_time, bucket_width, limit, group_by } = query;
  const search = new URLSearchParams(
    Object.entries({ start_time, end_time, bucket_width, limit, group_by }).map(([name, value]) => [
      name,
      String(value),
    ]),
  );
  return (
    <Page
      title={t("nav.usage")}
      sentence={month ? sentenceOf(month) : <>&nbsp;</>}
      actions={
        <a
          href={`/api/usage.csv?${search}`}
          download="usage.csv"
          className="text-soft hover:text-ink"
        >
          {t("usage.csv")}
        </a>
      }
    >
      {month && <Budgets month={month} />}
      <Controls />
      {error && !data && <Notice error={error} onRetry={() => void refetch()} />}
      {data && sums.length === 0 && (
        <Empty title={t("usage.empty")}>
          <p>{t("usage.empty_more")}</p>
        </Empty>
      )}
      {data && sums.length > 0 && (
        <>
          <Chart
            list={bars(
              data.data,
              view.by,
              sums.slice(0, NAMED_MAX).map((each) => each.name),
            )}
            names={sums.slice(0, NAMED_MAX).map((each) => each.name)}
            more={sums.length > NAMED_MAX}
            currency={currency}
            hours={view.days === 1}
          />
          <UsageTable sums={sums} currency={currency} />
        </>
      )}
    </Page>
  );
}

function sentenceOf(month: MonthSummary): string {
  const own = month.standings.find((each) => each.scope === "project") ?? month.standings[0];
  const cost = (nanos: number) => money(nanos, month.currency);
  return [
    own && t("usage.month", { cost: cost(own.spent_nanos), forecast: cost(own.forecast_nanos) }),
    t("usage.tokens", {
      requests: month.requests,
      input: month.input_tokens,
      output: month.output_tokens,
    }),
    month.cache_saved_nanos > 0 && t("usage.saved", { cost: cost(month.cache_saved_nanos) }),
  ]
    .filter(Boolean)
    .join(" · ");
}

function Budgets({ month }: { month: MonthSummary }) {
  const limited = month.standings.filter((each) => each.soft_nanos ?? each.hard_nanos);
  if (limited.length === 0) return null;
  return (
    <Part title={t("usage.budgets")}>
      <ul className="grid gap-x-8 gap-y-3 sm:grid-cols-2 xl:grid-cols-4">
        {limited.map((each) => (
          <Budget key={`${each.scope}${each.subject}`} standing={each} currency={month.currency} />
        ))}
      </ul>
    </Part>
  );
}

function Budget({ standing, currency }: { standing: Standing; currency: string }) {
  const limit = standing.hard_nanos ?? standing.soft_nanos ?? 0;
  const taken = standing.spent_nanos + standing.reserved_nanos;
  const over = standing.forecast_nanos > limit;
  const label = t("usage.budget", {
    scope: t(`usage.scope_${standing.scope as "project"}`),
    spent: money(taken, currency),
    limit: money(limit, currency),
  });
  return (
    <li className="space-y-1.5 text-xs">
      <p>{label}</p>
      <Hairline part={limit === 0 ? 1 : taken / limit} label={label} />
      <p className={over ? "text-amber" : "text-soft"}>
        {t("usage.forecast", { cost: money(standing.forecast_nanos, currency) })}
      </p>
    </li>
  );
}

function Controls() {
  const [view, change] = useView();
  return (
    <div className="flex flex-wrap gap-x-8">
      <Tabs
        label={t("usage.by")}
        value={view.by}
        options={DIMENSIONS.map((each) => [each, t(`usage.by_${each}`)] as const)}
        onChange={(by) => change({ by })}
      />
      <Tabs
        label={t("usage.span")}
        value={String(view.days)}
        options={SPANS.map((each) => [String(each), t(`usage.days_${each}`)] as const)}
        onChange={(days) => change({ days })}
      />
    </div>
  );
}

function Chart({
  list,
  names,
  more,
  currency,
  hours,
}: {
  list: readonly Bar[];
  names: readonly string[];
  more: boolean;
  currency: string;
  hours: boolean;
}) {
  const shown = useNames();
  const top = Math.max(1, ...list.map((bar) => bar.total));
  const options: Intl.DateTimeFormatOptions = hours
    ? { hour: "2-digit", hourCycle: "h23" }
    : { day: "numeric", month: "short", timeZone: "UTC" };
  const day = (at: number) =>
    new Intl.DateTimeFormat(document.documentElement.lang, options).format(at * 1000);
  // Every label fits up to a week of days; of more, so many are left out that they stay apart.
  const every = Math.ceil(list.length / LABELS_MAX);
  return (
    <figure>
      <p className="text-end text-xs text-soft">{top > 1 ? money(top, currency) : "\u00a0"}</p>
      <div className="flex h-32 items-end gap-px border-t border-b border-line" aria-hidden="true">
        {list.map((bar) => (
          <div key={bar.at} className="flex h-full min-w-0 flex-1 items-end justify-center">
            <div
              title={`${day(bar.at)}: ${money(bar.total, currency)}`}
              className="flex w-full max-w-10 flex-col-reverse"
              style={{ height: `${(bar.total / top) * 100}%` }}
            >
              {bar.parts.map((part, place) => (
                <div
                  key={place}
                  className="bg-accent"
                  style={{ flexGrow: part, flexBasis: 0, opacity: SHADES[place] ?? 0.1 }}
                />
              ))}
            </div>
          </div>
        ))}
      </div>
      <div className="mt-1 flex gap-px text-xs text-soft" aria-hidden="true">
        {list.map((bar, place) => (
          <span key={bar.at} className="flex min-w-0 flex-1 justify-center whitespace-nowrap">
            {(list.length - 1 - place) % every === 0 && (
              <span className="w-0 overflow-visible flex justify-center">{day(bar.at)}</span>
            )}
          </span>
        ))}
      </div>
      <figcaption className="mt-3 flex flex-wrap gap-x-4 text-xs text-soft">
        {[...names, ...(more ? [null] : [])].map((name, place) => (
          <span key={name ?? "more"} className="inline-flex items-center gap-1.5">
            <span className="size-2.5 bg-accent" style={{ opacity: SHADES[place] ?? 0.1 }} />
            {name === null ? t("usage.others") : shown(name) || t("usage.nobody")}
          </span>
        ))}
      </figcaption>
    </figure>
  );
}

function UsageTable({ sums, currency }: { sums: readonly Total[]; currency: string }) {
  const [view] = useView();
  const shown = useNames();
  return (
    <Table>
      <caption className="sr-only">{t("nav.usage")}</caption>
      <thead>
        <tr>
          <th>{t(`usage.by_${view.by}`)}</th>
          <th className="figure">{t("usage.requests")}</th>
          <th className="figure">{t("usage.input")}</th>
          <th className="figure">{t("usage.cached")}</th>
          <th className="figure">{t("usage.output")}</th>
          <th className="figure">{t("jobs.gpu_time")}</th>
          <th className="figure">{t("usage.saved_head")}</th>
          <th className="figure">{t("rows.cost")}</th>
        </tr>
      </thead>
      <tbody>
        {sums.map((each) => (
          <tr key={each.name}>
            <td className="min-w-40 [overflow-wrap:anywhere]">
              {shown(each.name) || t("usage.nobody")}
            </td>
            <td className="figure">{count(each.requests)}</td>
            <td className="figure">{count(each.input)}</td>
            <td className="figure">{count(each.cached)}</td>
            <td className="figure">{count(each.output)}</td>
            <td className="figure">{each.gpuSeconds > 0 ? span(each.gpuSeconds) : "—"}</td>
            <td className="figure">{money(each.savedNanos, currency)}</td>
            <td className="figure">{money(each.costNanos, currency)}</td>
          </tr>
        ))}
      </tbody>
    </Table>
  );
}
