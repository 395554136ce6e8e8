// The line under a reply: first token, speed, tokens in and out, cost, and how it ended.
import type { ReactNode } from "react";
import { decimal, duration, money } from "../language/format";
import { known, t } from "../language/t";
import {
  type Ending,
  type Meter,
  meterOfRun,
  piecesPerSecond,
  type Run,
  tokensPerSecond,
} from "../live/run";
import { useNow } from "./countdown";

/** A shorter wait in the model server's queue is not worth a word. */
const QUEUE_TOLD_MS = 100;

export const finishWord = (reason: string): string => known("finish", reason) ?? reason;

export function endingWord(ending: Ending): string {
  return ending.kind === "finished" ? finishWord(ending.reason) : t(`finish.${ending.kind}`);
}

function Line({ parts }: { parts: (string | null)[] }): ReactNode {
  const said = parts.filter((part) => part !== null);
  if (said.length === 0) return null;
  return (
    <p className="mt-2 min-h-[1.125rem] text-xs text-soft" data-meter="">
      {said.join(" · ")}
    </p>
  );
}

const rate = (tokens: number | null): string | null =>
  tokens === null ? null : t("meter.rate", { rate: decimal(tokens, tokens < 10 ? 1 : 0) });

function counts(meter: Meter): (string | null)[] {
  const { inputTokens, cachedTokens = 0, outputTokens, cost, seen } = meter;
  const counted = { count: inputTokens ?? 0, cached: cachedTokens };
  const out =
    outputTokens !== undefined
      ? t("meter.out", { count: outputTokens })
      : seen && t("meter.about_out", { count: seen.pieces });
  return [
    inputTokens === undefined
      ? null
      : t(cachedTokens > 0 ? "meter.in_cached" : "meter.in", counted),
    out ?? null,
    meter.reasoningTokens ? t("meter.reasoning", { count: meter.reasoningTokens }) : null,
    cost ? money(cost.nanos, cost.currency) : null,
  ];
}

/** The line of an answer that has ended: what the server counted, else what the page saw. */
export function MeterLine({ meter, finish }: { meter: Meter; finish: string | null }) {
  const firstMs = meter.timings?.first_token_ms ?? meter.seen?.firstTokenMs;
  const first = firstMs === undefined ? null : t("meter.first_token", { time: duration(firstMs) });
  const queueMs = meter.timings?.queue_ms ?? 0;
  const queued = queueMs < QUEUE_TOLD_MS ? null : t("meter.queued", { time: duration(queueMs) });
  return <Line parts={[queued, first, rate(tokensPerSecond(meter)), ...counts(meter), finish]} />;
}

/** The line of a run: counts up while waiting, estimates while text arrives, then is exact. */
export function RunMeter({ run }: { run: Run }) {
  const now = useNow(100, run.ending === null && run.firstTokenAt === null);
  if (run.ending !== null) {
    return <MeterLine meter={meterOfRun(run)} finish={endingWord(run.ending)} />;
  }
  if (run.firstTokenAt === null) {
    const seconds = Math.max(0, now - run.askedAt) / 1000;
    const read =
      run.place === null
        ? run.reading && t("meter.reading", run.reading)
        : t("meter.place", { place: run.place });
    return <Line parts={[t("meter.waiting", { seconds: decimal(seconds, 1) }), read]} />;
  }
  const first = t("meter.first_token", { time: duration(run.firstTokenAt - run.askedAt) });
  const speed = rate(piecesPerSecond(run));
  return <Line parts={[first, speed, t("meter.about_out", { count: run.pieces })]} />;
}
