// The turns of a thread below each other. A long thread draws only what is near the eye.
import type { ReactNode } from "react";
import { Nearby, SparseProvider } from "../parts/nearby";

/** Longer threads leave out what is far. */
export const WHOLE_TURNS_MAX = 200;
/** Turns at the end that are drawn at once. */
const LAST_TURNS = 24;
const CHARACTERS_PER_LINE = 75;
const LINE_PX = 22;
const AROUND_PX = 72;

/** About how many pixels a turn with this text is high. */
export function heightOf(text: string): number {
  const lines = text.split("\n").map((line) => 1 + Math.floor(line.length / CHARACTERS_PER_LINE));
  return AROUND_PX + LINE_PX * lines.reduce((sum, each) => sum + each, 0);
}

export function TurnList<T extends { key: string; text: string }>({
  turns,
  drawOne,
  wholeMax = WHOLE_TURNS_MAX,
}: {
  turns: readonly T[];
  wholeMax?: number;
  drawOne: (turn: T, place: number) => ReactNode;
}) {
  return (
    <SparseProvider value={turns.length > wholeMax}>
      {turns.map((turn, place) => (
        <Nearby
          key={turn.key}
          estimate={heightOf(turn.text)}
          drawn={turns.length - place <= LAST_TURNS}
        >
          {drawOne(turn, place)}
        </Nearby>
      ))}
    </SparseProvider>
  );
}
