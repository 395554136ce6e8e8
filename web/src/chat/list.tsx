// The conversations, newest first, by their titles.
import { useState } from "react";
import { Link, useLocation } from "wouter";
import { server } from "../api/server";
import type { Conversation } from "../api/wire";
import { queries } from "../frame/client";
import { when } from "../language/format";
import { t } from "../language/t";
import { announce } from "../parts/announcer";
import { Button } from "../parts/button";
import { Modal } from "../parts/modal";
import { Notice } from "../parts/notice";
import { answers } from "./answering";
import { setDraft } from "./drafts";
import { forgetConversation, useConversations } from "./queries";
import { tellTabs } from "./tabs";

const titleOfConversation = (conversation: Conversation): string =>
  conversation.metadata?.title || t("chat.untitled");

export function ConversationList({
  current,
  onChoose,
}: {
  current: string | null;
  onChoose: () => void;
}) {
  const list = useConversations();
  const [doomed, setDoomed] = useState<Conversation | null>(null);
  const conversations = list.data?.pages.flatMap((page) => page.data) ?? [];
  return (
    <div>
      <Link
        href="/chat"
        onClick={onChoose}
        className="mb-2 flex min-h-8 items-center justify-center rounded border border-line px-3 hover:border-edge max-md:min-h-11"
      >
        {t("chat.new")}
      </Link>
      {list.error && <Notice error={list.error} onRetry={() => void list.refetch()} />}
      {list.isSuccess && conversations.length === 0 && (
        <p className="px-2 py-1 text-soft">{t("chat.empty_list")}</p>
      )}
      <ul>
        {conversations.map((each) => (
          <Entry
            key={each.id}
            conversation={each}
            here={each.id === current}
            onChoose={onChoose}
            onDelete={() => setDoomed(each)}
          />
        ))}
      </ul>
      {list.hasNextPage && (
        <Button
          className="px-2"
          onClick={() => void list.fetchNextPage()}
          disabled={list.isFetchingNextPage}
        >
          {t("chat.more")}
        </Button>
      )}
      <DeleteDialog conversation={doomed} current={current} onClose={() => setDoomed(null)} />
    </div>
  );
}

function Entry({
  conversation,
  here,
  onChoose,
  onDelete,
}: {
  conversation: Conversation;
  here: boolean;
  onChoose: () => void;
  onDelete: () => void;
}) {
  const title = titleOfConversation(conversation);
  const at = conversation.updated_at ?? conversation.created_at;
  return (
    <li
      className={`group flex items-baseline gap-2 rounded px-2 ${here ? "bg-wash" : ""} focus-within:bg-wash hover:bg-wash`}
    >
      <Link
        href={`/chat/${conversation.id}`}
        onClick={onChoose}
        aria-current={here ? "page" : undefined}
        className={`min-w-0 grow truncate py-1 max-md:py-2.5 ${here ? "text-ink" : "text-soft group-hover:text-ink"}`}
      >
        {title}
      </Link>
      <span className="text-xs whitespace-nowrap text-soft group-focus-within:hidden group-hover:hidden pointer-coarse:inline">
        {when(at, Date.now())}
      </span>
      <Button
        aria-label={t("chat.delete_label", { title })}
        onClick={onDelete}
        inline
        className="sr-only group-focus-within:not-sr-only group-hover:not-sr-only pointer-coarse:not-sr-only"
      >
        {t("chat.delete")}
      </Button>
    </li>
  );
}

function DeleteDialog({
  conversation,
  current,
  onClose,
}: {
  conversation: Conversation | null;
  current: string | null;
  onClose: () => void;
}) {
  const [, go] = useLocation();
  const [error, setError] = useState<unknown>(null);
  const remove = async () => {
    if (conversation === null) return;
    try {
      answers.stop(conversation.id);
      await server.deleteConversation(conversation.id);
    } catch (failure) {
      setError(failure);
      return;
    }
    setError(null);
    setDraft(conversation.id, "");
    onClose();
    announce(t("chat.deleted"));
    tellTabs(conversation.id);
    if (conversation.id === current) go("/chat");
    await forgetConversation(queries, conversation.id);
  };
  return (
    <Modal open={conversation !== null} onClose={onClose} title={t("chat.delete_title")}>
      <div className="space-y-4">
        <p>{conversation && t("chat.delete_more", { title: titleOfConversation(conversation) })}</p>
        {error !== null && <Notice error={error} />}
        <div className="flex justify-end gap-3">
          <Button kind="plain" onClick={onClose}>
            {t("common.cancel")}
          </Button>
          <Button kind="danger" onClick={() => void remove()}>
            {t("chat.delete")}
          </Button>
        </div>
      </div>
    </Modal>
  );
}
