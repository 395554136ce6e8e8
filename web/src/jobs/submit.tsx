// A new job: a few fields, or a job file that the server checks while it is written.
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import type { JobFileAnswer, JobFileMistake } from "../../../docs/reference/openapi";
import { ask } from "../api/routes";
import { t } from "../language/t";
import { Button } from "../parts/button";
import { CodeField } from "../parts/code-field";
import { Choice, TextArea, TextField } from "../parts/field";
import { recall, remember } from "../parts/memory";
import { Notice } from "../parts/notice";
import { Tabs } from "../parts/tabs";
import { BLANK, type Fields, languageOf, writeFile } from "./file";
import { JOBS_KEY, useQueues } from "./queries";
import { groups } from "./schema";

const CHECK_AFTER_MS = 350;

/** What the server says of a file, a moment after it was last changed. */
function useCheck(text: string): JobFileAnswer | null {
  const [settled, setSettled] = useState(text);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(text), CHECK_AFTER_MS);
    return () => clearTimeout(timer);
  }, [text]);
  const { data } = useQuery({
    queryKey: ["job-file", settled],
    queryFn: ({ signal }) => ask("POST /api/job-files/check", { body: { text: settled } }, signal),
    enabled: settled.trim() !== "",
  });
  return settled === text ? (data ?? null) : null;
}

export function Submit({ onDone }: { onDone: (id: string) => void }) {
  const [fields, setFields] = useState<Fields>(BLANK);
  const [file, setFile] = useState<string>(() => recall("job-file") ?? "");
  const [way, setWay] = useState<"form" | "file">(file === "" ? "form" : "file");
  const [error, setError] = useState<unknown>(null);
  const queries = useQueryClient();
  const text = way === "form" ? writeFile(fields) : file;
  const check = useCheck(text);
  const edit = (next: string) => {
    setFile(next);
    remember("job-file", next);
  };
  const submit = async () => {
    if (check?.spec == null) return;
    try {
      const made = await ask("POST /api/jobs", { body: check.spec });
      edit("");
      await queries.invalidateQueries({ queryKey: JOBS_KEY });
      onDone(made.first_id);
    } catch (failure) {
      setError(failure);
    }
  };
  const mistake = check?.mistake ?? null;
  return (
    <div className="space-y-4">
      <Tabs
        label={t("jobs.submit_way")}
        value={way}
        options={[
          ["form", t("jobs.way_form")],
          ["file", t("jobs.way_file")],
        ]}
        onChange={(next) => {
          if (next === "file" && file === "") edit(writeFile(fields));
          setWay(next);
        }}
      />
      {way === "form" ? (
        <Form fields={fields} onChange={setFields} />
      ) : (
        <File text={file} mistake={mistake} onChange={edit} />
      )}
      {way === "form" && mistake && (
        <p role="alert" className="text-red">
          {wordsOf(mistake)}
        </p>
      )}
      {error !== null && <Notice error={error} onDismiss={() => setError(null)} />}
      <div className="flex justify-end gap-3">
        <Button kind="primary" disabled={check?.spec == null} onClick={() => void submit()}>
          {t("jobs.submit")}
        </Button>
      </div>
    </div>
  );
}

function Form({ fields, onChange }: { fields: Fields; onChange: (fields: Fields) => void }) {
  const queues = useQueues().data?.data ?? [];
  const set = (name: keyof Fields) => (value: string) => onChange({ ...fields, [name]: value });
  return (
    <div className="grid gap-4 sm:grid-cols-2">
      <TextField label={t("jobs.name")} value={fields.name} onChange={set("name")} />
      <Choice
        label={t("jobs.col_queue")}
        value={fields.queue}
        onChange={set("queue")}
        options={[
          ["", t("jobs.usual_queue")],
          ...queues.map((queue) => [queue.name, queue.name] as const),
        ]}
      />
      <TextArea
        className="sm:col-span-2"
        label={t("jobs.command")}
        hint={t("jobs.command_hint")}
        rows={4}
        value={fields.command}
        onChange={set("command")}
      />
      <TextField
        label={t("jobs.members")}
        hint={t("jobs.members_hint")}
        value={fields.members}
        onChange={set("members")}
      />
      <TextField label={t("jobs.gpus_each")} value={fields.gpus} onChange={set("gpus")} />
      <TextField label={t("jobs.cpus_each")} value={fields.cpus} onChange={set("cpus")} />
      <TextField label={t("jobs.memory_each")} value={fields.memory} onChange={set("memory")} />
      <Choice
        label={t("jobs.col_priority")}
        value={fields.priority}
        onChange={set("priority")}
        options={["low", "normal", "high", "urgent"].map((each) => [each, each] as const)}
      />
      <TextField label={t("jobs.minutes")} value={fields.minutes} onChange={set("minutes")} />
    </div>
  );
}

const wordsOf = ({ line, message }: JobFileMistake): string =>
  line === null ? message : t("jobs.mistake", { line, message });

function File({
  text,
  mistake,
  onChange,
}: {
  text: string;
  mistake: JobFileMistake | null;
  onChange: (text: string) => void;
}) {
  const { data } = useQuery({
    queryKey: ["job-samples"],
    queryFn: ({ signal }) => ask("GET /api/job-files/samples", {}, signal),
    staleTime: Number.POSITIVE_INFINITY,
  });
  return (
    <div className="space-y-3">
      {data && data.data.length > 0 && (
        <p className="flex flex-wrap gap-x-4 text-soft">
          {t("jobs.samples")}
          {data.data.map((sample) => (
            <Button key={sample.name} kind="link" inline onClick={() => onChange(sample.text)}>
              {sample.title}
            </Button>
          ))}
        </p>
      )}
      <CodeField
        label={t("jobs.file")}
        language={languageOf(text)}
        hint={t("jobs.file_hint")}
        fault={mistake && wordsOf(mistake)}
        line={mistake?.line ?? null}
        rows={18}
        value={text}
        onChange={onChange}
      />
      <Reference />
    </div>
  );
}

/** Every field of a job file with its kind, from the schema that the server checks it by. */
function Reference() {
  return (
    <details>
      <summary className="text-xs text-soft">{t("jobs.fields")}</summary>
      {groups().map(({ place, about, fields }) => (
        <div key={place} className="mt-3">
          <p className="text-xs text-soft" lang="en">
            {place !== "" && <code className="me-2 font-mono text-ink">{place}</code>}
            {about}
          </p>
          <dl className="mt-1 grid grid-cols-[auto_minmax(0,1fr)] gap-x-5 font-mono text-xs leading-5">
            {fields.map(({ name, kind, usual }) => (
              <div key={name} className="contents">
                <dt>{name}</dt>
                <dd className="text-soft [overflow-wrap:anywhere]">
                  {kind}
                  {usual !== null && <span> = {usual}</span>}
                </dd>
              </div>
            ))}
          </dl>
        </div>
      ))}
    </details>
  );
}
