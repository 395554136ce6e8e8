// One change on the server: what went wrong stands until the next one, and lists are asked again.
import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";

export const PEOPLE_KEY = ["people"];

/** What the last step came to, for whoever shows it. */
export interface Acted {
  error: unknown;
  dismiss: () => void;
}

export function useAct(key: readonly string[] = PEOPLE_KEY) {
  const queries = useQueryClient();
  const [error, setError] = useState<unknown>(null);
  /** The result of the step; null when it failed. */
  const act = async <T>(step: () => Promise<T>): Promise<T | null> => {
    try {
      const made = await step();
      setError(null);
      await queries.invalidateQueries({ queryKey: key });
      return made;
    } catch (failure) {
      setError(failure);
      return null;
    }
  };
  return { act, error, dismiss: () => setError(null) };
}
