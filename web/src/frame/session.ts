// Who is signed in, and what this month has cost; asked again after every answer.
import { type QueryClient, useQuery } from "@tanstack/react-query";
import { onSignedOut } from "../api/http";
import { server } from "../api/server";

const SESSION_KEY = ["session"];
const MODELS_KEY = ["models"];

export const useSession = () =>
  useQuery({ queryKey: SESSION_KEY, queryFn: ({ signal }) => server.session(signal) });

/** Any 401 is the end of the session: ask who is signed in, and show the sign-in page. */
export function watchSession(queries: QueryClient): void {
  onSignedOut(() => {
    // The session's own 401 is the answer, not news.
    const asking = queries.getQueryState(SESSION_KEY)?.fetchStatus === "fetching";
    if (!asking) void queries.invalidateQueries({ queryKey: SESSION_KEY });
  });
}

export const refreshSession = (queries: QueryClient) =>
  queries.invalidateQueries({ queryKey: SESSION_KEY });

export const useModels = () =>
  useQuery({
    queryKey: MODELS_KEY,
    queryFn: server.models,
    staleTime: 60_000,
    // Right after a start the list may still be empty.
    refetchInterval: (query) => (query.state.data?.data.length ? false : 3_000),
  });
