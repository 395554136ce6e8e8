// Time as the page shows it: the present, renewed at an interval, and only while it is needed.
import { useEffect, useState } from "react";

/** Milliseconds of the page's clock, renewed every `everyMs` while `running`. */
export function useNow(everyMs: number, running: boolean): number {
  const [now, setNow] = useState(() => performance.now());
  useEffect(() => {
    if (!running) return;
    setNow(performance.now());
    const timer = setInterval(() => setNow(performance.now()), everyMs);
    return () => clearInterval(timer);
  }, [everyMs, running]);
  return now;
}

/** Whole seconds left until a moment of the page's clock; 0 when it has passed. */
export function useSecondsUntil(at: number | null): number {
  const [over, setOver] = useState(false);
  const now = useNow(250, at !== null && !over);
  const left = at === null ? 0 : Math.max(0, Math.ceil((at - now) / 1000));
  useEffect(() => setOver(at !== null && left === 0), [at, left]);
  return left;
}

/** Seconds since the epoch, renewed at an interval; for ages that are shown. */
export function useWallClock(everyMs: number): number {
  const [now, setNow] = useState(() => Date.now() / 1000);
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now() / 1000), everyMs);
    return () => clearInterval(timer);
  }, [everyMs]);
  return now;
}
