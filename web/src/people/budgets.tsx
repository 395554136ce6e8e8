// Budgets of the month: a soft one warns, a hard one stops.
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import type { BudgetRequest } from "../../../docs/reference/openapi";
import { ask } from "../api/routes";
import { useMay, useNames } from "../frame/names";
import { Empty } from "../frame/page";
import { useSession } from "../frame/session";
import { money } from "../language/format";
import { t } from "../language/t";
import { useAct } from "../parts/act";
import { Button } from "../parts/button";
import { Choice, TextField } from "../parts/field";
import { Failed, Form } from "../parts/form";
import { Notice } from "../parts/notice";
import { ActionsCell, ActionsHead, Table } from "../parts/table";

const NANOS = 1_000_000_000;
const SCOPES = ["organisation", "project", "user", "key"] as const;
type Scope = (typeof SCOPES)[number];

export function Budgets() {
  const { data, error, refetch } = useQuery({
    queryKey: ["people", "budgets"],
    queryFn: ({ signal }) => ask("GET /api/organisation/budgets", {}, signal),
  });
  const write = useMay()("limits.write");
  const names = useNames();
  const currency = useSession().data?.currency ?? "USD";
  const { act, ...acted } = useAct();
  const amount = (nanos: number | null) => (nanos === null ? "—" : money(nanos, currency));
  return (
    <div className="space-y-6">
      {error && !data && <Notice error={error} onRetry={() => void refetch()} />}
      <Failed acted={acted} />
      {data?.data.length === 0 && <Empty title={t("budgets.empty")} />}
      {data && data.data.length > 0 && (
        <Table>
          <caption className="sr-only">{t("people.budgets")}</caption>
          <thead>
            <tr>
              <th>{t("budgets.scope")}</th>
              <th>{t("budgets.subject")}</th>
              <th className="figure">{t("budgets.soft")}</th>
              <th className="figure">{t("budgets.hard")}</th>
              <ActionsHead />
            </tr>
          </thead>
          <tbody>
            {data.data.map((each) => (
              <tr key={each.id} data-row="">
                <td>{t(`usage.scope_${each.scope as Scope}`)}</td>
                <td>{names(each.subject)}</td>
                <td className="figure">{amount(each.soft_nanos)}</td>
                <td className="figure">{amount(each.hard_nanos)}</td>
                <ActionsCell>
                  {write && (
                    <Button
                      inline
                      className="text-red!"
                      onClick={() => {
                        const path = { budget_id: each.id };
                        void act(() =>
                          ask("DELETE /api/organisation/budgets/{budget_id}", { path }),
                        );
                      }}
                    >
                      {t("play.remove")}
                    </Button>
                  )}
                </ActionsCell>
              </tr>
            ))}
          </tbody>
        </Table>
      )}
      {write && <BudgetForm />}
    </div>
  );
}

/** A typed amount as nanos; null for none, undefined for what is no amount. */
export function readAmount(typed: string): number | null | undefined {
  if (typed.trim() === "") return null;
  const value = Number(typed);
  return Number.isFinite(value) && value >= 0 ? Math.round(value * NANOS) : undefined;
}

function BudgetForm() {
  const session = useSession().data;
  const [scope, setScope] = useState<Scope>("project");
  const [subject, setSubject] = useState("");
  const [soft, setSoft] = useState("");
  const [hard, setHard] = useState("");
  const { act, ...acted } = useAct();
  const own: Partial<Record<Scope, string>> = {
    organisation: session?.organisation.id ?? "",
    project: session?.project.id ?? "",
    user: session?.user.id ?? "",
  };
  const soft_nanos = readAmount(soft);
  const hard_nanos = readAmount(hard);
  const target = subject.trim() || own[scope] || "";
  const good =
    soft_nanos !== undefined &&
    hard_nanos !== undefined &&
    (soft_nanos ?? hard_nanos) !== null &&
    target !== "";
  const make = () => {
    if (soft_nanos === undefined || hard_nanos === undefined) return;
    const body: BudgetRequest = { scope, subject: target, soft_nanos, hard_nanos };
    void act(() => ask("POST /api/organisation/budgets", { body }));
  };
  return (
    <Form inLine onSend={make}>
      <Choice
        label={t("budgets.scope")}
        value={scope}
        onChange={setScope}
        options={SCOPES.map((each) => [each, t(`usage.scope_${each}`)] as const)}
      />
      <TextField
        className="w-56"
        label={t("budgets.subject")}
        placeholder={own[scope] ?? ""}
        value={subject}
        onChange={setSubject}
      />
      <TextField className="w-28" label={t("budgets.soft")} value={soft} onChange={setSoft} />
      <TextField className="w-28" label={t("budgets.hard")} value={hard} onChange={setHard} />
      <Button kind="plain" type="submit" disabled={!good}>
        {t("budgets.set")}
      </Button>
      <Failed acted={acted} />
    </Form>
  );
}
