// One prompt: its versions and how they differ, the labels that programs call it by, and the text.
import { useState } from "react";
import { Link, useLocation } from "wouter";
import type {
  PromptContentBody,
  PromptVersionBody,
  StoredPromptBody,
} from "../../../docs/reference/openapi";
import { ask } from "../api/routes";
import { useMay } from "../frame/names";
import { Page, Part } from "../frame/page";
import { moment } from "../language/format";
import { plural, t } from "../language/t";
import { useAct } from "../parts/act";
import { Button } from "../parts/button";
import { CopyButton } from "../parts/copy";
import { TextArea, TextField } from "../parts/field";
import { Failed } from "../parts/form";
import { Notice } from "../parts/notice";
import { benches } from "../playground/bench";
import { contentOf, fingerprint, scriptOf } from "../playground/stored";
import { namesInTexts } from "../playground/variables";
import { PROMPTS_KEY, useDiff, usePrompt, useVersions } from "./queries";

const LABELS = ["production", "staging"];

export function PromptPage({ id }: { id: string }) {
  const { data: prompt, error, refetch } = usePrompt(id);
  const versions = useVersions(id).data?.data ?? [];
  const [chosen, setChosen] = useState<number | null>(null);
  const at = chosen ?? prompt?.newest_version ?? 0;
  const version = versions.find((each) => each.version === at);
  return (
    <Page
      title={prompt?.name ?? t("nav.prompts")}
      sentence={
        <Link href="/prompts" className="underline decoration-line underline-offset-4">
          {t("prompts.all")}
        </Link>
      }
    >
      {error && !prompt && <Notice error={error} onRetry={() => void refetch()} />}
      {prompt && version && (
        <div className="grid gap-x-10 gap-y-6 lg:grid-cols-[minmax(0,1fr)_22rem]">
          <div className="min-w-0 space-y-6">
            <Text key={at} prompt={prompt} version={version} onSaved={() => setChosen(null)} />
            <Diff id={id} from={at - 1} to={at} />
            <Use prompt={prompt} version={version} />
          </div>
          <Versions prompt={prompt} versions={versions} at={at} onChoose={setChosen} />
        </div>
      )}
    </Page>
  );
}

function Text({
  prompt,
  version,
  onSaved,
}: {
  prompt: StoredPromptBody;
  version: PromptVersionBody;
  onSaved: () => void;
}) {
  const [, go] = useLocation();
  const before = version.content;
  const [instructions, setInstructions] = useState(before.instructions ?? "");
  const [note, setNote] = useState("");
  const { act, ...acted } = useAct(PROMPTS_KEY);
  const write = useMay()("prompts.write");
  const save = async () => {
    const messages = (before.messages ?? []).map((each) => each.content);
    const declared = new Map((before.variables ?? []).map((each) => [each.name, each]));
    const variables = namesInTexts([instructions, ...messages]).map(
      (name) => declared.get(name) ?? { name },
    );
    const content: PromptContentBody = { ...before, instructions, variables };
    const path = { prompt_id: prompt.id };
    const body = { content, note: note.trim() };
    const made = await act(() => ask("POST /api/prompts/{prompt_id}/versions", { path, body }));
    if (made !== null) onSaved();
  };
  const tryIt = () => {
    const opened = scriptOf(before);
    const saved = fingerprint(contentOf(opened.script, opened.parameters));
    const { id, name } = prompt;
    benches[0]?.set({
      parameters: opened.parameters,
      script: { ...opened.script, system: instructions },
      origin: { id, name, version: version.version, saved },
      counted: null,
      failure: null,
    });
    go("/playground");
  };
  const changed = instructions !== (before.instructions ?? "");
  return (
    <div className="space-y-3">
      <TextArea
        label={t("prompts.text_of", { version: version.version })}
        hint={t("prompts.variables_hint")}
        mono={false}
        rows={10}
        value={instructions}
        onChange={setInstructions}
      />
      {(before.messages ?? []).map((message, place) => (
        <p key={place} className="border-s-2 border-line ps-3 whitespace-pre-wrap">
          <span className="block text-xs text-soft">{message.role}</span>
          {message.content}
        </p>
      ))}
      <Failed acted={acted} />
      <div className="flex flex-wrap items-end gap-3">
        <Button onClick={tryIt}>{t("prompts.try")}</Button>
        {write && changed && (
          <>
            <TextField className="w-64" label={t("prompts.note")} value={note} onChange={setNote} />
            <Button kind="primary" onClick={() => void save()}>
              {t("prompts.save")}
            </Button>
          </>
        )}
      </div>
    </div>
  );
}

function Diff({ id, from, to }: { id: string; from: number; to: number }) {
  const { data } = useDiff(id, from, to);
  if (data === undefined) return null;
  return (
    <Part title={t("prompts.diff", { from, to })}>
      <section
        aria-label={t("prompts.diff", { from, to })}
        // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, so the keyboard must reach it.
        tabIndex={0}
        className="max-h-80 overflow-auto font-mono text-xs leading-5"
      >
        {data.lines.map((line, place) => (
          <div
            key={place}
            className={`flex gap-2 whitespace-pre-wrap ${{ added: "bg-wash text-accent", removed: "text-red", same: "text-soft" }[line.op]}`}
          >
            <span aria-hidden="true">{{ added: "+", removed: "−", same: " " }[line.op]}</span>
            <span>
              <span className="sr-only">{t(`prompts.${line.op}`)} </span>
              {line.text}
            </span>
          </div>
        ))}
      </section>
    </Part>
  );
}

function Use({ prompt, version }: { prompt: StoredPromptBody; version: PromptVersionBody }) {
  const label = Object.entries(prompt.labels).find(([, at]) => at === version.version)?.[0];
  const variables = Object.fromEntries(
    (version.content.variables ?? []).map((each) => [each.name, each.default ?? "…"]),
  );
  const body = {
    prompt: { id: prompt.id, version: label ?? String(version.version), variables },
    input: "…",
  };
  const code = `POST ${window.location.origin}/v1/responses\n${JSON.stringify(body, null, 2)}`;
  return (
    <Part title={t("prompts.use")} actions={<CopyButton text={code} inline />}>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: long lines are scrolled by keyboard too. */}
      <pre tabIndex={0} className="overflow-x-auto bg-wash p-3 text-xs leading-5">
        {code}
      </pre>
    </Part>
  );
}

function Versions({
  prompt,
  versions,
  at,
  onChoose,
}: {
  prompt: StoredPromptBody;
  versions: readonly PromptVersionBody[];
  at: number;
  onChoose: (version: number) => void;
}) {
  const { act, ...acted } = useAct(PROMPTS_KEY);
  const write = useMay()("prompts.write");
  const path = { prompt_id: prompt.id };
  const setLabel = (label: string, version: number) =>
    act(() =>
      ask("PUT /api/prompts/{prompt_id}/labels/{label}", {
        path: { ...path, label },
        body: { version },
      }),
    );
  const rollBack = async (version: number) => {
    const body = { from_version: version, note: t("prompts.rolled_back", { version }) };
    const made = await act(() => ask("POST /api/prompts/{prompt_id}/versions", { path, body }));
    if (made !== null) onChoose(made.version);
  };
  return (
    <Part title={t("prompts.versions")}>
      <Failed acted={acted} />
      <ol className="space-y-0.5">
        {versions.map((each) => {
          const labels = Object.entries(prompt.labels).flatMap(([label, version]) =>
            version === each.version ? [label] : [],
          );
          return (
            <li
              key={each.version}
              className={`rounded px-2 py-1.5 ${each.version === at ? "bg-wash" : ""}`}
            >
              <button
                type="button"
                aria-pressed={each.version === at}
                onClick={() => onChoose(each.version)}
                className="block w-full text-start"
              >
                {t("prompts.version", { version: each.version })}
                {labels.length > 0 && <span className="text-accent"> · {labels.join(", ")}</span>}
                <span className="block text-xs text-soft">
                  {[each.note, moment(each.created_at), plural("prompts.uses", each.uses)]
                    .filter(Boolean)
                    .join(" · ")}
                </span>
              </button>
              {write && each.version === at && (
                <div className="mt-1 flex flex-wrap gap-x-4 gap-y-1">
                  {LABELS.filter((label) => !labels.includes(label)).map((label) => (
                    <Button
                      key={label}
                      inline
                      kind="link"
                      className="min-h-6"
                      onClick={() => void setLabel(label, each.version)}
                    >
                      {t("prompts.make_label", { label })}
                    </Button>
                  ))}
                  {each.version !== prompt.newest_version && (
                    <Button
                      inline
                      kind="link"
                      className="min-h-6"
                      onClick={() => void rollBack(each.version)}
                    >
                      {t("prompts.roll_back")}
                    </Button>
                  )}
                </div>
              )}
            </li>
          );
        })}
      </ol>
    </Part>
  );
}
