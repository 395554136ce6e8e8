// One message of a thread: the role in the margin, the text in one column, no bubbles.
import { memo, type ReactNode, useEffect, useRef, useState } from "react";
import { type Item, itemText } from "../api/wire";
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
      <div className="w-12 text-right opacity-0 focus-within:opacity-100 group-hover/turn:opacity-100 max-md:hidden pointer-coarse:opacity-100">
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

/** A reply that is stored; the line under it is fetched when it comes into view. */
export const StoredTurn = memo(function StoredTurn({ item }: { item: Item }) {
  const text = itemText(item);
  return (
    <Row speaker="assistant" copy={text}>
      <Reply text={text} writing={false} />
      {item.response_id && <StoredMeter responseId={item.response_id} />}
    </Row>
  );
});

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

/** A reply that is being written, or that has just ended. */
export function LiveTurn({ run }: { run: Run }) {
  return (
    <Row speaker="assistant" copy={run.ending === null ? "" : run.text}>
      <Reply text={run.text} writing={run.ending === null} />
      <div className="flex flex-wrap items-baseline gap-x-4">
        <RunMeter run={run} />
        <LinkLine run={run} />
      </div>
    </Row>
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
