// What `python -m benchmarks.web` measures in a browser: an answer that grows, and a long thread.
import { flushSync } from "react-dom";
import { createRoot } from "react-dom/client";
import { type Acts, AnswerTurn, UserTurn } from "../src/chat/turn";
import { newRun } from "../src/live/run";
import { Reply } from "../src/markdown/reply";
import "../src/styles.css";

const root = createRoot(document.getElementById("root") as HTMLElement);
const acts: Acts = {
  edit: () => undefined,
  regenerate: () => undefined,
  carryOn: () => undefined,
  walk: () => undefined,
};

/** Prose, lists, a table and code, as an answer has them, to this length. */
function sample(characters: number): string {
  const parts = [
    "The harbour lies **between two hills**, and the road from the north comes down in [bends](https://example.org).\n\n",
    "- one `inline` word\n- another line with *stress*\n- a third one\n\n",
    "```python\ndef total(values):\n    return sum(value for value in values if value > 0)\n```\n\n",
    "| name | value |\n|---|---|\n| first | 1 |\n| second | 2 |\n\n",
    "## A heading\n\nAnother paragraph, which is longer than the others, so that most of the text is prose, as it is in what a model writes when it is asked to explain something at length.\n\n",
  ];
  let text = "";
  for (let place = 0; text.length < characters; place += 1) text += parts[place % parts.length];
  return text.slice(0, characters);
}

interface Times {
  /** Milliseconds of script for each update, and of script with layout. */
  script: number[];
  layout: number[];
  /** Characters that were drawn at the end. */
  drawn: number;
}

/** An answer that grows to `characters` by `step`. */
function stream(characters: number, step: number): Times {
  const text = sample(characters);
  const times: Times = { script: [], layout: [], drawn: 0 };
  for (let end = step; end <= text.length; end += step) {
    const begun = performance.now();
    flushSync(() => root.render(<Reply text={text.slice(0, end)} writing />));
    times.script.push(performance.now() - begun);
    times.drawn = document.body.textContent.length;
    void document.body.offsetHeight;
    times.layout.push(performance.now() - begun);
  }
  return times;
}

/** A thread of so many turns; resolves when it is drawn. */
async function thread(turns: number): Promise<void> {
  const text = sample(600);
  const shared = { acts, item: null, siblings: undefined, busy: false };
  const run = { ...newRun("x", 0), ending: { kind: "stopped" } as const };
  flushSync(() =>
    root.render(
      <div id="scroller" style={{ height: "90vh", overflowY: "auto" }}>
        {Array.from({ length: turns }, (_, place) =>
          place % 2 === 0 ? (
            <UserTurn key={place} text={`Question ${place}`} files={[]} {...shared} />
          ) : (
            <AnswerTurn
              key={place}
              text={text}
              run={run}
              responseId={null}
              last={false}
              {...shared}
            />
          ),
        )}
      </div>,
    ),
  );
  await new Promise(requestAnimationFrame);
}

/** The lengths of the frames, in milliseconds, while the thread is scrolled from top to end. */
async function scroll(frames: number): Promise<number[]> {
  const element = document.getElementById("scroller") as HTMLElement;
  const times: number[] = [];
  let before = performance.now();
  for (let frame = 0; frame < frames; frame += 1) {
    element.scrollTop = (element.scrollHeight * frame) / frames;
    const now: number = await new Promise(requestAnimationFrame);
    times.push(now - before);
    before = now;
  }
  return times.slice(1);
}

Object.assign(window, { bench: { stream, thread, scroll } });
