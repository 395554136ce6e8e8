// One message of a thread: the role in the margin, the text in one column, no bubbles.
import { memo, type ReactNode, useEffect, useRef, useState } from "react";
import { decimal } from "../language/format";
import { t } from "../language/t";
import { meterOfAnswer, type Run } from "../live/run";
import { Reply } from "../markdown/reply";
import { CopyButton } from "../parts/copy";
import { useSecondsUntil } from "../parts/countdown";
import { endingWord, MeterLine, RunMeter } from "../parts/meter";
import { sentence } from "../parts/notice";
import { endingOf } from "./answers";
import { useAnswer } from "./queries";

function Row({
  speaker,
  copy,
  children,
}: {
  speaker: "user" | "assistant";
  copy: string;
  children: ReactNode;
}) {
  const wash = speaker === "user" ? "bg-wash rounded" : "";
  return (
    <article
      aria-label={t(`role.${speaker}`)}
      className={`group/turn -mx-3 grid gap-x-5 px-3 py-3 [contain-intrinsic-size:auto_8rem] [content-visibility:auto] md:grid-cols-[5.5rem_minmax(0,1fr)_auto] ${wash}`}
    >
      <div className="flex items-baseline justify-between text-xs leading-[1.375rem] text-soft">
        <p>{t(`role.${speaker}`)}</p>
        {copy !== "" && <CopyButton text={copy} inline className="md:hidden" />}
      </div>
      <div className="min-w-0">{children}</div>
      <div className="w-12 text-end opacity-0 focus-within:opacity-100 group-hover/turn:opacity-100 max-md:hidden pointer-coarse:opacity-100">
        {copy !== "" && <CopyButton text={copy} inline />}
      </div>
    </article>
  );
}

export const UserTurn = memo(function UserTurn({ text }: { text: string }) {
  return (
    <Row speaker="user" copy={text}>
      <p className="max-w-[68ch] whitespace-pre-wrap [overflow-wrap:anywhere]">{text}</p>
    </Row>
  );
});

/** A reply, while it is written and ever after: one component, so that nothing moves at the end. */
export const AnswerTurn = memo(function AnswerTurn({
  text,
  run,
  responseId,
}: {
  text: string;
  run: Run | undefined;
  responseId: string | null;
}) {
  const writing = run?.ending === null;
  return (
    <Row speaker="assistant" copy={writing ? "" : text}>
      <Reply text={text} writing={writing} />
      {run ? (
        <div className="flex flex-wrap items-baseline gap-x-4">
          <RunMeter run={run} />
          <LinkLine run={run} />
        </div>
      ) : (
        responseId && <StoredMeter responseId={responseId} />
      )}
    </Row>
  );
});

/** The line under an old reply; fetched when it comes into view. */
function StoredMeter({ responseId }: { responseId: string }) {
  const place = useRef<HTMLDivElement>(null);
  const [seen, setSeen] = useState(false);
  useEffect(() => {
    const element = place.current;
    if (element === null || seen) return;
    const observer = new IntersectionObserver((entries) => {
      if (entries.some((entry) => entry.isIntersecting)) setSeen(true);
    });
    observer.observe(element);
    return () => observer.disconnect();
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
