// The composer of a conversation: what is written next, what goes with it, and what waits.
import { useEffect, useRef, useState } from "react";
import { useLocation } from "wouter";
import { server } from "../api/server";
import { queries } from "../frame/client";
import { useSession } from "../frame/session";
import { money } from "../language/format";
import { t } from "../language/t";
import type { Run } from "../live/run";
import { Button } from "../parts/button";
import { Composer, touchKeyboard } from "../parts/composer";
import { ContextGauge } from "../parts/gauge";
import { Notice, sentence } from "../parts/notice";
import { usePrices } from "../playground/prices";
import { answers, askQuestion } from "./answering";
import { useAsking } from "./asking";
import { attach, detach, takeAttachments, useAttachments } from "./attachments";
import { threadContext } from "./context";
import { ContextDialog } from "./context-dialog";
import { NEW, setDraft, useDrafts } from "./drafts";
import { rememberConversation, useAnswer, useItems, useTree } from "./queries";
import { enqueue, unqueue, useQueued } from "./queue";
import { titleOf } from "./title";

export function ChatComposer({
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
  const files = useAttachments(key);
  const { model, asked, settings } = useAsking(conversation);
  const field = useRef<HTMLTextAreaElement>(null);
  const { open, opening, error, dismiss } = useOpen();
  const running = run?.ending === null;
  const uploading = files.some((file) => file.id === null && file.error === null);
  const written = draft.trim() !== "";
  const able = model !== null && written && !running && !opening && !uploading;

  // A person who opens a thread writes next; on a touch screen the keyboard would hide the thread.
  useEffect(() => {
    if (!touchKeyboard()) field.current?.focus();
  }, []);

  const send = async () => {
    const text = draft.trim();
    if (running && conversation !== null && written && files.length === 0) {
      if (enqueue(conversation, text)) setDraft(key, "");
      return;
    }
    if (!able || model === null) return;
    const target = conversation ?? (await open(titleOf(draft)));
    if (target === null) return;
    setDraft(key, "");
    onSend();
    const attached = takeAttachments(key);
    askQuestion({ conversation: target, text, model: model.id, settings, files: attached });
  };
  const stop = () => conversation !== null && answers.stop(conversation);
  useEscape(stop);

  return (
    <Composer
      label={t("chat.composer")}
      value={draft}
      field={field}
      onChange={(text) => setDraft(key, text)}
      onFiles={(list) => attach(key, list)}
      onKeyDown={(event) => {
        if (event.key !== "Enter" || event.nativeEvent.isComposing) return;
        if (event.shiftKey || (touchKeyboard() && !event.ctrlKey && !event.metaKey)) return;
        event.preventDefault();
        void send();
      }}
      notice={
        <>
          {error !== null ? (
            <Notice error={error} onRetry={() => void send()} onDismiss={dismiss} />
          ) : (
            <RunNotice
              conversation={conversation}
              run={run}
              onRetry={() => void send()}
              able={able}
            />
          )}
          <Waiting conversation={key} />
          <Files conversation={key} />
        </>
      }
      left={
        <div className="flex min-w-0 flex-wrap items-center gap-x-4">
          <span className="text-xs text-soft max-sm:hidden">
            {model?.id ?? (asked && t("play.no_model"))}
          </span>
          <Gauge conversation={conversation} run={run} draft={draft} />
          {conversation !== null && <CostSoFar conversation={conversation} />}
          <Attach onFiles={(list) => attach(key, list)} />
        </div>
      }
    >
      <span className="text-xs text-soft max-md:hidden pointer-coarse:hidden">
        {running ? t(written ? "chat.queue_keys" : "play.stop_keys") : t("chat.send_keys")}
      </span>
      {running && written && <Button onClick={() => void send()}>{t("chat.queue")}</Button>}
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

/** Messages that wait for the answer before them. */
function Waiting({ conversation }: { conversation: string }) {
  const waiting = useQueued(conversation);
  if (waiting.length === 0) return null;
  return (
    <ul aria-label={t("chat.waiting")} className="space-y-1 text-xs text-soft">
      {waiting.map((text, place) => (
        <li key={place} className="flex items-baseline gap-3">
          <span className="min-w-0 truncate">{t("chat.waits", { text })}</span>
          <Button inline onClick={() => unqueue(conversation, place)}>
            {t("play.remove")}
          </Button>
        </li>
      ))}
    </ul>
  );
}

function Files({ conversation }: { conversation: string }) {
  const files = useAttachments(conversation);
  if (files.length === 0) return null;
  return (
    <ul aria-label={t("chat.files")} className="flex flex-wrap gap-x-4 gap-y-1 text-xs">
      {files.map((file) => (
        <li key={file.key} className="flex items-baseline gap-2">
          <span className={file.error ? "text-red" : ""}>
            {file.name}
            {file.error
              ? `: ${sentence(file.error)}`
              : file.id === null && ` ${t("chat.uploading")}`}
          </span>
          <Button
            inline
            aria-label={t("chat.detach", { name: file.name })}
            onClick={() => detach(conversation, file.key)}
          >
            {t("play.remove")}
          </Button>
        </li>
      ))}
    </ul>
  );
}

function Attach({ onFiles }: { onFiles: (files: File[]) => void }) {
  const field = useRef<HTMLInputElement>(null);
  return (
    <>
      <input
        ref={field}
        type="file"
        multiple
        hidden
        aria-label={t("chat.attach")}
        onChange={(event) => {
          onFiles(Array.from(event.target.files ?? []));
          event.target.value = "";
        }}
      />
      <Button inline onClick={() => field.current?.click()}>
        {t("chat.attach")}
      </Button>
    </>
  );
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

const MILLION = 1_000_000;

function Gauge({
  conversation,
  run,
  draft,
}: {
  conversation: string | null;
  run: Run | undefined;
  draft: string;
}) {
  const { model } = useAsking(conversation);
  const price = usePrices(model?.id ?? null);
  const items = useItems(conversation).data?.pages[0]?.data ?? [];
  const answered = items.find((item) => item.role === "assistant")?.response_id ?? null;
  const last = useAnswer(answered).data;
  const use = threadContext(last, run, draft, model?.context_window ?? null);
  const [open, setOpen] = useState(false);
  const part = use.window === null ? 0 : use.tokens / use.window;
  const cost = price && draft.trim() !== "" ? (use.tokens * price.input) / MILLION : 0;
  return (
    <>
      {conversation === null ? (
        <ContextGauge use={use} />
      ) : (
        <button type="button" onClick={() => setOpen(true)} title={t("context.title")}>
          <ContextGauge use={use} />
        </button>
      )}
      {part >= 0.8 && (
        <span className={`text-xs ${part >= 0.95 ? "text-red" : "text-amber"}`}>
          {t(part >= 0.95 ? "context.full" : "context.nearly")}
        </span>
      )}
      {conversation !== null && (
        <ContextDialog
          conversation={conversation}
          draft={draft}
          open={open}
          onClose={() => setOpen(false)}
        />
      )}
      {price && cost > 0 && (
        <span className="text-xs text-soft" title={t("meter.next_hint")}>
          {t("meter.next", { cost: money(Math.round(cost), price.currency) })}
        </span>
      )}
    </>
  );
}

/** What all answers of the conversation have cost; renewed with its tree after each of them. */
function CostSoFar({ conversation }: { conversation: string }) {
  const nanos = useTree(conversation).data?.cost_nanos;
  const currency = useSession().data?.currency;
  if (!nanos || currency === undefined) return null;
  return (
    <span className="text-xs text-soft max-sm:hidden" title={t("meter.chat_hint")}>
      {t("meter.chat", { cost: money(nanos, currency) })}
    </span>
  );
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
