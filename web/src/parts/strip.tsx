// A strip chart: values over time as an area of hairline height, its newest value as a word beside
// it. The same numbers stand in a table for those who do not see it.
import { count } from "../language/format";

const WIDTH = 600;
const HEIGHT = 48;

/** The outline of the values over [from, to] and [0, top], as an SVG path; "" for fewer than two. */
export function outline(
  points: readonly { at: number; value: number }[],
  from: number,
  to: number,
  top: number,
): string {
  if (points.length < 2 || to <= from) return "";
  const x = (at: number) => (((at - from) / (to - from)) * WIDTH).toFixed(1);
  const y = (value: number) => (HEIGHT - (Math.min(value, top) / (top || 1)) * HEIGHT).toFixed(1);
  return points.map(({ at, value }, place) => `${place ? "L" : "M"}${x(at)} ${y(value)}`).join("");
}

export function Strip({
  label,
  points,
  from,
  to,
  top,
  show = count,
}: {
  label: string;
  points: readonly { at: number; value: number }[];
  from: number;
  to: number;
  /** The value at the upper edge; the largest one when absent. */
  top?: number;
  show?: (value: number) => string;
}) {
  const high = top ?? Math.max(1, ...points.map((point) => point.value));
  const path = outline(points, from, to, high);
  const first = points[0];
  const last = points.at(-1);
  const x = (at: number) => ((at - from) / (to - from)) * WIDTH;
  return (
    <figure className="min-w-0">
      <figcaption className="flex items-baseline justify-between gap-3 text-xs text-soft">
        <span>{label}</span>
        <span className="text-ink">{last ? show(last.value) : "—"}</span>
      </figcaption>
      <svg
        viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
        preserveAspectRatio="none"
        aria-hidden="true"
        className="mt-1 h-12 w-full border-b border-line"
      >
        {path !== "" && first && last && (
          <>
            <path
              d={`${path}L${x(last.at).toFixed(1)} ${HEIGHT}L${x(first.at).toFixed(1)} ${HEIGHT}Z`}
              className="fill-accent opacity-15"
            />
            <path
              d={path}
              className="fill-none stroke-accent"
              strokeWidth="1.5"
              vectorEffect="non-scaling-stroke"
            />
          </>
        )}
      </svg>
    </figure>
  );
}
