// Jobs, queues and the cluster as the server has them, asked again while they are looked at.
import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { ask } from "../api/routes";
import type { Filter } from "./filter";

const EVERY_MS = 2_500;
const JOBS_PER_PAGE = 50;

export const JOBS_KEY = ["jobs"];

export const useJobs = (filter: Filter) =>
  useInfiniteQuery({
    queryKey: [...JOBS_KEY, "list", filter],
    queryFn: ({ pageParam, signal }) => {
      const { states, ...rest } = filter;
      const query = { ...rest, state: states.join(","), limit: JOBS_PER_PAGE };
      return ask(
        "GET /api/jobs",
        { query: pageParam === null ? query : { ...query, after: pageParam } },
        signal,
      );
    },
    initialPageParam: null as string | null,
    getNextPageParam: (page) => (page.has_more ? page.last_id : null),
    refetchInterval: EVERY_MS,
  });

export const useJob = (id: string) =>
  useQuery({
    queryKey: [...JOBS_KEY, "one", id],
    queryFn: ({ signal }) => ask("GET /api/jobs/{job_id}", { path: { job_id: id } }, signal),
    refetchInterval: EVERY_MS,
  });

export const useExplanation = (id: string, wanted: boolean) =>
  useQuery({
    queryKey: [...JOBS_KEY, "explain", id],
    queryFn: ({ signal }) =>
      ask("GET /api/jobs/{job_id}/explain", { path: { job_id: id } }, signal),
    enabled: wanted,
    refetchInterval: EVERY_MS * 2,
  });

export const useTimeline = (id: string) =>
  useQuery({
    queryKey: [...JOBS_KEY, "timeline", id],
    queryFn: ({ signal }) =>
      ask("GET /api/jobs/{job_id}/timeline", { path: { job_id: id } }, signal),
    refetchInterval: EVERY_MS,
  });

export const useQueues = () =>
  useQuery({
    queryKey: ["queues"],
    queryFn: ({ signal }) => ask("GET /api/queues", {}, signal),
    refetchInterval: EVERY_MS * 2,
  });

export const useCluster = () =>
  useQuery({
    queryKey: ["cluster"],
    queryFn: ({ signal }) => ask("GET /api/cluster", {}, signal),
    refetchInterval: EVERY_MS,
  });
