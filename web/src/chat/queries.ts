// Conversations and their items as the server has them.
import {
  type InfiniteData,
  type QueryClient,
  useInfiniteQuery,
  useQuery,
} from "@tanstack/react-query";
import { ask } from "../api/routes";
import { server } from "../api/server";
import { type Answer, type Conversation, type Item, isFinal, type Page } from "../api/wire";

const LIST_KEY = ["conversations"];
const conversationKey = (id: string) => ["conversation", id];
const itemsKey = (id: string) => ["items", id];
const treeKey = (id: string) => ["tree", id];

const next = <T>(page: Page<T>) => (page.has_more ? page.last_id : null);

export function useConversations(archived = false) {
  return useInfiniteQuery({
    queryKey: [...LIST_KEY, archived],
    queryFn: ({ pageParam }) => server.conversations(pageParam, archived),
    initialPageParam: null as string | null,
    getNextPageParam: next,
  });
}

export function useConversation(id: string | null) {
  return useQuery({
    queryKey: conversationKey(id ?? ""),
    queryFn: () => server.conversation(id ?? ""),
    enabled: id !== null,
  });
}

/** The names of the folders that are known here. */
export function useFolders(): string[] {
  const pages = useConversations().data?.pages ?? [];
  const names = pages.flatMap((page) => page.data.map((each) => each.folder));
  return [...new Set(names.filter(Boolean))].sort();
}

/** The shape of all branches. */
export function useTree(id: string) {
  return useQuery({
    queryKey: treeKey(id),
    queryFn: ({ signal }) =>
      ask(
        "GET /api/conversations/{conversation_id}/tree",
        { path: { conversation_id: id } },
        signal,
      ),
  });
}

/** Pages of items, newest first. */
export function useItems(id: string | null) {
  return useInfiniteQuery({
    queryKey: itemsKey(id ?? ""),
    queryFn: ({ pageParam }) => server.items(id ?? "", pageParam),
    enabled: id !== null,
    initialPageParam: null as string | null,
    getNextPageParam: next,
  });
}

/** The stored response behind an old reply, for the line under it. A final one never changes. */
export function useAnswer(id: string | null) {
  return useQuery<Answer>({
    queryKey: ["answer", id],
    queryFn: () => server.answer(id as string),
    enabled: id !== null,
    staleTime: (query) =>
      query.state.data && isFinal(query.state.data.status) ? Number.POSITIVE_INFINITY : 0,
    retry: false,
  });
}

type ItemPages = InfiniteData<Page<Item>, string | null>;

/** The items that the page knows of, in the order of the thread. */
export function knownItems(queries: QueryClient, conversation: string): Item[] {
  const pages = queries.getQueryData<ItemPages>(itemsKey(conversation))?.pages ?? [];
  return pages.flatMap((page) => page.data).reverse();
}

export function rememberConversation(queries: QueryClient, conversation: Conversation): void {
  queries.setQueryData(conversationKey(conversation.id), conversation);
}

export function rememberAnswer(queries: QueryClient, answer: Answer): void {
  queries.setQueryData(["answer", answer.id], answer);
}

/**
 * The newest page put before what is known of the older ones: what lies above a message never
 * changes while that message stays. Null when the page does not meet what is known.
 */
export function joined(known: ItemPages, newest: Page<Item>): ItemPages | null {
  const [, ...older] = known.pages;
  if (older.length === 0 || newest.last_id === null) return null;
  const all = known.pages.flatMap((page) => page.data);
  const meets = all.findIndex((item) => item.id === newest.last_id);
  const last = known.pages.at(-1) as Page<Item>;
  if (meets === -1) return null;
  const rest: Page<Item> = { ...last, data: all.slice(meets + 1) };
  return { pages: [newest, rest], pageParams: [null, newest.last_id] };
}

/** Ask again for the items: for the newest page where that is enough, else for all of them. */
async function refreshItems(queries: QueryClient, id: string, whole: boolean): Promise<void> {
  const known = queries.getQueryData<ItemPages>(itemsKey(id));
  if (!whole && known !== undefined && known.pages.length > 1) {
    const found = joined(known, await server.items(id, null));
    if (found !== null) {
      queries.setQueryData(itemsKey(id), found);
      return;
    }
  }
  await queries.invalidateQueries({ queryKey: itemsKey(id) });
}

/**
 * Ask the server again for a conversation and the list that shows it.
 * whole: older messages may have changed too.
 */
export async function refreshConversation(
  queries: QueryClient,
  id: string,
  { whole = false } = {},
): Promise<void> {
  // A first fetch on its way may be older than what is asked for; it would be taken for the answer.
  await queries.cancelQueries({ queryKey: itemsKey(id) });
  await queries.cancelQueries({ queryKey: conversationKey(id) });
  await Promise.all([
    refreshItems(queries, id, whole),
    queries.invalidateQueries({ queryKey: conversationKey(id) }),
    queries.invalidateQueries({ queryKey: treeKey(id) }),
    queries.invalidateQueries({ queryKey: LIST_KEY }),
  ]);
}

export async function forgetConversation(queries: QueryClient, id: string): Promise<void> {
  queries.removeQueries({ queryKey: itemsKey(id) });
  queries.removeQueries({ queryKey: conversationKey(id) });
  await queries.invalidateQueries({ queryKey: LIST_KEY });
}
