// The cache of what the server said. A refusal is not asked again; a lost connection is.
import { QueryClient } from "@tanstack/react-query";
import { ApiError } from "../api/errors";

const ATTEMPTS_MAX = 3;

export const queries: QueryClient = new QueryClient({
  defaultOptions: {
    queries: {
      retry: (failures, error) =>
        failures < ATTEMPTS_MAX &&
        !(error instanceof ApiError && error.status < 500 && error.status !== 429),
    },
  },
});
