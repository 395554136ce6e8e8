// The live runs, outside React. Tokens arrive far more often than a screen can show them, so
// changes gather here and are published at most once per frame; an ending is published at once.
import { useStore } from "zustand";
import { createStore } from "zustand/vanilla";
import type { Run } from "./run";

export type Runs = Readonly<Record<string, Run>>;

export interface Frames {
  now(): number;
  /** Call back before the next paint, or soon when the page is hidden. */
  request(callback: () => void): void;
}

/** In a hidden tab no frame ever comes; the text must still grow, only less often. */
const HIDDEN_MS = 250;
/** Ended runs that are kept; the oldest are forgotten, the server has them all. */
export const ENDED_RUNS_MAX = 50;

export const browserFrames: Frames = {
  now: () => performance.now(),
  request(callback) {
    if (document.hidden) setTimeout(callback, HIDDEN_MS);
    else requestAnimationFrame(callback);
  },
};

export function createRuns(frames: Frames) {
  const shown = createStore<Runs>(() => ({}));
  let latest: Runs = {};
  let requested = false;

  const publish = () => {
    requested = false;
    shown.setState(latest, true);
  };

  const put = (run: Run, atOnce: boolean) => {
    latest = { ...latest, [run.id]: run };
    if (atOnce) publish();
    else if (!requested) {
      requested = true;
      frames.request(() => {
        if (requested) publish();
      });
    }
  };

  return {
    shown,
    now: frames.now,
    /** The newest state, perhaps not shown yet. */
    get: (id: string): Run | undefined => latest[id],
    begin(run: Run): void {
      const ended = Object.values(latest).filter((each) => each.ending !== null);
      const surplus = ended.length - ENDED_RUNS_MAX;
      if (surplus > 0) {
        const kept = { ...latest };
        for (const each of ended.slice(0, surplus)) delete kept[each.id];
        latest = kept;
      }
      put(run, true);
    },
    change(id: string, step: (run: Run) => Run): void {
      const before = latest[id];
      if (before === undefined) return;
      const after = step(before);
      if (after === before) return;
      // The states a person acts on must not wait for a frame.
      const urgent = after.ending !== before.ending || after.stopping !== before.stopping;
      put(after, urgent);
    },
    drop(id: string): void {
      const { [id]: _, ...rest } = latest;
      latest = rest;
      publish();
    },
  };
}

export type RunStore = ReturnType<typeof createRuns>;

export const runs: RunStore = createRuns(browserFrames);

/** The run as last published; renders again only when this one run changes. */
export function useRun(id: string | null): Run | undefined {
  return useStore(runs.shown, (all) => (id === null ? undefined : all[id]));
}
