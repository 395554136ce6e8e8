// Limits of requests, tokens, answers at once and spend, at every level.
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import type { LimitBody, LimitRequest } from "../../../docs/reference/openapi";
import { ask } from "../api/routes";
import { useMay, useNames } from "../frame/names";
import { Part } from "../frame/page";
import { useSession } from "../frame/session";
import { count, money } from "../language/format";
import { t } from "../language/t";
import { useAct } from "../parts/act";
import { Button } from "../parts/button";
import { Choice, TextField } from "../parts/field";
import { Failed, Form } from "../parts/form";
import { Notice } from "../parts/notice";
import { ActionsCell, ActionsHead, Table } from "../parts/table";

const LEVELS = ["key", "user", "project", "organisation", "model"] as const;
const MEASURES = ["requests", "input_tokens", "output_tokens", "streams", "spend"] as const;
const NANOS = 1_000_000_000;
/** Everybody of a level who has no limit of their own. */
const EACH = "*";

export function Limits() {
  const { data, error, refetch } = useQuery({
    queryKey: ["people", "limits"],
    queryFn: ({ signal }) => ask("GET /api/organisation/limits", {}, signal),
  });
  const write = useMay()("limits.write");
  return (
    <Part title={t("limits.title")}>
      {error && !data && <Notice error={error} onRetry={() => void refetch()} />}
      {data?.data.length === 0 && <p className="text-soft">{t("limits.empty")}</p>}
      {data && data.data.length > 0 && (
        <Table>
          <caption className="sr-only">{t("limits.title")}</caption>
          <thead>
            <tr>
              <th>{t("limits.level")}</th>
              <th>{t("budgets.subject")}</th>
              <th>{t("limits.measure")}</th>
              <th className="figure">{t("limits.amount")}</th>
              <th>{t("limits.window")}</th>
              <ActionsHead />
            </tr>
          </thead>
          <tbody>
            {data.data.map((limit) => (
              <Row key={limit.id} limit={limit} write={write} />
            ))}
          </tbody>
        </Table>
      )}
      {write && <LimitForm />}
    </Part>
  );
}

function Row({ limit, write }: { limit: LimitBody; write: boolean }) {
  const names = useNames();
  const currency = useSession().data?.currency ?? "USD";
  const { act, ...acted } = useAct();
  const remove = () => {
    const path = { limit_id: limit.id };
    void act(() => ask("DELETE /api/organisation/limits/{limit_id}", { path }));
  };
  const measure = limit.measure as (typeof MEASURES)[number];
  return (
    <tr data-row="">
      <td>{t(`limits.level_${limit.level as "key"}`)}</td>
      <td>{limit.subject === EACH ? t("limits.each") : names(limit.subject)}</td>
      <td>{t(`limits.measure_${measure}`)}</td>
      <td className="figure">
        {measure === "spend" ? money(limit.amount, currency) : count(limit.amount)}
      </td>
      <td>{t(`limits.window_${limit.window as "minute"}`)}</td>
      <ActionsCell acted={acted}>
        {write && (
          <Button inline className="text-red!" onClick={remove}>
            {t("play.remove")}
          </Button>
        )}
      </ActionsCell>
    </tr>
  );
}

function LimitForm() {
  const [level, setLevel] = useState<LimitRequest["level"]>("key");
  const [measure, setMeasure] = useState<LimitRequest["measure"]>("requests");
  const [window, setWindow] = useState<"minute" | "day">("minute");
  const [subject, setSubject] = useState("");
  const [amount, setAmount] = useState("");
  const { act, ...acted } = useAct();
  const value = Number(amount);
  const good = amount.trim() !== "" && Number.isFinite(value) && value > 0;
  const make = () => {
    const body: LimitRequest = {
      level,
      measure,
      window: measure === "streams" ? "now" : window,
      amount: Math.round(measure === "spend" ? value * NANOS : value),
      subject: subject.trim() || EACH,
    };
    void act(() => ask("POST /api/organisation/limits", { body }));
  };
  return (
    <Form inLine onSend={make}>
      <Choice
        label={t("limits.level")}
        value={level}
        onChange={setLevel}
        options={LEVELS.map((each) => [each, t(`limits.level_${each}`)] as const)}
      />
      <TextField
        className="w-48"
        label={t("budgets.subject")}
        placeholder={t("limits.each")}
        value={subject}
        onChange={setSubject}
      />
      <Choice
        label={t("limits.measure")}
        value={measure}
        onChange={setMeasure}
        options={MEASURES.map((each) => [each, t(`limits.measure_${each}`)] as const)}
      />
      <TextField className="w-28" label={t("limits.amount")} value={amount} onChange={setAmount} />
      {measure !== "streams" && (
        <Choice
          label={t("limits.window")}
          value={window}
          onChange={setWindow}
          options={(["minute", "day"] as const).map(
            (each) => [each, t(`limits.window_${each}`)] as const,
          )}
        />
      )}
      <Button kind="plain" type="submit" disabled={!good}>
        {t("limits.set")}
      </Button>
      <Failed acted={acted} />
    </Form>
  );
}
