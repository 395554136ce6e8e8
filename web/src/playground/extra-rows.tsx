// The rows of the ledger that are words or JSON: form of the answer, tools, log probabilities, bias.
import { useId, useState } from "react";
import { t } from "../language/t";
import { Button } from "../parts/button";
import { CodeField } from "../parts/code-field";
import { Modal } from "../parts/modal";
import { useBench, useBenchState } from "./bench";
import type { Mistake } from "./checks";
import {
  type Extras,
  OUTPUTS,
  type Output,
  readExtras,
  SAMPLE_SCHEMA,
  SAMPLE_TOOLS,
  TOOL_CHOICES,
  type ToolChoice,
} from "./extras";

type Editor = "schema" | "tools" | "bias";
const SAMPLES: Record<Editor, string> = {
  schema: SAMPLE_SCHEMA,
  tools: SAMPLE_TOOLS,
  bias: '{ "50256": -100 }',
};

export function ExtraRows() {
  const bench = useBench();
  const { extras } = useBenchState();
  const [editor, setEditor] = useState<Editor | null>(null);
  const { part, mistakes } = readExtras(extras);
  const set = (change: Partial<Extras>) => bench.set({ extras: { ...extras, ...change } });
  const chooseOutput = (output: Output) => {
    set({ output, schema: extras.schema || SAMPLE_SCHEMA });
    if (output === "json_schema") setEditor("schema");
  };
  const tools = part.tools?.length ?? 0;
  return (
    <>
      <Row label={t("param.output")}>
        {(id) => (
          <Select
            id={id}
            value={extras.output}
            onChange={chooseOutput}
            options={OUTPUTS.map((each) => [each, t(`param.output_${each}`)] as const)}
          />
        )}
      </Row>
      {extras.output === "json_schema" && (
        <Opener
          label={t("param.schema")}
          says={mistakes.schema ? t("param.wrong") : t("param.edit")}
          wrong={mistakes.schema !== undefined}
          onOpen={() => setEditor("schema")}
        />
      )}
      <Opener
        label={t("param.tools")}
        says={mistakes.tools ? t("param.wrong") : tools === 0 ? t("common.none") : String(tools)}
        wrong={mistakes.tools !== undefined}
        onOpen={() => setEditor("tools")}
      />
      {tools > 0 && (
        <Row label={t("param.tool_choice")}>
          {(id) => (
            <Select
              id={id}
              value={extras.toolChoice}
              onChange={(toolChoice: ToolChoice) => set({ toolChoice })}
              options={TOOL_CHOICES.map((each) => [each, t(`param.tools_${each}`)] as const)}
            />
          )}
        </Row>
      )}
      <Row label={t("param.logprobs")} fault={mistakes.logprobs}>
        {(id) => (
          <input
            id={id}
            inputMode="numeric"
            autoComplete="off"
            value={extras.logprobs}
            placeholder={t("param.off")}
            aria-invalid={mistakes.logprobs !== undefined}
            onChange={(event) => set({ logprobs: event.target.value })}
            className="w-20 min-w-0 bg-transparent text-end"
          />
        )}
      </Row>
      <Opener
        label={t("param.bias")}
        says={
          mistakes.bias ? t("param.wrong") : part.logit_bias ? t("param.edit") : t("common.none")
        }
        wrong={mistakes.bias !== undefined}
        onOpen={() => setEditor("bias")}
      />
      <Modal
        open={editor !== null}
        onClose={() => setEditor(null)}
        title={editor === null ? "" : t(`param.${editor}`)}
      >
        {editor !== null && (
          <JsonEditor
            name={editor}
            text={extras[editor]}
            mistake={mistakes[editor]}
            onChange={(text) => set({ [editor]: text })}
          />
        )}
      </Modal>
    </>
  );
}

function JsonEditor({
  name,
  text,
  mistake,
  onChange,
}: {
  name: Editor;
  text: string;
  mistake: Mistake | undefined;
  onChange: (text: string) => void;
}) {
  const format = () => onChange(JSON.stringify(JSON.parse(text), null, 2));
  const fault =
    mistake === undefined
      ? null
      : mistake.line === null
        ? t("param.mistake_shape", { message: mistake.message })
        : t("jobs.mistake", { line: mistake.line, message: mistake.message });
  return (
    <div className="space-y-3">
      <CodeField
        label={t(`param.${name}`)}
        language="json"
        hint={t(`param.${name}_hint`)}
        fault={fault}
        line={mistake?.line ?? null}
        rows={16}
        value={text}
        onChange={onChange}
      />
      <div className="flex gap-4">
        <Button onClick={() => onChange(SAMPLES[name])}>{t("param.sample")}</Button>
        <Button onClick={format} disabled={mistake !== undefined || text.trim() === ""}>
          {t("param.format")}
        </Button>
        <Button onClick={() => onChange("")} disabled={text === ""}>
          {t("play.clear")}
        </Button>
      </div>
    </div>
  );
}

function Row({
  label,
  fault,
  children,
}: {
  label: string;
  fault?: Mistake | undefined;
  children: (id: string) => React.ReactNode;
}) {
  const id = useId();
  return (
    <div className="border-b border-line py-2.5">
      <div className="flex items-baseline justify-between gap-3">
        <label htmlFor={id} className="text-soft">
          {label}
        </label>
        {children(id)}
      </div>
      {fault && (
        <p role="alert" className="pt-1 text-xs text-red">
          {t("param.mistake_shape", { message: fault.message })}
        </p>
      )}
    </div>
  );
}

function Opener({
  label,
  says,
  wrong,
  onOpen,
}: {
  label: string;
  says: string;
  wrong: boolean;
  onOpen: () => void;
}) {
  return (
    <button
      type="button"
      onClick={onOpen}
      className="flex w-full items-baseline justify-between gap-3 border-b border-line py-2.5 text-start hover:text-accent max-md:min-h-11"
    >
      <span className="text-soft">{label}</span>
      <span className={wrong ? "text-red" : ""}>{says}</span>
    </button>
  );
}

function Select<V extends string>({
  id,
  value,
  options,
  onChange,
}: {
  id: string;
  value: V;
  options: readonly (readonly [V, string])[];
  onChange: (value: V) => void;
}) {
  return (
    <select
      id={id}
      value={value}
      onChange={(event) => onChange(event.target.value as V)}
      className="min-w-0 bg-transparent text-end"
    >
      {options.map(([each, text]) => (
        <option key={each} value={each}>
          {text}
        </option>
      ))}
    </select>
  );
}
