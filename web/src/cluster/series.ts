// The history of the cluster as lines to draw. Pure.
import type { HistoryPoint } from "../../../docs/reference/openapi";

export interface Point {
  at: number;
  value: number;
}

const RUNNING = /^queue\/.+\/(running|starting|stopping)$/;
const WAITING = /^queue\/.+\/(queued|waiting|held|backing_off)$/;

const sum = (values: Record<string, number>, wanted: RegExp): number =>
  Object.entries(values).reduce((all, [name, value]) => (wanted.test(name) ? all + value : all), 0);

export function series(points: readonly HistoryPoint[]): {
  used: Point[];
  held: Point[];
  running: Point[];
  waiting: Point[];
  gpusMax: number;
} {
  const ordered = [...points].sort((one, other) => one.at - other.at);
  const line = (of: (values: Record<string, number>) => number): Point[] =>
    ordered.map(({ at, values }) => ({ at, value: of(values) }));
  return {
    used: line((v) => Math.max(0, (v["cluster/gpus"] ?? 0) - (v["cluster/gpus_free"] ?? 0))),
    held: line((v) => v["cluster/gpus_held"] ?? 0),
    running: line((v) => sum(v, RUNNING)),
    waiting: line((v) => sum(v, WAITING)),
    gpusMax: Math.max(1, ...ordered.map(({ values }) => values["cluster/gpus"] ?? 0)),
  };
}
