// One conversation's place in the list: its title, folder, pin and archive; and its end.
import { useState } from "react";
import { useLocation } from "wouter";
import type { UpdateConversationRequest } from "../../../docs/reference/openapi";
import { ask } from "../api/routes";
import { server } from "../api/server";
import { type Conversation, conversationTitle } from "../api/wire";
import { queries } from "../frame/client";
import { t } from "../language/t";
import { announce } from "../parts/announcer";
import { Button } from "../parts/button";
import { TextField } from "../parts/field";
import { Modal } from "../parts/modal";
import { Notice } from "../parts/notice";
import { answers } from "./answering";
import { setDraft } from "./drafts";
import {
  forgetConversation,
  refreshConversation,
  rememberConversation,
  useFolders,
} from "./queries";
import { Shares } from "./share";
import { tellTabs } from "./tabs";

export function Organise({
  conversation,
  current,
  onClose,
}: {
  conversation: Conversation | null;
  current: string | null;
  onClose: () => void;
}) {
  return (
    <Modal open={conversation !== null} onClose={onClose} title={t("organise.title")}>
      {conversation && (
        <Form
          key={conversation.id}
          conversation={conversation}
          current={current}
          onClose={onClose}
        />
      )}
    </Modal>
  );
}

function Form({
  conversation,
  current,
  onClose,
}: {
  conversation: Conversation;
  current: string | null;
  onClose: () => void;
}) {
  const [title, setTitle] = useState(conversationTitle(conversation));
  const [folder, setFolder] = useState(conversation.folder);
  const [error, setError] = useState<unknown>(null);
  const folders = useFolders();
  const change = async (body: UpdateConversationRequest) => {
    try {
      const path = { conversation_id: conversation.id };
      rememberConversation(
        queries,
        await ask("POST /v1/conversations/{conversation_id}", { path, body }),
      );
      tellTabs(conversation.id);
      await refreshConversation(queries, conversation.id);
      onClose();
    } catch (failure) {
      setError(failure);
    }
  };
  const save = () => {
    const named = title.trim();
    void change({
      folder: folder.trim(),
      ...(named === conversation.title || named === "" ? {} : { title: named }),
    });
  };
  const { pinned, archived } = conversation;
  return (
    <form
      className="space-y-4"
      onSubmit={(event) => {
        event.preventDefault();
        save();
      }}
    >
      <TextField label={t("organise.name")} value={title} onChange={setTitle} />
      <TextField
        label={t("organise.folder")}
        hint={t("organise.folder_hint")}
        value={folder}
        list={folders}
        onChange={setFolder}
      />
      {error !== null && <Notice error={error} onDismiss={() => setError(null)} />}
      <div className="flex flex-wrap justify-end gap-3">
        <Button onClick={() => void change({ pinned: !pinned })}>
          {t(pinned ? "organise.unpin" : "organise.pin")}
        </Button>
        <Button onClick={() => void change({ archived: !archived })}>
          {t(archived ? "organise.unarchive" : "organise.archive")}
        </Button>
        <Button kind="primary" type="submit">
          {t("common.save")}
        </Button>
      </div>
      <Shares conversation={conversation} />
      <Remove conversation={conversation} current={current} onDone={onClose} />
    </form>
  );
}

function Remove({
  conversation,
  current,
  onDone,
}: {
  conversation: Conversation;
  current: string | null;
  onDone: () => void;
}) {
  const [, go] = useLocation();
  const [sure, setSure] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const title = conversationTitle(conversation) || t("chat.untitled");
  const remove = async () => {
    try {
      answers.stop(conversation.id);
      await server.deleteConversation(conversation.id);
    } catch (failure) {
      setError(failure);
      return;
    }
    setDraft(conversation.id, "");
    onDone();
    announce(t("chat.deleted"));
    tellTabs(conversation.id);
    if (conversation.id === current) go("/chat");
    await forgetConversation(queries, conversation.id);
  };
  return (
    <div className="space-y-3 border-t border-line pt-4">
      {error !== null && <Notice error={error} />}
      {sure ? (
        <>
          <p>{t("chat.delete_more", { title })}</p>
          <div className="flex justify-end gap-3">
            <Button kind="plain" onClick={() => setSure(false)}>
              {t("common.cancel")}
            </Button>
            <Button kind="danger" onClick={() => void remove()}>
              {t("chat.delete")}
            </Button>
          </div>
        </>
      ) : (
        <Button className="text-red!" onClick={() => setSure(true)}>
          {t("chat.delete_title")}
        </Button>
      )}
    </div>
  );
}
