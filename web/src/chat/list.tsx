// The conversations: pinned ones first, then those of each folder, then the rest, newest first.
import { useState } from "react";
import { Link } from "wouter";
import { type Conversation, conversationTitle } from "../api/wire";
import { when } from "../language/format";
import { t } from "../language/t";
import { Button } from "../parts/button";
import { Notice } from "../parts/notice";
import { grouped } from "./groups";
import { Organise } from "./organise";
import { useConversations } from "./queries";
import { Hits, isSearch, SearchField } from "./search";
import { TransferButton } from "./transfer";

export function ConversationList({
  current,
  onChoose,
}: {
  current: string | null;
  onChoose: () => void;
}) {
  const [wanted, setWanted] = useState("");
  return (
    <div>
      <Link
        href="/chat"
        onClick={onChoose}
        className="mb-2 flex min-h-8 items-center justify-center rounded border border-line px-3 hover:border-edge max-md:min-h-11"
      >
        {t("chat.new")}
      </Link>
      <SearchField value={wanted} onChange={setWanted} />
      {isSearch(wanted) ? (
        <Hits wanted={wanted} onChoose={onChoose} />
      ) : (
        <Groups current={current} onChoose={onChoose} />
      )}
    </div>
  );
}

function Groups({ current, onChoose }: { current: string | null; onChoose: () => void }) {
  const [archived, setArchived] = useState(false);
  const list = useConversations(archived);
  const [chosen, setChosen] = useState<Conversation | null>(null);
  const conversations = list.data?.pages.flatMap((page) => page.data) ?? [];
  return (
    <div>
      {list.error && <Notice error={list.error} onRetry={() => void list.refetch()} />}
      {list.isSuccess && conversations.length === 0 && (
        <p className="px-2 py-1 text-soft">
          {t(archived ? "chat.empty_archive" : "chat.empty_list")}
        </p>
      )}
      {grouped(conversations).map(({ name, kind, entries }) => (
        <section key={`${kind}${name}`} aria-label={groupName(kind, name)}>
          {(kind !== "rest" || conversations.some((each) => each.pinned || each.folder)) && (
            <h2 className="px-2 pt-3 pb-1 text-xs text-soft">{groupName(kind, name)}</h2>
          )}
          <ul>
            {entries.map((each) => (
              <Entry
                key={each.id}
                conversation={each}
                here={each.id === current}
                onChoose={onChoose}
                onMore={() => setChosen(each)}
              />
            ))}
          </ul>
        </section>
      ))}
      {list.hasNextPage && (
        <Button
          className="px-2"
          onClick={() => void list.fetchNextPage()}
          disabled={list.isFetchingNextPage}
        >
          {t("chat.more")}
        </Button>
      )}
      <Button className="px-2 text-xs" onClick={() => setArchived(!archived)}>
        {t(archived ? "chat.show_list" : "chat.show_archive")}
      </Button>
      <TransferButton />
      <Organise conversation={chosen} current={current} onClose={() => setChosen(null)} />
    </div>
  );
}

function groupName(kind: "pinned" | "folder" | "rest", name: string): string {
  if (kind === "folder") return name;
  return t(kind === "pinned" ? "chat.pinned" : "chat.rest");
}

function Entry({
  conversation,
  here,
  onChoose,
  onMore,
}: {
  conversation: Conversation;
  here: boolean;
  onChoose: () => void;
  onMore: () => void;
}) {
  const title = conversationTitle(conversation) || t("chat.untitled");
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
        {when(conversation.updated_at, Date.now())}
      </span>
      <Button
        aria-label={t("chat.more_label", { title })}
        onClick={onMore}
        inline
        className="sr-only group-focus-within:not-sr-only group-hover:not-sr-only pointer-coarse:not-sr-only"
      >
        {t("chat.edit_entry")}
      </Button>
    </li>
  );
}
