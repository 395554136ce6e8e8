// The Playground: a script of turns, a ledger of parameters, and one action.
import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";
import type { CompletionRequest } from "../api/wire";
import { PageHead } from "../frame/head";
import { useModel } from "../frame/model";
import { t } from "../language/t";
import { useRun } from "../live/store";
import { Button } from "../parts/button";
import { Composer, isMac } from "../parts/composer";
import { ContextGauge } from "../parts/gauge";
import { Modal } from "../parts/modal";
import { Notice } from "../parts/notice";
import { ScrollArea, type ScrollHandle } from "../parts/scroll-area";
import { CodeDialog } from "./code-dialog";
import { contextUse, measure } from "./context";
import { Ledger } from "./ledger";
import { readParameters } from "./parameters";
import { edit, isEmpty, messages, prepare, remove, type Turn } from "./script";
import { clear, dismissFailure, run, setDraft, setScript, stop, usePlayground } from "./store";
import { ScriptTurn, SystemTurn } from "./turn";

const SAMPLES = ["play.sample_1", "play.sample_2", "play.sample_3"] as const;

export function Playground() {
  const { model } = useModel();
  const queries = useQueryClient();
  const { script, draft, parameters, runId } = usePlayground();
  const [sheet, setSheet] = useState(false);
  const [code, setCode] = useState<CompletionRequest | null>(null);
  const scroll = useRef<ScrollHandle>(null);
  const running = runId !== null;
  const able =
    model !== null &&
    readParameters(parameters).fault === null &&
    prepare(script, draft, "") !== null;

  const start = () => {
    if (model !== null && run(model.id, queries)) scroll.current?.toEnd();
  };
  useKeys(start, running);

  const showCode = () => {
    const { sampling } = readParameters(parameters);
    const turns = messages(prepare(script, draft, "") ?? script);
    setCode({ model: model?.id ?? "", messages: turns, ...(sampling ?? {}) });
  };

  return (
    <div className="grid h-full grid-rows-[minmax(0,1fr)] lg:grid-cols-[minmax(0,1fr)_16rem]">
      <div className="flex min-h-0 min-w-0 flex-col">
        <PageHead title={t("play.title")}>
          <Button onClick={clear} disabled={isEmpty(script) && draft === "" && !running}>
            {t("play.clear")}
          </Button>
          <Button onClick={showCode}>{t("play.code")}</Button>
          <Button className="lg:hidden" onClick={() => setSheet(true)}>
            {t("play.parameters")}
          </Button>
        </PageHead>
        <ScrollArea label={t("play.script")} handle={scroll}>
          <Turns locked={running} />
          {isEmpty(script) && draft === "" && <Samples />}
        </ScrollArea>
        <PlaygroundComposer able={able} onRun={start} window={model?.context_window ?? null} />
      </div>
      <aside
        aria-label={t("play.parameters")}
        className="min-h-0 overflow-y-auto border-s border-line p-4 max-lg:hidden"
      >
        <Ledger />
      </aside>
      <Modal
        open={sheet}
        onClose={() => setSheet(false)}
        title={t("play.parameters")}
        place="right"
      >
        <Ledger />
      </Modal>
      <CodeDialog request={code} onClose={() => setCode(null)} />
    </div>
  );
}

function Turns({ locked }: { locked: boolean }) {
  const { script, runId } = usePlayground();
  const live = useRun(runId);
  const turns: Turn[] = [...script.turns];
  if (runId !== null) turns.push({ id: runId, role: "assistant", content: "" });
  return (
    <>
      <SystemTurn
        text={script.system}
        locked={locked}
        onChange={(system) => setScript({ ...script, system })}
      />
      {turns.map((turn, place) => (
        <ScriptTurn
          key={turn.id}
          turn={turn}
          number={place + 1}
          locked={locked}
          run={turn.id === runId ? live : undefined}
          onEdit={(change) => setScript(edit(script, turn.id, change))}
          onRemove={() => setScript(remove(script, turn.id))}
        />
      ))}
    </>
  );
}

function Samples() {
  return (
    <div className="py-4 text-soft md:ps-[6.75rem]">
      <p>{t("play.start")}</p>
      <ul className="mt-2 space-y-1">
        {SAMPLES.map((key) => (
          <li key={key}>
            <Button kind="link" className="text-start" onClick={() => setDraft(t(key))}>
              {t(key)}
            </Button>
          </li>
        ))}
      </ul>
    </div>
  );
}

function PlaygroundComposer({
  able,
  onRun,
  window: contextWindow,
}: {
  able: boolean;
  onRun: () => void;
  window: number | null;
}) {
  const { script, draft, runId, counted, failure } = usePlayground();
  const live = useRun(runId);
  const size = measure(script, draft);
  const use = contextUse(size, counted, contextWindow);
  if (live) use.tokens += live.pieces;
  const keys = isMac() ? "⌘ Enter" : "Ctrl Enter";
  return (
    <Composer
      label={t("play.composer")}
      value={draft}
      onChange={setDraft}
      notice={
        failure !== null && <Notice error={failure} onRetry={onRun} onDismiss={dismissFailure} />
      }
      left={<ContextGauge use={use} />}
    >
      <span className="text-xs text-soft pointer-coarse:hidden">
        {runId === null ? t("play.run_keys", { keys }) : t("play.stop_keys")}
      </span>
      {runId === null ? (
        <Button kind="primary" onClick={onRun} disabled={!able}>
          {t("play.run")}
        </Button>
      ) : (
        <Button kind="plain" onClick={stop} disabled={live?.stopping ?? false}>
          {live?.stopping ? t("play.stopping") : t("play.stop")}
        </Button>
      )}
    </Composer>
  );
}

/** Ctrl or Cmd with Enter runs, Escape stops, wherever the focus is; a dialog keeps its own Escape. */
function useKeys(start: () => void, running: boolean): void {
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
  }, [start, running]);
}
