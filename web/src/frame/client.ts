// The cache of what the server said. A refusal is not asked again; a lost connection is.
import { QueryCache, QueryClient } from "@tanstack/react-query";
import { ApiError } from "../api/errors";
import { SESSION_KEY } from "./session";

const ATTEMPTS_MAX = 3;

export const queries: QueryClient = new QueryClient({
  queryCache: new QueryCache({
    onError(error, query) {
      // Any 401 means that the session is over; the frame then shows the sign-in page.
      if (
        error instanceof ApiError &&
        error.status === 401 &&
        query.queryKey[0] !== SESSION_KEY[0]
      ) {
        void queries.resetQueries({ queryKey: SESSION_KEY });
      }
    },
  }),
  defaultOptions: {
    queries: {
      retry: (failures, error) =>
        failures < ATTEMPTS_MAX &&
        !(error instanceof ApiError && error.status < 500 && error.status !== 429),
    },
  },
});
