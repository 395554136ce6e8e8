// How a response is reached in a browser: the server's routes, and timers that end early when the
// network returns or the tab is looked at again.
import { server } from "../api/server";
import { readEvents } from "../api/sse";
import type { Transport } from "./follow";

export const browserTransport: Transport = {
  resume: server.resume,
  read: (response) => readEvents(response),
  answer: server.answer,
  wait: waitOrWake,
  random: Math.random,
};

/** Wait; wakes early on `online` and when the tab becomes visible. Rejects when aborted. */
export function waitOrWake(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const finish = (settle: () => void) => {
      clearTimeout(timer);
      window.removeEventListener("online", wake);
      document.removeEventListener("visibilitychange", seen);
      signal.removeEventListener("abort", stop);
      settle();
    };
    const wake = () => finish(resolve);
    const seen = () => {
      if (!document.hidden) wake();
    };
    const stop = () => finish(() => reject(signal.reason));
    const timer = setTimeout(wake, milliseconds);
    window.addEventListener("online", wake);
    document.addEventListener("visibilitychange", seen);
    signal.addEventListener("abort", stop);
    if (signal.aborted) stop();
  });
}
