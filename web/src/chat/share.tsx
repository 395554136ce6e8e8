// Read-only links to a conversation, each of which can be ended; and the conversation as a file.
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { ask } from "../api/routes";
import { server } from "../api/server";
import { type Conversation, conversationTitle, type Item, itemText } from "../api/wire";
import { moment } from "../language/format";
import { t } from "../language/t";
import { useAct } from "../parts/act";
import { Button } from "../parts/button";
import { CopyButton } from "../parts/copy";
import { Notice } from "../parts/notice";
import { saveFile } from "../parts/save";

const SHARES_KEY = ["shares"];
const PAGES_MAX = 200;

export function Shares({ conversation }: { conversation: Conversation }) {
  const path = { conversation_id: conversation.id };
  const { data } = useQuery({
    queryKey: [...SHARES_KEY, conversation.id],
    queryFn: ({ signal }) =>
      ask("GET /api/conversations/{conversation_id}/shares", { path }, signal),
  });
  const { act, error, dismiss } = useAct(SHARES_KEY);
  const [made, setMade] = useState<string | null>(null);
  const share = async () => {
    const one = await act(() => ask("POST /api/conversations/{conversation_id}/shares", { path }));
    if (one?.secret) setMade(`${window.location.origin}/shared#${one.secret}`);
  };
  const end = (share_id: string) => {
    setMade(null);
    void act(() => ask("DELETE /api/shares/{share_id}", { path: { share_id } }));
  };
  return (
    <div className="space-y-2 border-t border-line pt-4">
      <div className="flex flex-wrap gap-x-5">
        <Button onClick={() => void share()}>{t("shares.make")}</Button>
        <Button onClick={() => void save(conversation, "md")}>{t("shares.markdown")}</Button>
        <Button onClick={() => void save(conversation, "json")}>{t("shares.json")}</Button>
      </div>
      {error !== null && <Notice error={error} onDismiss={dismiss} />}
      {made !== null && (
        <div className="space-y-1">
          <p className="text-soft">{t("shares.about")}</p>
          <p className="rounded bg-wash p-2 font-mono text-xs [overflow-wrap:anywhere]">{made}</p>
          <CopyButton text={made} />
        </div>
      )}
      <ul>
        {data?.data.map((each) => (
          <li key={each.id} className="flex items-baseline gap-4 text-xs text-soft">
            {t("shares.since", { time: moment(each.created_at) })}
            <Button inline className="min-h-6" onClick={() => end(each.id)}>
              {t("shares.end")}
            </Button>
          </li>
        ))}
      </ul>
    </div>
  );
}

/** Every message of the branch in use, in its order. */
async function allItems(conversation: string): Promise<Item[]> {
  const pages: Item[][] = [];
  let after: string | null = null;
  for (let page = 0; page < PAGES_MAX; page += 1) {
    const found: Awaited<ReturnType<typeof server.items>> = await server.items(conversation, after);
    pages.push(found.data);
    if (!found.has_more) break;
    after = found.last_id;
  }
  return pages.flat().reverse();
}

/** The messages as Markdown, under their roles. */
export const asMarkdown = (title: string, items: readonly Item[]): string =>
  [
    `# ${title}`,
    ...items.map((item) => `## ${t(`role.${item.role as "user"}`)}\n\n${itemText(item)}`),
  ].join("\n\n");

async function save(conversation: Conversation, form: "md" | "json"): Promise<void> {
  const items = await allItems(conversation.id);
  const title = conversationTitle(conversation) || t("chat.untitled");
  const name = title.replace(/[^\p{L}\p{N}]+/gu, "-").slice(0, 60);
  if (form === "md") saveFile(`${name}.md`, "text/markdown", `${asMarkdown(title, items)}\n`);
  else
    saveFile(`${name}.json`, "application/json", JSON.stringify({ conversation, items }, null, 2));
}
