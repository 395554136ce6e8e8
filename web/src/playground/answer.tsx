// An answer of a script, looked at as text, as tokens with their chances, or as the events it came in.
import { useState } from "react";
import type { TokenLogprob, ToolCall } from "../api/wire";
import { decimal } from "../language/format";
import { t } from "../language/t";
import type { Run, Trace } from "../live/run";
import { Reply } from "../markdown/reply";
import { CopyButton } from "../parts/copy";
import { Call, Thoughts } from "../parts/steps";
import { Tabs } from "../parts/tabs";
import { traces } from "./bench";

type View = "text" | "tokens" | "events";

export function AnswerBody({
  id,
  text,
  run,
  calls,
}: {
  id: string;
  text: string;
  run: Run | undefined;
  calls: readonly ToolCall[];
}) {
  const [view, setView] = useState<View>("text");
  const trace = run?.trace ?? traces.get(id);
  const views: (readonly [View, string])[] = [["text", t("view.text")]];
  if (trace && trace.tokens.length > 0) views.push(["tokens", t("view.tokens")]);
  if (trace && trace.events.length > 0 && !run) views.push(["events", t("view.events")]);
  return (
    <>
      {trace?.reasoning && (
        <Thoughts text={trace.reasoning} writing={run?.ending === null && run.text === ""} />
      )}
      {view === "tokens" && trace ? (
        <Tokens tokens={trace.tokens} />
      ) : view === "events" && trace ? (
        <Events trace={trace} />
      ) : (
        <Reply text={text} writing={run?.ending === null} />
      )}
      {(run?.trace.calls ?? calls).map((call, place) => (
        <Call key={call.id || place} name={call.function.name} given={call.function.arguments} />
      ))}
      {views.length > 1 && (
        <div className="mt-1 text-xs">
          <Tabs label={t("view.label")} value={view} options={views} onChange={setView} />
        </div>
      )}
    </>
  );
}

const percent = (logprob: number): string => decimal(Math.exp(logprob) * 100, 1);
/** A token as it can be seen: spaces and new lines have no look of their own. */
const visible = (token: string): string =>
  token.replaceAll("\n", "⏎").replaceAll("\t", "⇥").replace(/^ | $/g, "␣") || "∅";

/** The less likely a token was, the stronger its ground. */
const ground = (logprob: number): string =>
  `color-mix(in srgb, var(--amber) ${Math.round((1 - Math.exp(logprob)) * 45)}%, transparent)`;

function Tokens({ tokens }: { tokens: readonly TokenLogprob[] }) {
  const [chosen, setChosen] = useState(0);
  const token = tokens[chosen];
  return (
    <div className="space-y-2">
      <div className="max-w-[68ch] [overflow-wrap:anywhere] whitespace-pre-wrap">
        {tokens.map((each, place) => (
          <button
            key={place}
            type="button"
            onClick={() => setChosen(place)}
            onFocus={() => setChosen(place)}
            onMouseEnter={() => setChosen(place)}
            title={`${percent(each.logprob)} %`}
            className={`inline text-start whitespace-pre-wrap ${place === chosen ? "outline outline-accent" : ""}`}
            style={{ background: ground(each.logprob) }}
          >
            {each.token}
          </button>
        ))}
      </div>
      {token && (
        <table className="ledger w-auto! text-xs">
          <caption className="text-start text-soft">
            {t("view.token_at", { place: chosen + 1 })}
          </caption>
          <tbody>
            {[token, ...token.top_logprobs.filter((each) => each.token !== token.token)].map(
              (each, place) => (
                <tr key={each.token}>
                  <td className={`font-mono ${place === 0 ? "text-accent" : ""}`}>
                    {visible(each.token)}
                  </td>
                  <td className="figure">{percent(each.logprob)} %</td>
                  <td className="figure">{decimal(each.logprob, 3)}</td>
                </tr>
              ),
            )}
          </tbody>
        </table>
      )}
    </div>
  );
}

function Events({ trace }: { trace: Trace }) {
  const all = trace.events.map((event) => `data: ${event.data}`).join("\n\n");
  return (
    <div className="space-y-1">
      <div className="flex gap-4 text-xs text-soft">
        {t("view.events_count", { count: trace.events.length })}
        <CopyButton text={all} inline />
      </div>
      <section
        aria-label={t("view.events")}
        // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, so the keyboard must reach it.
        tabIndex={0}
        className="max-h-80 overflow-auto bg-wash p-2 font-mono text-xs"
      >
        {trace.events.map((event, place) => (
          <div key={place} className="flex gap-3 [content-visibility:auto]">
            <span className="w-14 shrink-0 text-end text-soft">{decimal(event.afterMs, 0)}</span>
            <span className="[overflow-wrap:anywhere] whitespace-pre-wrap">{event.data}</span>
          </div>
        ))}
      </section>
    </div>
  );
}
