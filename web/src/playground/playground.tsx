// The Playground: a script of turns, a ledger of parameters, and one action; or up to four of them
// beside each other, with one composer.
import { type QueryClient, useQueryClient } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";
import type { CompletionRequest, Model } from "../api/wire";
import { PageHead } from "../frame/head";
import { useModel } from "../frame/model";
import { money } from "../language/format";
import { t } from "../language/t";
import { useRun } from "../live/store";
import { Button } from "../parts/button";
import { Composer, isMac } from "../parts/composer";
import { ContextGauge } from "../parts/gauge";
import { Modal } from "../parts/modal";
import { ScrollArea, type ScrollHandle } from "../parts/scroll-area";
import {
  BenchProvider,
  benches,
  COLUMNS_MAX,
  setColumns,
  setDraft,
  useBenchState,
  useDesk,
} from "./bench";
import { CodeDialog } from "./code-dialog";
import { Column, Failure, Samples, Turns } from "./column";
import { contextUse, measure } from "./context";
import { EngineLine } from "./engine-line";
import { Ledger } from "./ledger";
import { usePrices } from "./prices";
import { Rows } from "./rows";
import { OriginLine, SaveDialog } from "./save-dialog";
import { isEmpty, unfinished } from "./script";
import { ShareDialog, useShared } from "./share";

const MILLION = 1_000_000;

type Dialog = "parameters" | "rows" | "share" | "save" | null;

/** Benches that are shown, and the model of each. */
function useShown(): {
  shown: (typeof benches)[number][];
  modelOf: (place: number) => Model | null;
} {
  const { columns } = useDesk();
  const { model, models } = useModel();
  const shown = benches.slice(0, columns);
  return {
    shown,
    modelOf: (place) =>
      models.find((each) => each.id === shown[place]?.state.model) ?? model ?? null,
  };
}

/** Whether any bench of the desk runs; each of the four is watched, so that hooks keep their order. */
function useRunning(): boolean {
  const [running, setRunning] = useState(false);
  useEffect(() => {
    const look = () => setRunning(benches.some((bench) => bench.state.runId !== null));
    look();
    const stops = benches.map((bench) => bench.store.subscribe(look));
    return () => {
      for (const stop of stops) stop();
    };
  }, []);
  return running;
}

export function Playground() {
  const queries = useQueryClient();
  const { draft, columns } = useDesk();
  const { shown, modelOf } = useShown();
  const [dialog, setDialog] = useState<Dialog>(null);
  const [code, setCode] = useState<CompletionRequest | null>(null);
  const scroll = useRef<ScrollHandle>(null);
  const running = useRunning();
  const undo = useShared();

  const start = () => {
    if (startAll(queries, draft, shown, modelOf)) {
      setDraft("");
      scroll.current?.toEnd();
    }
  };
  const stop = () => {
    for (const bench of shown) bench.stop();
  };
  useKeys(start, stop, running);

  const showCode = () => {
    const bench = benches[0];
    const model = modelOf(0)?.id ?? "";
    const request = bench?.request(model, draft);
    setCode(request ?? { model, messages: [] });
  };
  const close = () => setDialog(null);

  return (
    <BenchProvider value={benches[0] as (typeof benches)[number]}>
      <div
        className={`grid h-full grid-rows-[minmax(0,1fr)] ${columns === 1 ? "lg:grid-cols-[minmax(0,1fr)_16rem]" : ""}`}
      >
        <div className="flex min-h-0 min-w-0 flex-col">
          <Head running={running} onCode={showCode} onDialog={setDialog} />
          {undo}
          {columns === 1 ? (
            <ScrollArea label={t("play.script")} handle={scroll}>
              <Turns locked={running} />
              <Hint />
            </ScrollArea>
          ) : (
            <div className="flex min-h-0 grow snap-x overflow-x-auto">
              {shown.map((bench, place) => (
                <BenchProvider key={place} value={bench}>
                  <Column number={place + 1} />
                </BenchProvider>
              ))}
            </div>
          )}
          <PlaygroundComposer running={running} onRun={start} onStop={stop} />
        </div>
        {columns === 1 && (
          <aside
            aria-label={t("play.parameters")}
            className="min-h-0 overflow-y-auto border-s border-line p-4 max-lg:hidden"
          >
            <Ledger />
          </aside>
        )}
        <Modal
          open={dialog === "parameters"}
          onClose={close}
          title={t("play.parameters")}
          place="right"
        >
          <Ledger />
        </Modal>
        <Modal open={dialog === "rows"} onClose={close} title={t("rows.title")} place="side">
          <Rows model={modelOf(0)?.id ?? null} />
        </Modal>
        <ShareDialog open={dialog === "share"} onClose={close} model={modelOf(0)?.id ?? null} />
        <SaveDialog open={dialog === "save"} onClose={close} />
        <CodeDialog request={code} onClose={() => setCode(null)} />
      </div>
    </BenchProvider>
  );
}

/** Run every bench that can; true when one did. */
function startAll(
  queries: QueryClient,
  draft: string,
  shown: readonly (typeof benches)[number][],
  modelOf: (place: number) => Model | null,
): boolean {
  const begun = shown.map((bench, place) => {
    const model = modelOf(place);
    return model !== null && bench.run(model.id, draft, queries);
  });
  return begun.some(Boolean);
}

function Head({
  running,
  onCode,
  onDialog,
}: {
  running: boolean;
  onCode: () => void;
  onDialog: (dialog: Dialog) => void;
}) {
  const { script, origin } = useBenchState();
  const { draft, columns } = useDesk();
  const clear = () => {
    for (const bench of benches.slice(0, columns)) bench.clear();
    setDraft("");
  };
  return (
    <PageHead title={origin?.name ?? t("play.title")} about={<OriginLine />}>
      <Button onClick={clear} disabled={isEmpty(script) && draft === "" && !running}>
        {t("play.clear")}
      </Button>
      <label className="flex items-center gap-1.5 text-soft max-md:hidden">
        {t("play.compare")}
        <select
          value={columns}
          onChange={(event) => setColumns(Number(event.target.value))}
          className="bg-transparent text-ink"
        >
          {Array.from({ length: COLUMNS_MAX }, (_, place) => (
            <option key={place} value={place + 1}>
              {place === 0 ? t("play.compare_off") : place + 1}
            </option>
          ))}
        </select>
      </label>
      <Button className="max-md:hidden" onClick={() => onDialog("rows")}>
        {t("rows.open")}
      </Button>
      <Button className="max-md:hidden" onClick={() => onDialog("share")}>
        {t("share.open")}
      </Button>
      <Button onClick={onCode}>{t("play.code")}</Button>
      <Button kind="plain" className="max-md:hidden" onClick={() => onDialog("save")}>
        {t("common.save")}
      </Button>
      {columns === 1 && (
        <Button className="lg:hidden" onClick={() => onDialog("parameters")}>
          {t("play.parameters")}
        </Button>
      )}
    </PageHead>
  );
}

function Hint() {
  const { script } = useBenchState();
  const { draft } = useDesk();
  return isEmpty(script) && draft === "" ? <Samples /> : null;
}

function PlaygroundComposer({
  running,
  onRun,
  onStop,
}: {
  running: boolean;
  onRun: () => void;
  onStop: () => void;
}) {
  const queries = useQueryClient();
  const { script, runId, counted } = useBenchState();
  const { draft, columns } = useDesk();
  const { shown, modelOf } = useShown();
  const live = useRun(runId);
  const bench = shown[0];
  const model = modelOf(0);
  const able = shown.some((each, at) => each.request(modelOf(at)?.id ?? "", draft) !== null);
  const use = contextUse(measure(script, draft), counted, model?.context_window ?? null);
  if (live) use.tokens += live.pieces;
  const price = usePrices(model?.id ?? null);
  const cost = price === null ? 0 : (use.tokens * price.input) / MILLION;
  const keys = isMac() ? "⌘ Enter" : "Ctrl Enter";
  const more = columns === 1 && !running && draft.trim() === "" && unfinished(script) !== null;
  return (
    <Composer
      label={t("play.composer")}
      value={draft}
      onChange={setDraft}
      notice={columns === 1 && <Failure onRun={onRun} />}
      left={
        <div className="flex flex-wrap items-center gap-x-5">
          <ContextGauge use={use} />
          {price && cost > 0 && !running && (
            <span className="text-xs text-soft max-sm:hidden" title={t("meter.next_hint")}>
              {t("meter.next", { cost: money(Math.round(cost), price.currency) })}
            </span>
          )}
          <EngineLine
            model={model?.id ?? null}
            running={running}
            queued={live !== undefined && live.firstTokenAt === null && live.reading === null}
          />
        </div>
      }
    >
      <span className="text-xs text-soft max-sm:hidden pointer-coarse:hidden">
        {running ? t("play.stop_keys") : t("play.run_keys", { keys })}
      </span>
      {more && model && bench && (
        <Button kind="plain" onClick={() => bench.continue(model.id, queries)}>
          {t("play.continue")}
        </Button>
      )}
      {running ? (
        <Button kind="plain" onClick={onStop} disabled={live?.stopping ?? false}>
          {live?.stopping ? t("play.stopping") : t("play.stop")}
        </Button>
      ) : (
        <Button kind="primary" onClick={onRun} disabled={!able || model === null}>
          {t("play.run")}
        </Button>
      )}
    </Composer>
  );
}

/** Ctrl or Cmd with Enter runs, Escape stops, wherever the focus is; a dialog keeps its own Escape. */
function useKeys(start: () => void, stop: () => void, running: boolean): void {
  useEffect(() => {
    const pressed = (event: KeyboardEvent) => {
      if (event.isComposing || document.querySelector("dialog[open]")) return;
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        start();
      } else if (event.key === "Escape" && running) {
        event.preventDefault();
        stop();
      }
    };
    window.addEventListener("keydown", pressed);
    return () => window.removeEventListener("keydown", pressed);
  }, [start, stop, running]);
}
