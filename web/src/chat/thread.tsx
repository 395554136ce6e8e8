// The thread: what the server has stored, then the answer that this tab follows.
import { useEffect, useMemo, useRef, useState } from "react";
import { ApiError, ConnectionLost } from "../api/errors";
import { ask } from "../api/routes";
import type { Item } from "../api/wire";
import { queries } from "../frame/client";
import { t } from "../language/t";
import type { Run } from "../live/run";
import { Button } from "../parts/button";
import { Notice } from "../parts/notice";
import { answers, askQuestion } from "./answering";
import { useAsking } from "./asking";
import {
  type Asked,
  isStep,
  questionOf,
  type Shown,
  siblingsOf,
  thread,
  visibleItems,
} from "./items";
import { refreshConversation, useConversation, useItems, useTree } from "./queries";
import { tellTabs } from "./tabs";
import { type Acts, AnswerTurn, StepTurn, SummaryLine, UserTurn } from "./turn";
import { TurnList } from "./turn-list";

/** Attach to the answer that the server is writing in this conversation, if there is one. */
export function useAttach(conversation: string): void {
  const active = useConversation(conversation).data?.active_response_id;
  useEffect(() => {
    if (active) void answers.attach(conversation, active);
  }, [conversation, active]);
}

/** The acts of a thread; the same object while model and settings are. */
function useActs(conversation: string, failed: (error: unknown) => void): Acts {
  const { model, settings } = useAsking(conversation);
  const name = model?.id ?? null;
  const fields = JSON.stringify(settings);
  return useMemo(() => {
    const branch = (parent: string | null, text: string) => {
      if (name === null) return;
      const settings = JSON.parse(fields) as Record<string, unknown>;
      askQuestion({ conversation, text, model: name, parent, settings });
    };
    const walk = async (item_id: string) => {
      try {
        const path = { conversation_id: conversation };
        await ask("POST /api/conversations/{conversation_id}/leaf", { path, body: { item_id } });
        answers.dismiss(conversation);
        tellTabs(conversation);
        await refreshConversation(queries, conversation);
      } catch (error) {
        if (!(error instanceof ApiError || error instanceof ConnectionLost)) throw error;
        failed(error);
      }
    };
    return {
      edit: (item, text) => branch(item.parent_id ?? null, text),
      regenerate: (_, question) => branch(question, ""),
      carryOn: (answer) => branch(answer.id, ""),
      walk: (itemId) => void walk(itemId),
    };
  }, [conversation, name, fields, failed]);
}

export function Thread({
  conversation,
  run,
  question,
  hidden,
}: {
  conversation: string;
  run: Run | undefined;
  question: Asked | null;
  hidden: ReadonlySet<string>;
}) {
  useAttach(conversation);
  const found = useConversation(conversation);
  const stored = useItems(conversation);
  const items = useMemo(
    () => visibleItems(stored.data?.pages, run, hidden),
    [stored.data, run, hidden],
  );
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
        <Earlier busy={stored.isFetchingNextPage} onWanted={() => void stored.fetchNextPage()} />
      )}
      <Turns conversation={conversation} turns={turns} run={run} />
      {unanswered && !found.data?.active_response_id && (
        <p className="px-3 text-xs text-soft">{t("chat.no_answer")}</p>
      )}
    </div>
  );
}

/** Older messages are fetched before the reader is there; the button is for the keyboard. */
function Earlier({ busy, onWanted }: { busy: boolean; onWanted: () => void }) {
  const place = useRef<HTMLDivElement>(null);
  const wanted = useRef(onWanted);
  wanted.current = onWanted;
  useEffect(() => {
    const element = place.current;
    const root = element?.closest("[data-scroller]");
    if (busy || element === null || !root) return;
    const observer = new IntersectionObserver(
      (entries) => {
        if (entries.some((entry) => entry.isIntersecting)) wanted.current();
      },
      { root, rootMargin: "100% 0px" },
    );
    observer.observe(element);
    return () => observer.disconnect();
  }, [busy]);
  return (
    <div ref={place}>
      <Button onClick={onWanted} disabled={busy}>
        {t("chat.earlier")}
      </Button>
    </div>
  );
}

function Turns({
  conversation,
  turns,
  run,
}: {
  conversation: string;
  turns: readonly Shown[];
  run: Run | undefined;
}) {
  const [error, setError] = useState<unknown>(null);
  const acts = useActs(conversation, setError);
  const tree = useTree(conversation).data;
  const siblings = useMemo(() => siblingsOf(tree?.nodes ?? []), [tree]);
  const busy = run?.ending === null;
  const undo = async (item: Item) => {
    const path = { conversation_id: conversation, item_id: item.id };
    await ask("DELETE /v1/conversations/{conversation_id}/items/{item_id}", { path });
    await refreshConversation(queries, conversation, { whole: true });
  };
  const drawOne = ({ item, text, role, files, run: own, responseId }: Shown, place: number) => {
    if (item?.summary_through) return <SummaryLine text={text} onUndo={() => void undo(item)} />;
    const shared = { text, item, acts, busy, siblings: siblings.get(item?.id ?? "") };
    if (item && isStep(item)) {
      return <StepTurn item={item} acts={acts} siblings={siblings.get(item.id)} />;
    }
    const last = place === turns.length - 1;
    return role === "user" ? (
      <UserTurn files={files} {...shared} />
    ) : (
      <AnswerTurn
        run={own}
        responseId={responseId}
        question={questionOf(turns, place)}
        last={last}
        {...shared}
      />
    );
  };
  return (
    <>
      <TurnList turns={turns} drawOne={drawOne} />
      {error !== null && <Notice error={error} onDismiss={() => setError(null)} />}
    </>
  );
}
