// The one door to the server: same origin, JSON both ways, errors as ApiError or ConnectionLost.
import { ConnectionLost, errorFromResponse, isAbort } from "./errors";

export interface Call {
  method?: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  body?: unknown;
  signal?: AbortSignal;
}

const listeners = new Set<() => void>();

/** Call back whenever the server says that nobody is signed in here. */
export function onSignedOut(listener: () => void): void {
  listeners.add(listener);
}

/** Send a request and return the answer with its body unread; throws on any error status. */
export async function open(path: string, call: Call = {}): Promise<Response> {
  const init: RequestInit = {
    method: call.method ?? "GET",
    credentials: "same-origin",
    cache: "no-store",
  };
  if (call.signal) init.signal = call.signal;
  if (call.body instanceof FormData) {
    init.body = call.body;
  } else if (call.body !== undefined) {
    init.body = JSON.stringify(call.body);
    init.headers = { "content-type": "application/json" };
  }
  let response: Response;
  try {
    response = await fetch(path, init);
  } catch (error) {
    if (isAbort(error)) throw error;
    throw new ConnectionLost("The server did not answer.");
  }
  if (response.status === 401) for (const listener of listeners) listener();
  if (!response.ok) throw await errorFromResponse(response);
  return response;
}

/** Send a request and return its JSON; null for an answer without a body. */
export async function call<T>(path: string, options: Call = {}): Promise<T> {
  const response = await open(path, options);
  if (response.status === 204) return null as T;
  try {
    return (await response.json()) as T;
  } catch (error) {
    if (isAbort(error)) throw error;
    throw new ConnectionLost("The answer ended too early.");
  }
}
