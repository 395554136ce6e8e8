// What `python -m benchmarks.web` measures in a browser: an answer that grows, and a long thread.
import { flushSync } from "react-dom";
import { createRoot } from "react-dom/client";
import { type Acts, AnswerTurn, UserTurn } from "../src/chat/turn";
import { TurnList } from "../src/chat/turn-list";
import { newRun } from "../src/live/run";
import { Reply } from "../src/markdown/reply";
import "../src/styles.css";

const root = createRoot(document.getElementById("root") as HTMLElement);
/** The observers have told what is near, and it is drawn. */
const SETTLE_MS = 500;
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

/** A thread of so many turns, drawn as Chat draws it; resolves when it stands at its end. */
async function thread(turns: number, wholeMax?: number): Promise<void> {
  const text = sample(600);
  const shared = { acts, item: null, siblings: undefined, busy: false };
  const run = { ...newRun("x", 0), ending: { kind: "stopped" } as const };
  flushSync(() =>
    root.render(
      <div id="scroller" data-scroller="" style={{ height: "90vh", overflowY: "auto" }}>
        <TurnList
          {...(wholeMax === undefined ? {} : { wholeMax })}
          turns={Array.from({ length: turns }, (_, place) => ({
            key: String(place),
            text: place % 2 === 0 ? `Question ${place}` : text,
          }))}
          drawOne={(turn, place) =>
            place % 2 === 0 ? (
              <UserTurn text={turn.text} files={[]} {...shared} />
            ) : (
              <AnswerTurn
                text={turn.text}
                run={run}
                responseId={null}
                question={null}
                last={false}
                {...shared}
              />
            )
          }
        />
      </div>,
    ),
  );
  const element = document.getElementById("scroller") as HTMLElement;
  element.scrollTop = element.scrollHeight;
  await new Promise((done) => setTimeout(done, SETTLE_MS));
}

/** What the page holds: elements of the document. */
const elements = (): number => document.getElementsByTagName("*").length;

/** The lengths of the frames, in milliseconds, while the thread is scrolled from its end to its top. */
async function scroll(frames: number): Promise<number[]> {
  const element = document.getElementById("scroller") as HTMLElement;
  const times: number[] = [];
  let before = performance.now();
  for (let frame = 0; frame < frames; frame += 1) {
    element.scrollTop = element.scrollHeight * (1 - frame / frames);
    const now: number = await new Promise(requestAnimationFrame);
    times.push(now - before);
    before = now;
  }
  return times.slice(1);
}

Object.assign(window, { bench: { stream, thread, scroll, elements } });
