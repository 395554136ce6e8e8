// One message of a thread: the role in the margin, the text in one column, no bubbles; its actions
// show on hover and on focus.
import { memo, type ReactNode, useEffect, useRef, useState } from "react";
import { type Item, itemText } from "../api/wire";
import { decimal } from "../language/format";
import { t } from "../language/t";
import { meterOfAnswer, type Run } from "../live/run";
import { Reply } from "../markdown/reply";
import { Button } from "../parts/button";
import { CopyButton } from "../parts/copy";
import { useSecondsUntil } from "../parts/countdown";
import { GrowingText } from "../parts/grow";
import { endingWord, MeterLine, RunMeter } from "../parts/meter";
import { sentence } from "../parts/notice";
import { Call, Outcome, Thoughts } from "../parts/steps";
import { endingOf } from "./answers";
import type { Siblings } from "./items";
import { useAnswer } from "./queries";

/** What a person may do with the turns of one thread; the same object for as long as it holds. */
export interface Acts {
  /** Ask again in other words, as a branch beside the first. */
  edit(item: Item, text: string): void;
  /** Another answer to the same question. */
  regenerate(answer: Item, question: string | null): void;
  /** Go on where the answer was cut. */
  carryOn(answer: Item): void;
  /** Go to another branch. */
  walk(itemId: string): void;
}

function Row({
  speaker,
  beside,
  children,
}: {
  speaker: "user" | "assistant" | "tool";
  /** At the end of the line on wide screens, below on narrow ones. */
  beside?: ReactNode;
  children: ReactNode;
}) {
  const wash = speaker === "user" ? "bg-wash rounded" : "";
  return (
    <article
      aria-label={t(`role.${speaker}`)}
      className={`group/turn -mx-3 grid gap-x-5 px-3 py-3 [contain-intrinsic-size:auto_8rem] [content-visibility:auto] md:grid-cols-[5.5rem_minmax(0,1fr)_auto] ${wash}`}
    >
      <p className="text-xs leading-[1.375rem] text-soft">{t(`role.${speaker}`)}</p>
      <div className="min-w-0">{children}</div>
      {beside}
    </article>
  );
}

/** What may be done with a turn; seen on hover, on focus, and always under a finger. */
function Actions({ children }: { children: ReactNode }) {
  return (
    <div className="flex flex-wrap items-baseline gap-x-4 text-xs opacity-0 focus-within:opacity-100 group-hover/turn:opacity-100 has-[[data-branches]]:opacity-100 pointer-coarse:opacity-100">
      {children}
    </div>
  );
}

/** "‹ 2 of 3 ›": the branches that begin here. */
function Branches({ siblings, acts }: { siblings: Siblings | undefined; acts: Acts }) {
  if (siblings === undefined) return null;
  const { at, ids } = siblings;
  const step = (by: number) => {
    const id = ids[at + by];
    if (id !== undefined) acts.walk(id);
  };
  return (
    <span data-branches="" className="inline-flex items-baseline gap-1 text-soft">
      <Button inline aria-label={t("branch.before")} disabled={at === 0} onClick={() => step(-1)}>
        ‹
      </Button>
      {t("branch.of", { at: at + 1, count: ids.length })}
      <Button
        inline
        aria-label={t("branch.after")}
        disabled={at === ids.length - 1}
        onClick={() => step(1)}
      >
        ›
      </Button>
    </span>
  );
}

/** A field that was just asked for has the keyboard. The same function always, so that it acts once. */
const focus = (field: HTMLTextAreaElement | null): void => field?.focus();

export const UserTurn = memo(function UserTurn({
  text,
  files,
  item,
  siblings,
  acts,
  busy,
}: {
  text: string;
  files: readonly string[];
  item: Item | null;
  siblings: Siblings | undefined;
  acts: Acts;
  busy: boolean;
}) {
  const [draft, setDraft] = useState<string | null>(null);
  if (draft !== null && item !== null) {
    const send = () => {
      acts.edit(item, draft.trim());
      setDraft(null);
    };
    return (
      <Row speaker="user">
        <GrowingText
          ref={focus}
          aria-label={t("chat.edit_text")}
          value={draft}
          onChange={(event) => setDraft(event.target.value)}
          onKeyDown={(event) => {
            if (event.key === "Escape") setDraft(null);
            if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) send();
          }}
          className="field w-full max-w-[68ch] bg-paper px-2 py-1"
        />
        <div className="mt-2 flex gap-3">
          <Button kind="primary" disabled={draft.trim() === "" || busy} onClick={send}>
            {t("chat.edit_send")}
          </Button>
          <Button onClick={() => setDraft(null)}>{t("common.cancel")}</Button>
        </div>
      </Row>
    );
  }
  return (
    <Row
      speaker="user"
      beside={
        <Actions>
          <Branches siblings={siblings} acts={acts} />
          {text !== "" && <CopyButton text={text} inline />}
          {item !== null && (
            <Button inline disabled={busy} onClick={() => setDraft(text)}>
              {t("play.edit")}
            </Button>
          )}
        </Actions>
      }
    >
      {files.length > 0 && <p className="text-xs text-soft">{files.join(", ")}</p>}
      <p className="max-w-[68ch] whitespace-pre-wrap [overflow-wrap:anywhere]">{text}</p>
    </Row>
  );
});

/** A reply, while it is written and ever after: one component, so that nothing moves at the end. */
export const AnswerTurn = memo(function AnswerTurn({
  text,
  run,
  responseId,
  question,
  item,
  siblings,
  acts,
  busy,
  last,
}: {
  text: string;
  run: Run | undefined;
  responseId: string | null;
  /** What it answers, where that is known. */
  question: string | null;
  item: Item | null;
  siblings: Siblings | undefined;
  acts: Acts;
  busy: boolean;
  last: boolean;
}) {
  const writing = run?.ending === null;
  const cut = item?.status === "incomplete" && last;
  return (
    <Row speaker="assistant">
      {/* Once they are stored, these are turns of their own. */}
      {run && item === null && run.trace.reasoning !== "" && (
        <Thoughts text={run.trace.reasoning} writing={writing && text === ""} />
      )}
      <Reply text={text} writing={writing} />
      {item === null &&
        run?.trace.calls.map((call) => (
          <Call key={call.id} name={call.function.name} given={call.function.arguments} />
        ))}
      <div className="flex flex-wrap items-baseline gap-x-5">
        {run ? (
          <>
            <RunMeter run={run} />
            <LinkLine run={run} />
          </>
        ) : (
          responseId && <StoredMeter responseId={responseId} />
        )}
        {!writing && (
          <Actions>
            <Branches siblings={siblings} acts={acts} />
            <CopyButton text={text} inline />
            {item && question !== null && (
              <Button inline disabled={busy} onClick={() => acts.regenerate(item, question)}>
                {t("chat.regenerate")}
              </Button>
            )}
            {cut && item && (
              <Button inline disabled={busy} onClick={() => acts.carryOn(item)}>
                {t("play.continue")}
              </Button>
            )}
          </Actions>
        )}
      </div>
    </Row>
  );
});

/** A thought, a call of a function, or what a program answered to one. */
export const StepTurn = memo(function StepTurn({
  item,
  siblings,
  acts,
}: {
  item: Item;
  siblings: Siblings | undefined;
  acts: Acts;
}) {
  const outcome = item.type === "function_call_output";
  return (
    <Row speaker={outcome ? "tool" : "assistant"}>
      {outcome ? (
        <Outcome text={item.output ?? ""} />
      ) : item.type === "reasoning" ? (
        <Thoughts text={itemText(item)} />
      ) : (
        <Call name={item.name ?? ""} given={item.arguments ?? ""} />
      )}
      {siblings && (
        <Actions>
          <Branches siblings={siblings} acts={acts} />
        </Actions>
      )}
    </Row>
  );
});

/** Older messages stand as a summary from here on; it opens, and it can be taken back. */
export function SummaryLine({ text, onUndo }: { text: string; onUndo: () => void }) {
  return (
    <details className="border-y border-line py-2 text-xs">
      <summary className="text-soft">{t("chat.summary")}</summary>
      <p className="mt-2 max-w-[68ch] text-sm whitespace-pre-wrap">{text}</p>
      <Button inline kind="link" onClick={onUndo}>
        {t("chat.summary_undo")}
      </Button>
    </details>
  );
}

/** A reply that is only scrolled past asks for nothing. */
const LOOKED_AT_MS = 150;

/** The line under an old reply; fetched when it is looked at. */
function StoredMeter({ responseId }: { responseId: string }) {
  const place = useRef<HTMLDivElement>(null);
  const [seen, setSeen] = useState(false);
  useEffect(() => {
    const element = place.current;
    if (element === null || seen) return;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const observer = new IntersectionObserver((entries) => {
      clearTimeout(timer);
      if (entries.at(-1)?.isIntersecting) timer = setTimeout(() => setSeen(true), LOOKED_AT_MS);
    });
    observer.observe(element);
    return () => {
      clearTimeout(timer);
      observer.disconnect();
    };
  }, [seen]);
  const { data } = useAnswer(seen ? responseId : null);
  const ending = data && endingOf(data);
  return (
    <div ref={place} className="min-h-[1.625rem]">
      {data && ending && <MeterLine meter={meterOfAnswer(data)} finish={endingWord(ending)} />}
      {ending?.kind === "failed" && <p className="text-xs text-red">{sentence(ending.error)}</p>}
    </div>
  );
}

/** One quiet line while the connection is away; the text above stays. */
function LinkLine({ run }: { run: Run }) {
  const left = useSecondsUntil(run.link.state === "lost" ? run.link.againAt : null);
  if (run.ending !== null || run.link.state === "open") return null;
  if (run.link.state === "back") return <p className="text-xs text-soft">{t("chat.back")}</p>;
  return (
    <p className="text-xs text-amber" role="status">
      {left > 0 ? t("chat.lost", { seconds: decimal(left, 0) }) : t("chat.lost_now")}
    </p>
  );
}
