// Prompts: stored by name, kept in versions, called by an id and a label from any program.
import { useState } from "react";
import { Link, useLocation } from "wouter";
import type { CreatePromptRequest, ImportPromptsRequest } from "../../../docs/reference/openapi";
import { ask } from "../api/routes";
import { useMay } from "../frame/names";
import { Empty, Page } from "../frame/page";
import { count, moment } from "../language/format";
import { t } from "../language/t";
import { useAct } from "../parts/act";
import { Button } from "../parts/button";
import { TextArea, TextField } from "../parts/field";
import { Form, FormEnd } from "../parts/form";
import { Modal } from "../parts/modal";
import { Notice } from "../parts/notice";
import { Table } from "../parts/table";
import { readJson } from "../playground/checks";
import { namesInTexts } from "../playground/variables";
import { PromptPage } from "./prompt";
import { PROMPTS_KEY, usePrompts } from "./queries";

export function Prompts({ prompt }: { prompt: string | null }) {
  return prompt === null ? <List /> : <PromptPage key={prompt} id={prompt} />;
}

type Dialog = "new" | "import" | null;

function List() {
  const { data, error, refetch } = usePrompts();
  const [dialog, setDialog] = useState<Dialog>(null);
  const write = useMay()("prompts.write");
  const [, go] = useLocation();
  return (
    <Page
      title={t("nav.prompts")}
      sentence={data && data.data.length > 0 && t("prompts.sentence")}
      actions={
        write && (
          <>
            <Button onClick={() => setDialog("import")}>{t("prompts.import")}</Button>
            <Button kind="plain" onClick={() => setDialog("new")}>
              {t("prompts.new")}
            </Button>
          </>
        )
      }
    >
      {error && !data && <Notice error={error} onRetry={() => void refetch()} />}
      {data?.data.length === 0 && (
        <Empty title={t("prompts.empty")}>
          <p>{t("prompts.empty_more")}</p>
          {write && (
            <Button kind="primary" onClick={() => setDialog("new")}>
              {t("prompts.new")}
            </Button>
          )}
        </Empty>
      )}
      {data && data.data.length > 0 && (
        <Table>
          <caption className="sr-only">{t("nav.prompts")}</caption>
          <thead>
            <tr>
              <th>{t("jobs.name")}</th>
              <th className="figure">{t("prompts.versions")}</th>
              <th>{t("prompts.labels")}</th>
              <th>{t("prompts.changed")}</th>
            </tr>
          </thead>
          <tbody>
            {data.data.map((each) => (
              <tr key={each.id} data-row="">
                <td>
                  <Link href={`/prompts/${each.id}`} className="hover:underline">
                    {each.name}
                  </Link>
                </td>
                <td className="figure">{count(each.newest_version)}</td>
                <td>
                  {Object.entries(each.labels)
                    .map(([label, version]) => t("prompts.label_at", { label, version }))
                    .join(", ") || "—"}
                </td>
                <td className="whitespace-nowrap">{moment(each.updated_at)}</td>
              </tr>
            ))}
          </tbody>
        </Table>
      )}
      <Modal open={dialog === "new"} onClose={() => setDialog(null)} title={t("prompts.new")}>
        <NewPrompt onMade={(id) => go(`/prompts/${id}`)} />
      </Modal>
      <Modal open={dialog === "import"} onClose={() => setDialog(null)} title={t("prompts.import")}>
        <Import onDone={() => setDialog(null)} />
      </Modal>
    </Page>
  );
}

function NewPrompt({ onMade }: { onMade: (id: string) => void }) {
  const [name, setName] = useState("");
  const [instructions, setInstructions] = useState(t("prompts.sample"));
  const { act, ...acted } = useAct(PROMPTS_KEY);
  const make = async () => {
    const variables = namesInTexts([instructions]).map((name) => ({ name }));
    const content = { instructions, variables };
    const body: CreatePromptRequest = { name: name.trim(), content };
    const made = await act(() => ask("POST /api/prompts", { body }));
    if (made !== null) onMade(made.id);
  };
  return (
    <Form onSend={() => void make()}>
      <TextField label={t("jobs.name")} value={name} onChange={setName} />
      <TextArea
        label={t("settings.instructions")}
        hint={t("prompts.variables_hint")}
        mono={false}
        rows={8}
        value={instructions}
        onChange={setInstructions}
      />
      <FormEnd acted={acted} ready={name.trim() !== ""}>
        {t("prompts.make")}
      </FormEnd>
    </Form>
  );
}

/** Prompt objects as OpenAI's dashboard exports them: one, a list, or an object with a list. */
function promptsIn(text: string): ImportPromptsRequest["prompts"] | null {
  const { value } = readJson(text);
  if (typeof value !== "object" || value === null) return null;
  const inner = value as { prompts?: unknown; data?: unknown };
  const list = Array.isArray(value) ? value : (inner.prompts ?? inner.data ?? [value]);
  return Array.isArray(list) ? (list as ImportPromptsRequest["prompts"]) : null;
}

function Import({ onDone }: { onDone: () => void }) {
  const [text, setText] = useState("");
  const { act, ...acted } = useAct(PROMPTS_KEY);
  const prompts = promptsIn(text);
  const bring = async () => {
    if (prompts === null) return;
    const made = await act(() => ask("POST /api/prompts/import", { body: { prompts } }));
    if (made !== null) onDone();
  };
  return (
    <Form onSend={() => void bring()}>
      <TextArea
        label={t("prompts.import_json")}
        hint={t("prompts.import_hint")}
        fault={text.trim() !== "" && prompts === null ? t("prompts.import_wrong") : null}
        rows={12}
        value={text}
        onChange={setText}
      />
      <FormEnd acted={acted} ready={prompts !== null}>
        {t("prompts.import")}
      </FormEnd>
    </Form>
  );
}
