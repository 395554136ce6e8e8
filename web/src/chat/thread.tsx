// The thread: what the server has stored, then the answer that this tab follows.
import { useEffect, useMemo } from "react";
import { ApiError } from "../api/errors";
import { itemText } from "../api/wire";
import { t } from "../language/t";
import type { Run } from "../live/run";
import { Button } from "../parts/button";
import { Notice } from "../parts/notice";
import { answers } from "./answering";
import { type Asked, showsQuestion, showsRun, visibleItems } from "./items";
import { useConversation, useItems } from "./queries";
import { LiveTurn, StoredTurn, UserTurn } from "./turn";

/** Attach to the answer that the server is writing in this conversation, if there is one. */
export function useAttach(conversation: string): void {
  const active = useConversation(conversation).data?.active_response_id;
  useEffect(() => {
    if (active) void answers.attach(conversation, active);
  }, [conversation, active]);
}

export function Thread({
  conversation,
  run,
  question,
}: {
  conversation: string;
  run: Run | undefined;
  question: Asked | null;
}) {
  useAttach(conversation);
  const found = useConversation(conversation);
  const stored = useItems(conversation);
  const items = useMemo(() => visibleItems(stored.data?.pages, run), [stored.data, run]);

  const error = found.error ?? stored.error;
  if (error instanceof ApiError && error.status === 404) {
    return <p className="py-6 text-soft">{t("chat.not_found")}</p>;
  }
  if (error && items.length === 0) {
    const again = () => {
      void found.refetch();
      void stored.refetch();
    };
    return (
      <div className="py-6">
        <Notice error={error} onRetry={again} />
      </div>
    );
  }
  const live = showsRun(items, run) ? run : undefined;
  const unanswered =
    !stored.isFetching && !live && run?.ending?.kind !== "failed" && items.at(-1)?.role === "user";
  return (
    <div className="space-y-2 py-3">
      {stored.hasNextPage && (
        <Button onClick={() => void stored.fetchNextPage()} disabled={stored.isFetchingNextPage}>
          {t("chat.earlier")}
        </Button>
      )}
      {items.map((item) =>
        item.role === "user" ? (
          <UserTurn key={item.id} text={itemText(item)} />
        ) : (
          <StoredTurn key={item.response_id ?? item.id} item={item} />
        ),
      )}
      {showsQuestion(items, question) && <UserTurn text={question.text} />}
      {live && <LiveTurn key={live.responseId ?? live.id} run={live} />}
      {unanswered && !found.data?.active_response_id && (
        <p className="px-3 text-xs text-soft">{t("chat.no_answer")}</p>
      )}
    </div>
  );
}
