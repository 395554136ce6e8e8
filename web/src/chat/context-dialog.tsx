// What fills the model's context, part by part, as the server counts it with the model's own
// tokenizer; and what the next message would cost.
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import type { ContextBody } from "../../../docs/reference/openapi";
import { ask } from "../api/routes";
import { queries } from "../frame/client";
import { useSession } from "../frame/session";
import { count, money } from "../language/format";
import { known, t } from "../language/t";
import { useAct } from "../parts/act";
import { Button } from "../parts/button";
import { Failed } from "../parts/form";
import { Hairline } from "../parts/gauge";
import { Modal } from "../parts/modal";
import { Notice } from "../parts/notice";
import { useAsking } from "./asking";
import { refreshConversation, useTree } from "./queries";

export function ContextDialog({
  conversation,
  draft,
  open,
  onClose,
}: {
  conversation: string;
  draft: string;
  open: boolean;
  onClose: () => void;
}) {
  return (
    <Modal open={open} onClose={onClose} title={t("context.title")} place="right">
      {open && <Breakdown conversation={conversation} draft={draft} />}
    </Modal>
  );
}

function Breakdown({ conversation, draft }: { conversation: string; draft: string }) {
  const { model, settings } = useAsking(conversation);
  const name = model?.id ?? null;
  const { data, error, refetch } = useQuery({
    queryKey: ["context", conversation, name, settings, draft],
    queryFn: ({ signal }) =>
      ask(
        "POST /api/context",
        { body: { ...settings, model: name, conversation, input: draft.trim() || "…" } },
        signal,
      ),
    enabled: name !== null,
  });
  if (error && !data) return <Notice error={error} onRetry={() => void refetch()} />;
  if (data === undefined) return null;
  return (
    <>
      <Parts context={data} />
      <Costs conversation={conversation} />
      <Compact conversation={conversation} model={data.model} />
    </>
  );
}

/** What this conversation and the month have cost so far. */
function Costs({ conversation }: { conversation: string }) {
  const session = useSession().data;
  const nanos = useTree(conversation).data?.cost_nanos;
  if (session === undefined || nanos === undefined) return null;
  const { cost_nanos: spent, budget_nanos: budget } = session.month;
  const [cost, month] = [nanos, spent].map((each) => money(each, session.currency));
  return (
    <p className="mt-4 text-soft">
      {t("meter.chat_long", { cost: cost ?? "" })}
      <br />
      {budget === null
        ? t("month.spent", { cost: month ?? "" })
        : t("month.spent_of", { cost: month ?? "", budget: money(budget, session.currency) })}
    </p>
  );
}

/** Lets a summary stand for the older messages; its line in the thread takes it back. */
function Compact({ conversation, model }: { conversation: string; model: string }) {
  const [busy, setBusy] = useState(false);
  const { act, ...acted } = useAct(["context", conversation]);
  const compact = async () => {
    setBusy(true);
    const path = { conversation_id: conversation };
    await act(() =>
      ask("POST /api/conversations/{conversation_id}/compact", { path, body: { model } }),
    );
    await refreshConversation(queries, conversation, { whole: true });
    setBusy(false);
  };
  return (
    <div className="mt-4 space-y-2">
      <Button kind="plain" disabled={busy} onClick={() => void compact()}>
        {t(busy ? "context.compacting" : "context.compact")}
      </Button>
      <Failed acted={acted} />
    </div>
  );
}

function Parts({ context }: { context: ContextBody }) {
  const rows = [
    ...context.parts.map((part) => [known("part", part.name) ?? part.name, part.tokens] as const),
    [t("context.room"), context.answer_room] as const,
    [t("context.free"), context.free_tokens] as const,
  ];
  return (
    <div className="space-y-4">
      <Hairline
        part={context.used_tokens / Math.max(1, context.context_window)}
        label={t("context.label")}
      />
      <table className="ledger">
        <caption className="sr-only">{t("context.title")}</caption>
        <tbody>
          {rows.map(([name, tokens]) => (
            <tr key={name}>
              <th scope="row">{name}</th>
              <td className="figure">{count(tokens)}</td>
            </tr>
          ))}
          <tr>
            <th scope="row">{t("context.window")}</th>
            <td className="figure">{count(context.context_window)}</td>
          </tr>
        </tbody>
      </table>
      {context.truncated_items > 0 && (
        <p className="text-amber">{t("context.left_out", { count: context.truncated_items })}</p>
      )}
      {context.cost && (
        <p className="text-soft">
          {t("context.cost", {
            low: money(context.cost.lowest_nanos, context.cost.currency),
            high: money(context.cost.highest_nanos, context.cost.currency),
          })}
        </p>
      )}
      {!context.exact && <p className="text-xs text-soft">{t("context.not_exact")}</p>}
    </div>
  );
}
