// What the chosen model costs, as the price book has it.
import { useQuery } from "@tanstack/react-query";
import { server } from "../api/server";

export function usePrices(
  model: string | null,
): { input: number; output: number; currency: string } | null {
  const { data } = useQuery({
    queryKey: ["prices"],
    queryFn: server.prices,
    staleTime: 300_000,
  });
  // The first match counts; `*` stands for every model that has no line of its own.
  const price =
    data?.prices.find((each) => each.model === model) ??
    data?.prices.find((each) => each.model === "*");
  if (data === undefined || price === undefined) return null;
  return {
    input: price.input_nanos_per_million,
    output: price.output_nanos_per_million,
    currency: data.currency,
  };
}
