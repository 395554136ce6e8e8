// One bench on the page: its turns, and in a comparison its model, its parameters and its meter.
import { useState } from "react";
import { t } from "../language/t";
import { useRun } from "../live/store";
import { Button } from "../parts/button";
import { Modal } from "../parts/modal";
import { Notice } from "../parts/notice";
import { setDraft, useBench, useBenchState } from "./bench";
import { Ledger, ModelSelect } from "./ledger";
import { edit, remove, type Turn } from "./script";
import { ScriptTurn, SystemTurn } from "./turn";

const SAMPLES = ["play.sample_1", "play.sample_2", "play.sample_3"] as const;

export function Turns({ locked }: { locked: boolean }) {
  const bench = useBench();
  const { script, runId } = useBenchState();
  const live = useRun(runId);
  const turns: Turn[] = [...script.turns];
  if (runId !== null) turns.push({ id: runId, role: "assistant", content: "" });
  return (
    <>
      <SystemTurn
        text={script.system}
        locked={locked}
        onChange={(system) => bench.set({ script: { ...script, system } })}
      />
      {turns.map((turn, place) => (
        <ScriptTurn
          key={turn.id}
          turn={turn}
          number={place + 1}
          locked={locked}
          run={turn.id === runId ? live : undefined}
          onEdit={(change) => bench.set({ script: edit(script, turn.id, change) })}
          onRemove={() => bench.set({ script: remove(script, turn.id) })}
        />
      ))}
    </>
  );
}

export function Samples() {
  return (
    <div className="py-4 text-soft md:ps-[6.75rem]">
      <p>{t("play.start")}</p>
      <ul className="mt-2 space-y-1">
        {SAMPLES.map((key) => (
          <li key={key}>
            <Button
              kind="link"
              className="text-start whitespace-normal!"
              onClick={() => setDraft(t(key))}
            >
              {t(key)}
            </Button>
          </li>
        ))}
      </ul>
    </div>
  );
}

/** Why the last run failed, until it is dismissed or the next one begins. */
export function Failure({ onRun }: { onRun?: () => void }) {
  const bench = useBench();
  const { failure } = useBenchState();
  if (failure === null) return null;
  return (
    <Notice
      error={failure}
      onDismiss={() => bench.set({ failure: null })}
      {...(onRun ? { onRetry: onRun } : {})}
    />
  );
}

export function Column({ number }: { number: number }) {
  const { runId } = useBenchState();
  const [open, setOpen] = useState(false);
  return (
    <section
      aria-label={t("play.column", { number })}
      className="flex min-w-[min(20rem,85vw)] flex-1 snap-start flex-col border-e border-line last:border-e-0"
    >
      <div className="flex items-center justify-between gap-3 border-b border-line px-4 py-1.5">
        <ModelSelect />
        <Button inline onClick={() => setOpen(true)}>
          {t("play.parameters")}
        </Button>
      </div>
      <section
        className="min-h-0 grow overflow-y-auto px-4"
        // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, so the keyboard must reach it.
        tabIndex={0}
        aria-label={`${t("play.column", { number })}: ${t("play.script")}`}
      >
        <Turns locked={runId !== null} />
        <Failure />
      </section>
      <Modal open={open} onClose={() => setOpen(false)} title={t("play.parameters")} place="right">
        <Ledger />
      </Modal>
    </section>
  );
}
