// Who did what to which object, newest first; nothing here can be changed.
import { useInfiniteQuery } from "@tanstack/react-query";
import { useState } from "react";
import { ask } from "../api/routes";
import { useNames } from "../frame/names";
import { Empty } from "../frame/page";
import { moment } from "../language/format";
import { t } from "../language/t";
import { Button } from "../parts/button";
import { TextField } from "../parts/field";
import { Notice } from "../parts/notice";
import { Table } from "../parts/table";

const ROWS_PER_PAGE = 50;

export function Audit() {
  const [type, setType] = useState("");
  const names = useNames();
  const list = useInfiniteQuery({
    queryKey: ["people", "audit", type],
    queryFn: ({ pageParam, signal }) =>
      ask(
        "GET /api/organisation/audit_logs",
        {
          query: {
            limit: ROWS_PER_PAGE,
            ...(type.trim() === "" ? {} : { type: type.trim() }),
            ...(pageParam === null ? {} : { before: pageParam }),
          },
        },
        signal,
      ),
    initialPageParam: null as number | null,
    getNextPageParam: (page) => (page.has_more ? page.last_number : null),
  });
  const rows = list.data?.pages.flatMap((page) => page.data) ?? [];
  return (
    <div className="space-y-4">
      <div className="flex flex-wrap items-end gap-4">
        <TextField className="w-56" label={t("audit.type")} value={type} onChange={setType} />
        {(["csv", "jsonl"] as const).map((format) => (
          <a
            key={format}
            href={`/api/organisation/audit_logs/export?format=${format}`}
            download={`audit.${format}`}
            className="py-1 text-soft hover:text-ink"
          >
            {t(`audit.${format}`)}
          </a>
        ))}
      </div>
      {list.error && <Notice error={list.error} onRetry={() => void list.refetch()} />}
      {list.isSuccess && rows.length === 0 && <Empty title={t("audit.empty")} />}
      {rows.length > 0 && (
        <Table>
          <caption className="sr-only">{t("people.audit")}</caption>
          <thead>
            <tr>
              <th>{t("audit.when")}</th>
              <th>{t("audit.who")}</th>
              <th>{t("audit.did")}</th>
              <th>{t("audit.object")}</th>
              <th>{t("audit.details")}</th>
            </tr>
          </thead>
          <tbody>
            {rows.map((row) => (
              <tr key={row.number} data-row="">
                <td className="whitespace-nowrap">{moment(row.effective_at)}</td>
                <td>{names(row.actor.user ?? row.actor.api_key ?? "") || "—"}</td>
                <td className="whitespace-nowrap">{row.type}</td>
                <td className="[overflow-wrap:anywhere]">{names(row.object_id)}</td>
                <td className="text-xs leading-[1.375rem] text-soft [overflow-wrap:anywhere]">
                  {Object.entries(row.details)
                    .map(([name, value]) => `${name}: ${value}`)
                    .join(", ")}
                </td>
              </tr>
            ))}
          </tbody>
        </Table>
      )}
      {list.hasNextPage && (
        <Button onClick={() => void list.fetchNextPage()}>{t("audit.more")}</Button>
      )}
    </div>
  );
}
