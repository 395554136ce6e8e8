// The model servers as the gateway sees them.
import { useQuery } from "@tanstack/react-query";
import { ask } from "../api/routes";
import { useMay } from "../frame/names";

export const UPSTREAMS_KEY = ["upstreams"];

/** Asked again every so often while it is wanted; nothing for those who may not see it. */
export function useUpstreams(everyMs: number, wanted = true) {
  const may = useMay();
  return useQuery({
    queryKey: UPSTREAMS_KEY,
    queryFn: ({ signal }) => ask("GET /api/upstreams", {}, signal),
    enabled: wanted && may("upstreams.read"),
    refetchInterval: everyMs,
  });
}
