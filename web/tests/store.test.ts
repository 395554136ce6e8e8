import { describe, expect, it } from "vitest";
import { append, end, newRun } from "../src/live/run";
import { createRuns, ENDED_RUNS_MAX, type Frames } from "../src/live/store";

/** A clock and a screen that move only when told. */
class Screen implements Frames {
  time = 0;
  private waiting: (() => void)[] = [];
  requested = 0;

  now = () => this.time;
  request(callback: () => void) {
    this.requested += 1;
    this.waiting.push(callback);
  }
  paint() {
    const due = this.waiting;
    this.waiting = [];
    for (const callback of due) callback();
  }
}

function begin() {
  const screen = new Screen();
  const runs = createRuns(screen);
  let published = 0;
  runs.begin(newRun("a", 0));
  runs.shown.subscribe(() => {
    published += 1;
  });
  return { screen, runs, published: () => published };
}

describe("the store of live runs", () => {
  it("publishes many tokens once per frame, and all of them", () => {
    const { screen, runs, published } = begin();
    for (const piece of ["one", " two", " three"]) runs.change("a", (run) => append(run, piece, 5));
    expect(published()).toBe(0);
    expect(runs.get("a")?.text).toBe("one two three");
    screen.paint();
    expect(published()).toBe(1);
    expect(screen.requested).toBe(1);
    expect(runs.shown.getState().a?.text).toBe("one two three");
  });

  it("publishes an ending at once, and not again at the frame", () => {
    const { screen, runs, published } = begin();
    runs.change("a", (run) => append(run, "text", 5));
    runs.change("a", (run) => end(run, { kind: "finished", reason: "stop" }, 9));
    expect(published()).toBe(1);
    screen.paint();
    expect(published()).toBe(1);
    expect(runs.shown.getState().a).toMatchObject({ text: "text", endedAt: 9 });
  });

  it("keeps the first ending and does not touch other runs", () => {
    const { runs } = begin();
    runs.begin(newRun("b", 0));
    const other = runs.get("b");
    runs.change("a", (run) => end(run, { kind: "stopped" }, 1));
    runs.change("a", (run) => end(run, { kind: "finished", reason: "stop" }, 2));
    expect(runs.get("a")?.ending).toEqual({ kind: "stopped" });
    expect(runs.get("b")).toBe(other);
  });

  it("ignores a change of a run that is gone", () => {
    const { runs, published } = begin();
    runs.drop("a");
    const before = published();
    runs.change("a", (run) => append(run, "late", 1));
    expect(runs.get("a")).toBeUndefined();
    expect(published()).toBe(before);
  });

  it("forgets the oldest ended runs, never one that is going on", () => {
    const { runs } = begin();
    for (let made = 0; made < ENDED_RUNS_MAX * 2; made += 1) {
      runs.begin(newRun(`r${made}`, 0));
      runs.change(`r${made}`, (run) => end(run, { kind: "stopped" }, 1));
    }
    expect(runs.get("a")).toBeDefined();
    expect(Object.keys(runs.shown.getState()).length).toBeLessThanOrEqual(ENDED_RUNS_MAX + 2);
  });
});
