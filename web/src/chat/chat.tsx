// Chat: list, thread, composer.
import { useEffect, useRef, useState } from "react";
import { useLocation } from "wouter";
import { server } from "../api/server";
import { queries } from "../frame/client";
import { PageHead } from "../frame/head";
import { chooseModel, useModel } from "../frame/model";
import { t } from "../language/t";
import type { Run } from "../live/run";
import { Button } from "../parts/button";
import { Composer, touchKeyboard } from "../parts/composer";
import { ContextGauge } from "../parts/gauge";
import { Modal } from "../parts/modal";
import { Notice } from "../parts/notice";
import { ScrollArea, type ScrollHandle } from "../parts/scroll-area";
import { answers, useAnswering } from "./answering";
import { threadContext } from "./context";
import { NEW, setDraft, useDrafts } from "./drafts";
import { ConversationList } from "./list";
import {
  refreshConversation,
  rememberConversation,
  useAnswer,
  useConversation,
  useItems,
} from "./queries";
import { hearTabs } from "./tabs";
import { Thread } from "./thread";
import { titleOf } from "./title";

export function Chat({ conversation }: { conversation: string | null }) {
  const [sheet, setSheet] = useState(false);
  const scroll = useRef<ScrollHandle>(null);
  const { run, question } = useAnswering(conversation);
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
            <Thread conversation={conversation} run={run} question={question} />
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

function Head({ conversation, onList }: { conversation: string | null; onList: () => void }) {
  const title = useTitle(conversation);
  return (
    <PageHead title={title ?? t("chat.title")}>
      <Button className="lg:hidden" onClick={onList}>
        {t("chat.list")}
      </Button>
    </PageHead>
  );
}

function useTitle(conversation: string | null): string | null {
  const { data } = useConversation(conversation);
  return conversation === null ? null : (data?.metadata?.title ?? null);
}

function Start() {
  return (
    <div className="py-6 md:ps-[6.75rem]">
      <p>{t("chat.start")}</p>
      <p className="text-soft">{t("chat.start_more")}</p>
    </div>
  );
}

function ChatComposer({
  conversation,
  run,
  onSend,
}: {
  conversation: string | null;
  run: Run | undefined;
  onSend: () => void;
}) {
  const key = conversation ?? NEW;
  const draft = useDrafts((all) => all[key] ?? "");
  const { model } = useModel();
  const field = useRef<HTMLTextAreaElement>(null);
  const { open, opening, error, dismiss } = useOpen();
  const running = run?.ending === null;
  const able = model !== null && draft.trim() !== "" && !running && !opening;

  // A person who opens a thread writes next; on a touch screen the keyboard would hide the thread.
  useEffect(() => {
    if (!touchKeyboard()) field.current?.focus();
  }, []);

  const send = async () => {
    if (!able || model === null) return;
    const target = conversation ?? (await open(titleOf(draft)));
    if (target === null) return;
    setDraft(key, "");
    onSend();
    void answers.ask({ conversation: target, text: draft.trim(), model: model.id });
  };
  const stop = () => conversation !== null && answers.stop(conversation);
  useEscape(stop);

  return (
    <Composer
      label={t("chat.composer")}
      value={draft}
      field={field}
      onChange={(text) => setDraft(key, text)}
      onKeyDown={(event) => {
        if (event.key !== "Enter" || event.nativeEvent.isComposing) return;
        if (event.shiftKey || (touchKeyboard() && !event.ctrlKey && !event.metaKey)) return;
        event.preventDefault();
        void send();
      }}
      notice={
        error !== null ? (
          <Notice error={error} onRetry={() => void send()} onDismiss={dismiss} />
        ) : (
          <RunNotice
            conversation={conversation}
            run={run}
            onRetry={() => void send()}
            able={able}
          />
        )
      }
      left={
        <div className="flex min-w-0 flex-wrap items-center gap-x-4">
          <ModelChoice />
          <Gauge conversation={conversation} run={run} draft={draft} />
        </div>
      }
    >
      <span className="text-xs text-soft max-md:hidden pointer-coarse:hidden">
        {running ? t("play.stop_keys") : t("chat.send_keys")}
      </span>
      {running ? (
        <Button kind="plain" onClick={stop} disabled={run.stopping}>
          {run.stopping ? t("play.stopping") : t("play.stop")}
        </Button>
      ) : (
        <Button kind="primary" onClick={() => void send()} disabled={!able}>
          {t("chat.send")}
        </Button>
      )}
    </Composer>
  );
}

/** Opens a conversation for the first message, and goes to it. */
function useOpen() {
  const [, go] = useLocation();
  const [opening, setOpening] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const open = async (title: string): Promise<string | null> => {
    setOpening(true);
    try {
      const made = await server.addConversation(title);
      rememberConversation(queries, made);
      setError(null);
      go(`/chat/${made.id}`, { replace: true });
      return made.id;
    } catch (failure) {
      setError(failure);
      return null;
    } finally {
      setOpening(false);
    }
  };
  return { open, opening, error, dismiss: () => setError(null) };
}

/** Why the last answer failed: the text so far stays above, a question that was not sent below. */
function RunNotice({
  conversation,
  run,
  onRetry,
  able,
}: {
  conversation: string | null;
  run: Run | undefined;
  onRetry: () => void;
  able: boolean;
}) {
  const pages = useItems(conversation).data?.pages ?? [];
  if (conversation === null || run?.ending?.kind !== "failed") return null;
  const stored = pages.some((page) =>
    page.data.some((item) => item.role === "assistant" && item.response_id === run.responseId),
  );
  const kept =
    run.text !== ""
      ? t(stored ? "chat.kept" : "chat.not_stored")
      : run.responseId
        ? ""
        : t("chat.draft_kept");
  return (
    <Notice
      error={run.ending.error}
      kept={kept}
      onDismiss={() => answers.dismiss(conversation)}
      {...(able ? { onRetry } : {})}
    />
  );
}

function ModelChoice() {
  const { model, models } = useModel();
  if (models.length === 0) return <span className="text-xs text-amber">{t("play.no_model")}</span>;
  if (models.length === 1) return <span className="text-xs text-soft">{model?.id}</span>;
  return (
    <select
      aria-label={t("common.model")}
      value={model?.id}
      onChange={(event) => chooseModel(event.target.value)}
      className="min-w-0 truncate bg-transparent text-xs text-soft hover:text-ink max-md:min-h-11"
    >
      {models.map((each) => (
        <option key={each.id}>{each.id}</option>
      ))}
    </select>
  );
}

function Gauge({
  conversation,
  run,
  draft,
}: {
  conversation: string | null;
  run: Run | undefined;
  draft: string;
}) {
  const { model } = useModel();
  const items = useItems(conversation).data?.pages[0]?.data ?? [];
  const answered = items.find((item) => item.role === "assistant")?.response_id ?? null;
  const last = useAnswer(answered).data;
  const use = threadContext(last, run, draft, model?.context_window ?? null);
  return <ContextGauge use={use} />;
}

/** Heard before the page shows that an answer runs, too: `stop` does nothing when none does. */
function useEscape(stop: () => void): void {
  useEffect(() => {
    const pressed = (event: KeyboardEvent) => {
      if (event.key === "Escape" && !document.querySelector("dialog[open]")) stop();
    };
    window.addEventListener("keydown", pressed);
    return () => window.removeEventListener("keydown", pressed);
  }, [stop]);
}
