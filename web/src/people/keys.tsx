// API keys of the project: made, limited, rotated and revoked. A value is shown once.
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import type { KeyBody } from "../../../docs/reference/openapi";
import { ask } from "../api/routes";
import { useMay } from "../frame/names";
import { Empty } from "../frame/page";
import { useSession } from "../frame/session";
import { moment, money, span } from "../language/format";
import { t } from "../language/t";
import { Button } from "../parts/button";
import { CopyButton } from "../parts/copy";
import { useWallClock } from "../parts/countdown";
import { TextField } from "../parts/field";
import { Modal } from "../parts/modal";
import { Notice } from "../parts/notice";
import { Table } from "../parts/table";
import { useAct } from "./act";

const NANOS = 1_000_000_000;
const DAY = 86_400;
const OVERLAP_SECONDS = 3_600;

export function Keys() {
  const { data: session } = useSession();
  const may = useMay();
  const project = session?.project.id ?? "";
  const { data, error, refetch } = useQuery({
    queryKey: ["people", "keys", project],
    queryFn: ({ signal }) =>
      ask(
        "GET /api/organisation/projects/{project_id}/api_keys",
        { path: { project_id: project } },
        signal,
      ),
    enabled: project !== "",
  });
  const [making, setMaking] = useState(false);
  const [made, setMade] = useState<KeyBody | null>(null);
  const write = may("keys.write");
  return (
    <div className="space-y-4">
      {write && (
        <Button kind="plain" onClick={() => setMaking(true)}>
          {t("keys_page.new")}
        </Button>
      )}
      {error && !data && <Notice error={error} onRetry={() => void refetch()} />}
      {data?.data.length === 0 && (
        <Empty title={t("keys_page.empty")}>
          <p>{t("keys_page.empty_more")}</p>
        </Empty>
      )}
      {data && data.data.length > 0 && (
        <Table>
          <caption className="sr-only">{t("people.keys")}</caption>
          <thead>
            <tr>
              <th>{t("jobs.name")}</th>
              <th>{t("keys_page.value")}</th>
              <th>{t("keys_page.owner")}</th>
              <th>{t("keys_page.used")}</th>
              <th>{t("keys_page.expires")}</th>
              <th className="figure">{t("keys_page.cap")}</th>
              <th>
                <span className="sr-only">{t("cluster.actions")}</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {data.data.map((key) => (
              <Row key={key.id} api={key} project={project} write={write} onMade={setMade} />
            ))}
          </tbody>
        </Table>
      )}
      <Modal open={making} onClose={() => setMaking(false)} title={t("keys_page.new")}>
        <Form
          project={project}
          onMade={(key) => {
            setMaking(false);
            setMade(key);
          }}
        />
      </Modal>
      <Modal open={made !== null} onClose={() => setMade(null)} title={t("keys_page.made")}>
        {made?.value && <Secret about={t("keys_page.once")} value={made.value} />}
      </Modal>
    </div>
  );
}

/** Something that is shown this once. */
export function Secret({ about, value }: { about: string; value: string }) {
  return (
    <div className="space-y-3">
      <p>{about}</p>
      <p className="rounded bg-wash p-3 font-mono text-[0.8125rem] [overflow-wrap:anywhere]">
        {value}
      </p>
      <CopyButton text={value} />
    </div>
  );
}

function Row({
  api,
  project,
  write,
  onMade,
}: {
  api: KeyBody;
  project: string;
  write: boolean;
  onMade: (key: KeyBody) => void;
}) {
  const now = useWallClock(30_000);
  const currency = useSession().data?.currency ?? "USD";
  const { act, error, dismiss } = useAct();
  const path = { project_id: project, key_id: api.id };
  const rotate = async () => {
    const made = await act(() =>
      ask("POST /api/organisation/projects/{project_id}/api_keys/{key_id}/rotate", {
        path,
        body: { overlap_seconds: OVERLAP_SECONDS },
      }),
    );
    if (made !== null) onMade(made);
  };
  const revoke = () =>
    act(() => ask("DELETE /api/organisation/projects/{project_id}/api_keys/{key_id}", { path }));
  return (
    <tr data-row="">
      <td>{api.name}</td>
      <td className="font-mono text-xs leading-[1.375rem]">{api.redacted_value}</td>
      <td>{api.owner.name || api.owner.id}</td>
      <td className="whitespace-nowrap">
        {api.last_used_at === null
          ? t("keys_page.never")
          : t("keys_page.ago", { time: span(now - api.last_used_at) })}
      </td>
      <td className="whitespace-nowrap">
        {api.revoked_at !== null ? (
          <span className="text-amber">{t("keys_page.revoked")}</span>
        ) : api.expires_at === null ? (
          "—"
        ) : (
          moment(api.expires_at)
        )}
      </td>
      <td className="figure">
        {api.monthly_cap_nanos === null ? "—" : money(api.monthly_cap_nanos, currency)}
      </td>
      <td className="text-end">
        {write && api.revoked_at === null && (
          <span className="inline-flex gap-4">
            <Button inline onClick={() => void rotate()}>
              {t("keys_page.rotate")}
            </Button>
            <Button inline className="text-red!" onClick={() => void revoke()}>
              {t("keys_page.revoke")}
            </Button>
          </span>
        )}
        {error !== null && <Notice error={error} onDismiss={dismiss} />}
      </td>
    </tr>
  );
}

function Form({ project, onMade }: { project: string; onMade: (key: KeyBody) => void }) {
  const [name, setName] = useState("");
  const [days, setDays] = useState("");
  const [cap, setCap] = useState("");
  const { act, error, dismiss } = useAct();
  const number = (typed: string) => (typed.trim() === "" ? null : Number(typed));
  const good = [days, cap].every((typed) => (number(typed) ?? 1) > 0);
  const make = async () => {
    const left = number(days);
    const most = number(cap);
    const body = {
      name: name.trim(),
      expires_at: left === null ? null : Math.floor(Date.now() / 1000 + left * DAY),
      monthly_cap_nanos: most === null ? null : Math.round(most * NANOS),
    };
    const path = { project_id: project };
    const made = await act(() =>
      ask("POST /api/organisation/projects/{project_id}/api_keys", { path, body }),
    );
    if (made !== null) onMade(made);
  };
  return (
    <form
      className="space-y-4"
      onSubmit={(event) => {
        event.preventDefault();
        void make();
      }}
    >
      <TextField label={t("jobs.name")} value={name} onChange={setName} />
      <TextField
        label={t("keys_page.days")}
        hint={t("keys_page.days_hint")}
        value={days}
        onChange={setDays}
      />
      <TextField
        label={t("keys_page.cap_month")}
        hint={t("keys_page.cap_hint")}
        value={cap}
        onChange={setCap}
      />
      {error !== null && <Notice error={error} onDismiss={dismiss} />}
      <div className="flex justify-end">
        <Button kind="primary" type="submit" disabled={name.trim() === "" || !good}>
          {t("keys_page.make")}
        </Button>
      </div>
    </form>
  );
}
