// Every route that the page asks, by name.
import { call, open } from "./http";
import type {
  Answer,
  CompletionRequest,
  Conversation,
  Item,
  Model,
  Page,
  PriceBook,
  Session,
} from "./wire";

const CONVERSATIONS_PER_PAGE = 40;
const ITEMS_PER_PAGE = 100;

const query = (values: Record<string, string | number | null | undefined>): string => {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) {
    if (value !== null && value !== undefined) search.set(name, String(value));
  }
  return search.size === 0 ? "" : `?${search}`;
};
const at = (base: string, id: string) => `${base}/${encodeURIComponent(id)}`;

export const server = {
  session: (signal?: AbortSignal) => call<Session>("/api/session", signal ? { signal } : {}),
  signOut: () => open("/api/sign-out", { method: "POST" }),
  prices: () => call<PriceBook>("/api/prices"),
  models: () => call<{ data: Model[] }>("/v1/models"),

  complete: (request: CompletionRequest, signal: AbortSignal) =>
    open("/v1/chat/completions", {
      method: "POST",
      body: { ...request, stream: true, stream_options: { include_usage: true } },
      signal,
    }),

  /** Stop a completion by its request id; its own stream then ends with what it used. */
  stop: (requestId: string) => open(`${at("/api/requests", requestId)}/stop`, { method: "POST" }),

  conversations: (after: string | null, archived: boolean) =>
    call<Page<Conversation>>(
      `/api/conversations${query({ limit: CONVERSATIONS_PER_PAGE, after, archived: String(archived) })}`,
    ),
  conversation: (id: string) => call<Conversation>(at("/v1/conversations", id)),
  addConversation: (title: string) =>
    call<Conversation>("/v1/conversations", { method: "POST", body: { metadata: { title } } }),
  deleteConversation: (id: string) => open(at("/v1/conversations", id), { method: "DELETE" }),
  /** Newest first, so that the first page is the end of the thread. */
  items: (conversation: string, after: string | null) =>
    call<Page<Item>>(
      `${at("/v1/conversations", conversation)}/items${query({ limit: ITEMS_PER_PAGE, order: "desc", after })}`,
    ),

  ask: (request: Record<string, unknown>, signal: AbortSignal) =>
    open("/v1/responses", { method: "POST", body: { ...request, stream: true }, signal }),
  answer: (id: string) => call<Answer>(at("/v1/responses", id)),
  /** The stream strictly after an event; all of it when `after` is null. 204 when nothing is left. */
  resume: (id: string, after: number | null, signal: AbortSignal) =>
    open(`${at("/v1/responses", id)}${query({ stream: "true", starting_after: after })}`, {
      signal,
    }),
  cancel: (id: string) => call<Answer>(`${at("/v1/responses", id)}/cancel`, { method: "POST" }),
};
