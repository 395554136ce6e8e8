// Search over titles and messages: the conversations that hold the words, with the words in place.
import { useQuery } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { Link } from "wouter";
import { ask } from "../api/routes";
import { when } from "../language/format";
import { t } from "../language/t";
import { Notice } from "../parts/notice";

const AFTER_MS = 250;
const CHARACTERS_MIN = 2;
const HITS_MAX = 30;

/** A text a moment after it was last changed. */
function useSettled(text: string): string {
  const [settled, setSettled] = useState(text);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(text), AFTER_MS);
    return () => clearTimeout(timer);
  }, [text]);
  return settled;
}

export const isSearch = (text: string): boolean => text.trim().length >= CHARACTERS_MIN;

export function SearchField({
  value,
  onChange,
}: {
  value: string;
  onChange: (text: string) => void;
}) {
  return (
    <input
      type="search"
      aria-label={t("search.label")}
      placeholder={t("search.label")}
      value={value}
      onChange={(event) => onChange(event.target.value)}
      className="field mb-2 min-h-8 w-full px-2 max-md:min-h-11"
    />
  );
}

export function Hits({ wanted, onChoose }: { wanted: string; onChoose: () => void }) {
  const q = useSettled(wanted.trim());
  const { data, error, refetch } = useQuery({
    queryKey: ["search", q],
    queryFn: ({ signal }) => ask("GET /api/search", { query: { q, limit: HITS_MAX } }, signal),
    enabled: isSearch(q),
  });
  if (error) return <Notice error={error} onRetry={() => void refetch()} />;
  if (data?.data.length === 0) return <p className="px-2 text-soft">{t("search.nothing")}</p>;
  return (
    <ul aria-label={t("search.hits")}>
      {data?.data.map((hit) => (
        <li key={`${hit.conversation_id}${hit.item_id}`}>
          <Link
            href={`/chat/${hit.conversation_id}`}
            onClick={onChoose}
            className="block rounded px-2 py-1.5 hover:bg-wash"
          >
            <span className="flex justify-between gap-2">
              <span className="min-w-0 truncate">{hit.title || t("chat.untitled")}</span>
              <span className="text-xs text-soft">{when(hit.at, Date.now())}</span>
            </span>
            <span className="line-clamp-2 text-xs text-soft">
              {hit.snippet.map((part, place) =>
                part.match ? (
                  <mark key={place} className="bg-transparent font-semibold text-ink">
                    {part.text}
                  </mark>
                ) : (
                  <span key={place}>{part.text}</span>
                ),
              )}
            </span>
          </Link>
        </li>
      ))}
    </ul>
  );
}
