// The script over the rows of a table: each row fills the variables, each answer fills a cell.
import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";
import { ApiError, ConnectionLost } from "../api/errors";
import { server } from "../api/server";
import { refreshSession } from "../frame/session";
import { money } from "../language/format";
import { plural, t } from "../language/t";
import { type Completion, complete } from "../live/complete";
import type { Run } from "../live/run";
import { runs, useRun } from "../live/store";
import { Button } from "../parts/button";
import { TextArea } from "../parts/field";
import { newId } from "../parts/identity";
import { endingWord } from "../parts/meter";
import { sentence } from "../parts/notice";
import { saveFile } from "../parts/save";
import { Table } from "../parts/table";
import { type Bench, useBench, useBenchState, useDesk } from "./bench";
import { ROWS_MAX, readCsv, writeCsv } from "./csv";
import { readExtras } from "./extras";
import { readParameters } from "./parameters";
import { messages, prepare } from "./script";
import { fillScript, namesIn } from "./variables";

const AT_ONCE = 4;

interface Row {
  cells: string[];
  runId: string | null;
  result: Run | null;
}

/** Fills rows, a few at once, until they are done or stopped. */
class Filler {
  private stopped = false;
  private readonly going = new Set<Completion>();

  constructor(
    private readonly bench: Bench,
    private readonly model: string,
    private readonly draft: string,
    private readonly change: (place: number, row: Partial<Row>) => void,
  ) {}

  stop(): void {
    this.stopped = true;
    for (const each of this.going) each.stop();
  }

  async fill(names: readonly string[], rows: readonly Row[]): Promise<void> {
    const left = rows.map((row, place) => ({ row, place }));
    const work = async () => {
      for (let next = left.shift(); next && !this.stopped; next = left.shift()) {
        await this.one(names, next.row, next.place);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
  }

  private async one(names: readonly string[], row: Row, place: number): Promise<void> {
    const { script, parameters, extras, variables } = this.bench.state;
    const prepared = prepare(script, this.draft, "");
    const { sampling } = readParameters(parameters);
    if (prepared === null || sampling === null) return;
    const given = Object.fromEntries(names.map((name, at) => [name, row.cells[at] ?? ""]));
    const filled = messages(fillScript(prepared, { ...variables, ...given }));
    const request = {
      model: this.model,
      messages: filled,
      ...sampling,
      ...readExtras(extras).part,
    };
    const id = newId();
    const started = complete(runs, id, (signal) => server.complete(request, signal), server.stop);
    this.going.add(started);
    this.change(place, { runId: id, result: null });
    await started.ended;
    this.going.delete(started);
    this.change(place, { runId: null, result: runs.get(id) ?? null });
    runs.drop(id);
  }
}

export function Rows({ model }: { model: string | null }) {
  const bench = useBench();
  const queries = useQueryClient();
  const { draft } = useDesk();
  const { script } = useBenchState();
  const [text, setText] = useState("");
  const [names, setNames] = useState<string[]>([]);
  const [rows, setRows] = useState<Row[]>([]);
  const filler = useRef<Filler | null>(null);
  const [running, setRunning] = useState(false);
  useEffect(() => () => filler.current?.stop(), []);

  const take = (csv: string) => {
    setText(csv);
    const [head = [], ...body] = readCsv(csv);
    setNames(head.map((name) => name.trim()));
    setRows(body.slice(0, ROWS_MAX).map((cells) => ({ cells, runId: null, result: null })));
  };
  const change = (place: number, part: Partial<Row>) =>
    setRows((all) => all.map((row, at) => (at === place ? { ...row, ...part } : row)));
  const start = async () => {
    if (model === null) return;
    filler.current = new Filler(bench, model, draft, change);
    setRunning(true);
    await filler.current.fill(names, rows);
    setRunning(false);
    void refreshSession(queries);
  };
  const wanted = namesIn(script, draft);
  const missing = wanted.filter((name) => !names.includes(name));
  const able = model !== null && rows.length > 0 && prepare(script, draft, "") !== null;
  return (
    <div className="space-y-4">
      <p className="max-w-[68ch] text-soft">{t("rows.about")}</p>
      {wanted.length === 0 && <p className="text-amber">{t("rows.no_variables")}</p>}
      <TextArea
        label={t("rows.csv")}
        rows={5}
        value={text}
        placeholder={`${(wanted.length > 0 ? wanted : ["name"]).join(",")}\n…`}
        onChange={take}
      />
      <input
        type="file"
        accept=".csv,text/csv"
        aria-label={t("rows.file")}
        onChange={(event) => void event.target.files?.[0]?.text().then(take)}
        className="w-full file:me-3 file:rounded file:border file:border-line file:bg-transparent file:px-3 file:py-1 file:text-ink"
      />
      {rows.length > 0 && missing.length > 0 && (
        <p className="text-amber">{t("rows.missing", { names: missing.join(", ") })}</p>
      )}
      <div className="flex gap-3">
        {running ? (
          <Button kind="plain" onClick={() => filler.current?.stop()}>
            {t("play.stop")}
          </Button>
        ) : (
          <Button kind="primary" disabled={!able} onClick={() => void start()}>
            {plural("rows.run", rows.length)}
          </Button>
        )}
        <Button disabled={!rows.some((row) => row.result)} onClick={() => download(names, rows)}>
          {t("rows.export")}
        </Button>
      </div>
      {rows.length > 0 && <Grid names={names} rows={rows} />}
    </div>
  );
}

function Grid({ names, rows }: { names: readonly string[]; rows: readonly Row[] }) {
  return (
    <Table>
      <thead>
        <tr>
          {names.map((name, place) => (
            <th key={place}>{name}</th>
          ))}
          <th>{t("rows.answer")}</th>
          <th className="figure">{t("rows.cost")}</th>
        </tr>
      </thead>
      <tbody>
        {rows.map((row, place) => (
          <GridRow key={place} row={row} width={names.length} />
        ))}
      </tbody>
    </Table>
  );
}

function GridRow({ row, width }: { row: Row; width: number }) {
  const live = useRun(row.runId);
  const run = live ?? row.result;
  const cost = run?.meter.cost;
  return (
    <tr data-row="">
      {Array.from({ length: width }, (_, place) => (
        <td key={place} className="max-w-48">
          {row.cells[place] ?? ""}
        </td>
      ))}
      <td className="min-w-64 whitespace-pre-wrap">
        {run?.text}
        {run?.ending && run.ending.kind !== "finished" && (
          <span className="block text-xs text-red">{problem(run)}</span>
        )}
      </td>
      <td className="figure">{cost ? money(cost.nanos, cost.currency) : ""}</td>
    </tr>
  );
}

function problem(run: Run): string {
  if (run.ending?.kind !== "failed") return run.ending ? endingWord(run.ending) : "";
  const { error } = run.ending;
  return error instanceof ApiError || error instanceof ConnectionLost ? sentence(error) : "";
}

function download(names: readonly string[], rows: readonly Row[]): void {
  const head = [...names, "answer", "finish", "input_tokens", "output_tokens", "cost_nanos"];
  const body = rows.map(({ cells, result }) => [
    ...names.map((_, place) => cells[place] ?? ""),
    result?.text ?? "",
    result?.ending ? endingWord(result.ending) : "",
    String(result?.meter.inputTokens ?? ""),
    String(result?.meter.outputTokens ?? ""),
    String(result?.meter.cost?.nanos ?? ""),
  ]);
  saveFile("answers.csv", "text/csv", writeCsv([head, ...body]));
}
