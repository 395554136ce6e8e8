// The one place that speaks to screen readers without taking the focus. Streamed text is not live:
// "Answering" and "Answer done, 120 words" are said instead, politely.
import { create } from "zustand";

const said = create<{ text: string; turn: number }>(() => ({ text: "", turn: 0 }));

export function announce(text: string): void {
  said.setState((before) => ({ text, turn: before.turn + 1 }));
}

export function Announcer() {
  const { text, turn } = said();
  // A new key per announcement makes the same sentence heard twice.
  return (
    <div role="status" aria-live="polite" className="sr-only">
      <span key={turn}>{text}</span>
    </div>
  );
}
