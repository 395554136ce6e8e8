// The model servers behind the models: whether they answer, how busy they are; added and removed.
import { useState } from "react";
import type { UpstreamBody, UpstreamRequest } from "../../../docs/reference/openapi";
import { ask } from "../api/routes";
import { useMay } from "../frame/names";
import { Part } from "../frame/page";
import { count, decimal } from "../language/format";
import { t } from "../language/t";
import { Button } from "../parts/button";
import { Choice, TextField } from "../parts/field";
import { Notice } from "../parts/notice";
import { useAct } from "../people/act";
import { UPSTREAMS_KEY, useUpstreams } from "./queries";

const EVERY_MS = 5_000;
const KINDS = ["openai", "own", "vllm", "llamacpp", "anthropic", "openai-platform"] as const;

export function Upstreams() {
  const { data, error, refetch } = useUpstreams(EVERY_MS);
  const write = useMay()("upstreams.write");
  if (error && !data) return <Notice error={error} onRetry={() => void refetch()} />;
  if (data === undefined) return null;
  return (
    <Part title={t("upstreams.title")}>
      <div className="wide">
        <table className="ledger">
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
              <th className="figure">{t("upstreams.kv")}</th>
              <th className="figure">{t("upstreams.weight")}</th>
              <th>
                <span className="sr-only">{t("cluster.actions")}</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {data.data.map((each) => (
              <Row key={each.name} upstream={each} write={write} />
            ))}
          </tbody>
        </table>
      </div>
      {write && <Form />}
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

export const share = (part: number): string => `${decimal(part * 100, 0)} %`;

function Row({ upstream, write }: { upstream: UpstreamBody; write: boolean }) {
  const { act, error, dismiss } = useAct(UPSTREAMS_KEY);
  const { name, load } = upstream;
  const remove = () => void act(() => ask("DELETE /api/upstreams/{name}", { path: { name } }));
  return (
    <tr data-row="">
      <td>
        {name}
        {upstream.url && <span className="block text-xs text-soft">{upstream.url}</span>}
      </td>
      <td className={TONES[upstream.health]}>{t(`upstreams.health_${upstream.health}`)}</td>
      <td className={TONES[upstream.breaker]}>{t(`upstreams.breaker_${upstream.breaker}`)}</td>
      <td>{upstream.models.join(", ") || "—"}</td>
      <td className="figure">{count(upstream.in_flight)}</td>
      <td className="figure">{load ? count(load.running) : "—"}</td>
      <td className="figure">{load ? count(load.waiting) : "—"}</td>
      <td className="figure">{load ? share(load.kv_share) : "—"}</td>
      <td className="figure">
        {count(upstream.weight)} · {count(upstream.priority)}
      </td>
      <td className="text-end">
        {write && upstream.origin === "api" && (
          <Button inline className="text-red!" onClick={remove}>
            {t("play.remove")}
          </Button>
        )}
        {error !== null && <Notice error={error} onDismiss={dismiss} />}
      </td>
    </tr>
  );
}

function Form() {
  const [name, setName] = useState("");
  const [url, setUrl] = useState("");
  const [key, setKey] = useState("");
  const [kind, setKind] = useState<(typeof KINDS)[number]>("openai");
  const { act, error, dismiss } = useAct(UPSTREAMS_KEY);
  const add = async () => {
    const body: UpstreamRequest = {
      name: name.trim(),
      url: url.trim(),
      kind,
      ...(key === "" ? {} : { api_key: key }),
    };
    const made = await act(() => ask("POST /api/upstreams", { body }));
    if (made === null) return;
    setName("");
    setUrl("");
    setKey("");
  };
  return (
    <form
      className="flex flex-wrap items-end gap-3"
      onSubmit={(event) => {
        event.preventDefault();
        void add();
      }}
    >
      <TextField className="w-40" label={t("jobs.name")} value={name} onChange={setName} />
      <TextField
        className="w-64"
        label={t("upstreams.url")}
        placeholder="http://127.0.0.1:8000/v1"
        value={url}
        onChange={setUrl}
      />
      <Choice
        label={t("upstreams.kind")}
        value={kind}
        onChange={setKind}
        options={KINDS.map((each) => [each, each] as const)}
      />
      <TextField
        className="w-48"
        type="password"
        label={t("upstreams.key")}
        value={key}
        onChange={setKey}
      />
      <Button kind="plain" type="submit" disabled={name.trim() === "" || url.trim() === ""}>
        {t("upstreams.add")}
      </Button>
      {error !== null && <Notice error={error} onDismiss={dismiss} />}
    </form>
  );
}
