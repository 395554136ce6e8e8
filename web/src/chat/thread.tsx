// The thread: what the server has stored, then the answer that this tab follows.
import { useEffect, useMemo } from "react";
import { ApiError } from "../api/errors";
import { t } from "../language/t";
import type { Run } from "../live/run";
import { Button } from "../parts/button";
import { Notice } from "../parts/notice";
import { answers } from "./answering";
import { type Asked, thread, visibleItems } from "./items";
import { useConversation, useItems } from "./queries";
import { AnswerTurn, UserTurn } from "./turn";

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
  const turns = thread(items, question, run);
  const unanswered =
    !stored.isFetching && run?.ending?.kind !== "failed" && turns.at(-1)?.role === "user";
  return (
    <div className="space-y-2 py-3">
      {stored.hasNextPage && (
        <Button onClick={() => void stored.fetchNextPage()} disabled={stored.isFetchingNextPage}>
          {t("chat.earlier")}
        </Button>
      )}
      {turns.map((turn) =>
        turn.role === "user" ? (
          <UserTurn key={turn.key} text={turn.text} />
        ) : (
          <AnswerTurn key={turn.key} text={turn.text} run={turn.run} responseId={turn.responseId} />
        ),
      )}
      {unanswered && !found.data?.active_response_id && (
        <p className="px-3 text-xs text-soft">{t("chat.no_answer")}</p>
      )}
    </div>
  );
}
