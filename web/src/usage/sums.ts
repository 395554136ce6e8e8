// Usage as the page adds it up: totals of each group, and what each day of each group cost. Pure.
import type { UsageBucketBody, UsageResult } from "../../../docs/reference/openapi";

export const DIMENSIONS = ["model", "user_id", "api_key_id", "project_id", "job_id"] as const;
export type Dimension = (typeof DIMENSIONS)[number];
export const SPANS = [1, 7, 30] as const;

export interface Total {
  name: string;
  requests: number;
  input: number;
  cached: number;
  output: number;
  gpuSeconds: number;
  costNanos: number;
  savedNanos: number;
}

const nameOf = (result: UsageResult, by: Dimension): string => result[by] ?? "";

/** What each group used over all buckets, the most expensive first. */
export function totals(buckets: readonly UsageBucketBody[], by: Dimension): Total[] {
  const found = new Map<string, Total>();
  for (const result of buckets.flatMap((bucket) => bucket.results)) {
    const name = nameOf(result, by);
    const sum = found.get(name) ?? {
      name,
      requests: 0,
      input: 0,
      cached: 0,
      output: 0,
      gpuSeconds: 0,
      costNanos: 0,
      savedNanos: 0,
    };
    sum.requests += result.num_model_requests;
    sum.input += result.input_tokens;
    sum.cached += result.input_cached_tokens;
    sum.output += result.output_tokens;
    sum.gpuSeconds += result.gpu_seconds;
    sum.costNanos += result.cost_nanos;
    sum.savedNanos += result.cache_saved_nanos;
    found.set(name, sum);
  }
  return [...found.values()].sort((one, two) => two.costNanos - one.costNanos);
}

export interface Bar {
  at: number;
  /** Nanos of each of `names`, in their order. */
  parts: number[];
  total: number;
}

/** The cost of each bucket, divided among the named groups and all others together. */
export function bars(
  buckets: readonly UsageBucketBody[],
  by: Dimension,
  names: readonly string[],
): Bar[] {
  return buckets.map((bucket) => {
    const parts = Array<number>(names.length + 1).fill(0);
    for (const result of bucket.results) {
      const place = names.indexOf(nameOf(result, by));
      const at = place === -1 ? names.length : place;
      parts[at] = (parts[at] ?? 0) + result.cost_nanos;
    }
    return { at: bucket.start_time, parts, total: parts.reduce((sum, each) => sum + each, 0) };
  });
}
