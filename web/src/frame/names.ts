// The names that people gave to what the server calls by an id: users, keys, projects. What the
// caller may not list stays an id.
import { useQuery } from "@tanstack/react-query";
import { ask } from "../api/routes";
import { useSession } from "./session";

export const useMay = (): ((permission: string) => boolean) => {
  const permissions = useSession().data?.permissions ?? [];
  return (permission) => permissions.includes(permission);
};

const STALE_MS = 60_000;

export function useNames(): (id: string) => string {
  const session = useSession().data;
  const may = useMay();
  const project = session?.project.id ?? "";
  const users = useQuery({
    queryKey: ["people", "users"],
    queryFn: ({ signal }) => ask("GET /api/organisation/users", { query: { limit: 100 } }, signal),
    enabled: may("people.read"),
    staleTime: STALE_MS,
  }).data?.data;
  const keys = useQuery({
    queryKey: ["people", "keys", project],
    queryFn: ({ signal }) =>
      ask(
        "GET /api/organisation/projects/{project_id}/api_keys",
        { path: { project_id: project } },
        signal,
      ),
    enabled: project !== "" && may("keys.read"),
    staleTime: STALE_MS,
  }).data?.data;
  const known = new Map<string, string>();
  if (session) known.set(session.project.id, session.project.name);
  for (const each of [...(users ?? []), ...(keys ?? [])]) known.set(each.id, each.name);
  return (id) => known.get(id) || id;
}
