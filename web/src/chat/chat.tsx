// Chat: list, thread, composer.
import { useEffect, useRef, useState } from "react";
import { conversationTitle } from "../api/wire";
import { queries } from "../frame/client";
import { PageHead } from "../frame/head";
import { t } from "../language/t";
import { Button } from "../parts/button";
import { Modal } from "../parts/modal";
import { ScrollArea, type ScrollHandle } from "../parts/scroll-area";
import { useAnswering } from "./answering";
import { ChatComposer } from "./composer";
import { NEW, setDraft } from "./drafts";
import { ConversationList } from "./list";
import { Organise } from "./organise";
import { refreshConversation, useConversation } from "./queries";
import { SettingsDialog } from "./settings-dialog";
import { hearTabs } from "./tabs";
import { Thread } from "./thread";

export function Chat({ conversation }: { conversation: string | null }) {
  const [sheet, setSheet] = useState(false);
  const scroll = useRef<ScrollHandle>(null);
  const { run, question, hidden } = useAnswering(conversation);
  useEffect(() => hearTabs((changed) => void refreshConversation(queries, changed)), []);
  return (
    <div className="grid h-full grid-rows-[minmax(0,1fr)] lg:grid-cols-[15rem_minmax(0,1fr)]">
      <aside
        aria-label={t("chat.list")}
        className="min-h-0 overflow-y-auto border-e border-line p-3 max-lg:hidden"
      >
        <ConversationList current={conversation} onChoose={() => undefined} />
      </aside>
      <Modal open={sheet} onClose={() => setSheet(false)} title={t("chat.list")} place="left">
        <ConversationList current={conversation} onChoose={() => setSheet(false)} />
      </Modal>
      <div className="flex min-h-0 min-w-0 flex-col">
        <Head conversation={conversation} onList={() => setSheet(true)} />
        <ScrollArea key={conversation ?? NEW} label={t("chat.thread")} handle={scroll}>
          {conversation === null ? (
            <Start />
          ) : (
            <Thread conversation={conversation} run={run} question={question} hidden={hidden} />
          )}
        </ScrollArea>
        <ChatComposer
          key={`composer ${conversation ?? NEW}`}
          conversation={conversation}
          run={run}
          onSend={() => scroll.current?.toEnd()}
        />
      </div>
    </div>
  );
}

type Dialog = "settings" | "organise" | null;

function Head({ conversation, onList }: { conversation: string | null; onList: () => void }) {
  const { data } = useConversation(conversation);
  const [dialog, setDialog] = useState<Dialog>(null);
  const title = conversation === null || data === undefined ? "" : conversationTitle(data);
  return (
    <PageHead title={title || t("chat.title")}>
      {conversation !== null && data && (
        <>
          <Button onClick={() => setDialog("settings")}>{t("settings.open")}</Button>
          <Button className="max-sm:hidden" onClick={() => setDialog("organise")}>
            {t("organise.open")}
          </Button>
          <SettingsDialog
            conversation={conversation}
            open={dialog === "settings"}
            onClose={() => setDialog(null)}
          />
          <Organise
            conversation={dialog === "organise" ? data : null}
            current={conversation}
            onClose={() => setDialog(null)}
          />
        </>
      )}
      <Button className="lg:hidden" onClick={onList}>
        {t("chat.list")}
      </Button>
    </PageHead>
  );
}

const SAMPLES = ["play.sample_1", "play.sample_2", "play.sample_3"] as const;

function Start() {
  return (
    <div className="space-y-3 py-6 md:ps-[6.75rem]">
      <div>
        <p>{t("chat.start")}</p>
        <p className="text-soft">{t("chat.start_more")}</p>
      </div>
      <ul className="space-y-1 text-soft">
        {SAMPLES.map((key) => (
          <li key={key}>
            <Button
              kind="link"
              className="text-start whitespace-normal!"
              onClick={() => setDraft(NEW, t(key))}
            >
              {t(key)}
            </Button>
          </li>
        ))}
      </ul>
    </div>
  );
}
