// Stored prompts and their versions as the server has them.
import { useQuery } from "@tanstack/react-query";
import { ask } from "../api/routes";

export const PROMPTS_KEY = ["prompts"];

export const usePrompts = () =>
  useQuery({
    queryKey: [...PROMPTS_KEY, "list"],
    queryFn: ({ signal }) => ask("GET /api/prompts", { query: { limit: 100 } }, signal),
  });

export const usePrompt = (id: string) =>
  useQuery({
    queryKey: [...PROMPTS_KEY, "one", id],
    queryFn: ({ signal }) =>
      ask("GET /api/prompts/{prompt_id}", { path: { prompt_id: id } }, signal),
  });

export const useVersions = (id: string) =>
  useQuery({
    queryKey: [...PROMPTS_KEY, "versions", id],
    queryFn: ({ signal }) =>
      ask(
        "GET /api/prompts/{prompt_id}/versions",
        { path: { prompt_id: id }, query: { limit: 100 } },
        signal,
      ),
  });

export const useDiff = (id: string, from: number, to: number) =>
  useQuery({
    queryKey: [...PROMPTS_KEY, "diff", id, from, to],
    queryFn: ({ signal }) =>
      ask(
        "GET /api/prompts/{prompt_id}/diff",
        { path: { prompt_id: id }, query: { from: String(from), to: String(to) } },
        signal,
      ),
    enabled: from !== to && from > 0,
  });
