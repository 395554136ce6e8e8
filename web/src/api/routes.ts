// The routes of the API as its own description gives them: a path that does not exist, a field that
// has no place and an answer that is read wrongly do not compile.
import type { Routes } from "../../../docs/reference/openapi";
import { type Call, call } from "./http";

export type Route = keyof Routes;
type Given<R extends Route, K extends string> =
  Routes[R] extends Record<K, infer V> ? Record<K, V> : unknown;
export type Input<R extends Route> = Given<R, "path"> & Given<R, "query"> & Given<R, "body">;
export type AnswerOf<R extends Route> = Routes[R] extends { answer: infer A } ? A : never;

interface Loose {
  path?: Record<string, string | number>;
  query?: Record<string, unknown>;
  body?: unknown;
}

/** The method and the address of a route with its places filled in; empty values are left out. */
export function addressOf(route: Route, input: Loose): { method: string; path: string } {
  const [method = "GET", template = "/"] = route.split(" ");
  const path = template.replace(/\{(\w+)\}/g, (_, name: string) =>
    encodeURIComponent(String(input.path?.[name] ?? "")),
  );
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(input.query ?? {})) {
    if (value === undefined || value === null || value === "") continue;
    // A list is the same name several times.
    for (const each of Array.isArray(value) ? value : [value]) search.append(name, String(each));
  }
  return { method, path: search.size === 0 ? path : `${path}?${search}` };
}

/** Send a request to a route; throws ApiError or ConnectionLost. */
export function ask<R extends Route>(
  route: R,
  input: Input<R>,
  signal?: AbortSignal,
): Promise<AnswerOf<R>> {
  const loose = input as Loose;
  const { method, path } = addressOf(route, loose);
  const options: Call = { method: method as NonNullable<Call["method"]> };
  if (loose.body !== undefined) options.body = loose.body;
  if (signal) options.signal = signal;
  return call<AnswerOf<R>>(path, options);
}
