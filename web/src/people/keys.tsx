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
import { useAct } from "../parts/act";
import { Button } from "../parts/button";
import { CopyButton } from "../parts/copy";
import { useWallClock } from "../parts/countdown";
import { TextField } from "../parts/field";
import { Form, FormEnd } from "../parts/form";
import { Modal } from "../parts/modal";
import { readNames, writeNames } from "../parts/names";
import { Notice } from "../parts/notice";
import { ActionsCell, ActionsHead, Table } from "../parts/table";

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
  const [subject, setSubject] = useState<KeyBody | "new" | null>(null);
  const [made, setMade] = useState<KeyBody | null>(null);
  const write = may("keys.write");
  return (
    <div className="space-y-4">
      {write && (
        <Button kind="plain" onClick={() => setSubject("new")}>
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
              <ActionsHead />
            </tr>
          </thead>
          <tbody>
            {data.data.map((key) => (
              <Row
                key={key.id}
                api={key}
                project={project}
                write={write}
                onEdit={() => setSubject(key)}
                onMade={setMade}
              />
            ))}
          </tbody>
        </Table>
      )}
      <Modal
        open={subject !== null}
        onClose={() => setSubject(null)}
        title={subject === null || subject === "new" ? t("keys_page.new") : subject.name}
      >
        {subject !== null && (
          <KeyForm
            project={project}
            before={subject === "new" ? null : subject}
            onDone={(key) => {
              setSubject(null);
              if (key.value) setMade(key);
            }}
          />
        )}
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
  onEdit,
  onMade,
}: {
  api: KeyBody;
  project: string;
  write: boolean;
  onEdit: () => void;
  onMade: (key: KeyBody) => void;
}) {
  const now = useWallClock(30_000);
  const currency = useSession().data?.currency ?? "USD";
  const { act, ...acted } = useAct();
  const { server_tags: tags = [] } = api;
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
      <td>
        {api.name}
        {tags.length > 0 && (
          <span className="block text-xs text-soft">
            {t("tags.only", { tags: writeNames(tags) })}
          </span>
        )}
      </td>
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
      <ActionsCell acted={acted}>
        {write && api.revoked_at === null && (
          <>
            <Button inline onClick={onEdit}>
              {t("play.edit")}
            </Button>
            <Button inline onClick={() => void rotate()}>
              {t("keys_page.rotate")}
            </Button>
            <Button inline className="text-red!" onClick={() => void revoke()}>
              {t("keys_page.revoke")}
            </Button>
          </>
        )}
      </ActionsCell>
    </tr>
  );
}

const typedNumber = (typed: string) => (typed.trim() === "" ? null : Number(typed));

/** Days that are left of a key, rounded up; empty for one that does not expire. */
const daysLeft = (key: KeyBody | null): string =>
  key?.expires_at == null ? "" : String(Math.ceil((key.expires_at - Date.now() / 1000) / DAY));

/** A new key, or another name, end, cap and tags for one that is there. */
export function KeyForm({
  project,
  before,
  onDone,
}: {
  project: string;
  before: KeyBody | null;
  onDone: (key: KeyBody) => void;
}) {
  const [name, setName] = useState(before?.name ?? "");
  const [daysThen] = useState(() => daysLeft(before));
  const [days, setDays] = useState(daysThen);
  const capThen = before?.monthly_cap_nanos ?? null;
  const [cap, setCap] = useState(capThen === null ? "" : String(capThen / NANOS));
  const [tags, setTags] = useState(writeNames(before?.server_tags));
  const { act, ...acted } = useAct();
  // A key that has expired keeps its end until somebody types another one.
  const good = [cap, days === daysThen ? "" : days].every((typed) => (typedNumber(typed) ?? 1) > 0);
  const terms = () => {
    const left = typedNumber(days);
    const most = typedNumber(cap);
    return {
      name: name.trim(),
      monthly_cap_nanos: most === null ? null : Math.round(most * NANOS),
      server_tags: readNames(tags),
      // What was rounded for the eye is not written back.
      ...(days === daysThen
        ? {}
        : { expires_at: left === null ? null : Math.floor(Date.now() / 1000 + left * DAY) }),
    };
  };
  const store = async () => {
    const body = terms();
    const path = { project_id: project };
    const stored = await act(() =>
      before === null
        ? ask("POST /api/organisation/projects/{project_id}/api_keys", { path, body })
        : ask("POST /api/organisation/projects/{project_id}/api_keys/{key_id}", {
            path: { ...path, key_id: before.id },
            body,
          }),
    );
    if (stored !== null) onDone(stored);
  };
  return (
    <Form onSend={() => void store()}>
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
      <TextField
        label={t("keys_page.tags")}
        hint={t("keys_page.tags_hint")}
        value={tags}
        onChange={setTags}
      />
      <FormEnd acted={acted} ready={name.trim() !== "" && good}>
        {t(before === null ? "keys_page.make" : "common.save")}
      </FormEnd>
    </Form>
  );
}
