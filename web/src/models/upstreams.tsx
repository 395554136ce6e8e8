// The model servers behind the models: whether they answer, how busy they are; added and removed.
import { useState } from "react";
import type { UpstreamBody, UpstreamRequest } from "../../../docs/reference/openapi";
import { ask } from "../api/routes";
import { useMay } from "../frame/names";
import { Part } from "../frame/page";
import { count, decimal } from "../language/format";
import { t } from "../language/t";
import { useAct } from "../parts/act";
import { Button } from "../parts/button";
import { Choice, TextField } from "../parts/field";
import { Form, FormEnd } from "../parts/form";
import { Modal } from "../parts/modal";
import { readNames, writeNames } from "../parts/names";
import { Notice } from "../parts/notice";
import { ActionsCell, ActionsHead, Table } from "../parts/table";
import { UPSTREAMS_KEY, useUpstreams } from "./queries";

const EVERY_MS = 5_000;
const KINDS = ["openai", "own", "vllm", "llamacpp", "anthropic", "openai-platform"] as const;

export function Upstreams() {
  const { data, error, refetch } = useUpstreams(EVERY_MS);
  const write = useMay()("upstreams.write");
  const [subject, setSubject] = useState<Subject | null>(null);
  const close = () => setSubject(null);
  if (error && !data) return <Notice error={error} onRetry={() => void refetch()} />;
  if (data === undefined) return null;
  return (
    <Part
      title={t("upstreams.title")}
      actions={
        write && (
          <Button inline kind="link" onClick={() => setSubject("new")}>
            {t("upstreams.new")}
          </Button>
        )
      }
    >
      <Table>
        <caption className="sr-only">{t("upstreams.title")}</caption>
        <thead>
          <tr>
            <th>{t("jobs.name")}</th>
            <th>{t("upstreams.health")}</th>
            <th>{t("upstreams.breaker")}</th>
            <th>{t("upstreams.models")}</th>
            <th className="figure">{t("upstreams.in_flight")}</th>
            <th className="figure">{t("upstreams.running")}</th>
            <th className="figure">{t("upstreams.waiting")}</th>
            <th className="figure">{t("upstreams.prefix")}</th>
            <th className="figure">{t("upstreams.kv")}</th>
            <th className="figure">{t("upstreams.weight")}</th>
            <ActionsHead />
          </tr>
        </thead>
        <tbody>
          {data.data.map((each) => (
            <Row key={each.name} upstream={each} write={write} onEdit={() => setSubject(each)} />
          ))}
        </tbody>
      </Table>
      <Modal
        open={subject !== null}
        onClose={close}
        title={subject === null || subject === "new" ? t("upstreams.new") : subject.name}
      >
        {subject !== null && <ServerForm subject={subject} onDone={close} />}
      </Modal>
    </Part>
  );
}

const TONES: Record<string, string> = {
  down: "text-red",
  open: "text-red",
  loading: "text-amber",
  trying: "text-amber",
  disabled: "text-soft",
};

/** How it is; a breaker that is not closed says more than the last look at its health. */
export function HealthWord({ health, breaker }: Pick<UpstreamBody, "health" | "breaker">) {
  const held = breaker !== "closed" && health === "ready";
  return (
    <span className={TONES[held ? breaker : health]}>
      {held ? t("upstreams.held_off") : t(`upstreams.health_${health}`)}
    </span>
  );
}

export const share = (part: number): string => `${decimal(part * 100, 0)} %`;

function Row({
  upstream,
  write,
  onEdit,
}: {
  upstream: UpstreamBody;
  write: boolean;
  onEdit: () => void;
}) {
  const { act, ...acted } = useAct(UPSTREAMS_KEY);
  const { name, load } = upstream;
  const remove = () => void act(() => ask("DELETE /api/upstreams/{name}", { path: { name } }));
  return (
    <tr data-row="">
      <td>
        {name}
        {upstream.url && <span className="block text-xs text-soft">{upstream.url}</span>}
      </td>
      <td>
        <HealthWord health={upstream.health} breaker={upstream.breaker} />
      </td>
      <td className={TONES[upstream.breaker]}>{t(`upstreams.breaker_${upstream.breaker}`)}</td>
      <td>
        {upstream.models.join(", ") || "—"}
        {upstream.tags && upstream.tags.length > 0 && (
          <span className="block text-xs text-soft">{upstream.tags.join(", ")}</span>
        )}
      </td>
      <td className="figure">{count(upstream.in_flight)}</td>
      <td className="figure">{load ? count(load.running) : "—"}</td>
      <td className="figure">{load ? count(load.waiting) : "—"}</td>
      <td className="figure">{load ? share(load.prefix_hit_share) : "—"}</td>
      <td className="figure">{load ? share(load.kv_share) : "—"}</td>
      <td className="figure">
        {count(upstream.weight)} · {count(upstream.priority)}
      </td>
      <ActionsCell acted={acted}>
        {write && upstream.origin === "api" && (
          <>
            <Button inline onClick={onEdit}>
              {t("play.edit")}
            </Button>
            <Button inline className="text-red!" onClick={remove}>
              {t("play.remove")}
            </Button>
          </>
        )}
      </ActionsCell>
    </tr>
  );
}

/** What the form is about: a new server, or one that was added before. */
type Subject = UpstreamBody | "new";

const KINDS_NAMED = KINDS.map((each) => [each, each] as const);

function ServerForm({ subject, onDone }: { subject: Subject; onDone: () => void }) {
  const before = subject === "new" ? null : subject;
  const [name, setName] = useState(before?.name ?? "");
  const [url, setUrl] = useState(before?.url ?? "");
  const [key, setKey] = useState("");
  const [kind, setKind] = useState(KINDS.find((each) => each === before?.kind) ?? "openai");
  const [weight, setWeight] = useState(String(before?.weight ?? 1));
  const [priority, setPriority] = useState(String(before?.priority ?? 0));
  const [tags, setTags] = useState(writeNames(before?.tags));
  const [off, setOff] = useState(before?.health === "disabled");
  const { act, ...acted } = useAct(UPSTREAMS_KEY);
  const numbers = [weight, priority].map(Number);
  const good = name.trim() !== "" && url.trim() !== "" && numbers.every(Number.isInteger);
  const store = async () => {
    const body: UpstreamRequest = {
      name: name.trim(),
      url: url.trim(),
      kind,
      weight: numbers[0] ?? 1,
      priority: numbers[1] ?? 0,
      tags: readNames(tags),
      disabled: off,
      // Without one, the key that is there stays.
      ...(key === "" ? {} : { api_key: key }),
    };
    const made = await act(() => ask("POST /api/upstreams", { body }));
    if (made !== null) onDone();
  };
  return (
    <Form className="grid gap-4 sm:grid-cols-2" onSend={() => void store()}>
      {before === null && <TextField label={t("jobs.name")} value={name} onChange={setName} />}
      <Choice
        label={t("upstreams.kind")}
        value={kind}
        onChange={setKind}
        options={KINDS_NAMED}
        className={before === null ? "" : "sm:col-span-2"}
      />
      <TextField
        className="sm:col-span-2"
        label={t("upstreams.url")}
        placeholder="https://models.example/v1"
        value={url}
        onChange={setUrl}
      />
      <TextField
        className="sm:col-span-2"
        type="password"
        label={t("upstreams.key")}
        {...(before?.has_key ? { hint: t("upstreams.key_kept") } : {})}
        value={key}
        onChange={setKey}
      />
      <TextField
        label={t("upstreams.weight_one")}
        hint={t("upstreams.weight_hint")}
        value={weight}
        onChange={setWeight}
      />
      <TextField
        label={t("upstreams.priority")}
        hint={t("upstreams.priority_hint")}
        value={priority}
        onChange={setPriority}
      />
      <TextField
        className="sm:col-span-2"
        label={t("upstreams.tags")}
        hint={t("upstreams.tags_hint")}
        value={tags}
        onChange={setTags}
      />
      <label className="flex items-center gap-2 sm:col-span-2">
        <input type="checkbox" checked={off} onChange={(event) => setOff(event.target.checked)} />
        {t("upstreams.off")}
      </label>
      <FormEnd acted={acted} ready={good}>
        {t(before === null ? "upstreams.add" : "common.save")}
      </FormEnd>
    </Form>
  );
}
