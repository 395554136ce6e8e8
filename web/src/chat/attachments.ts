// Files that go with the next message, per conversation. They are uploaded at once, so that sending
// waits for nothing.
import { create } from "zustand";
import type { FileBody } from "../../../docs/reference/openapi";
import { call } from "../api/http";
import { newId } from "../parts/identity";

export const FILES_MAX = 8;

export interface Attachment {
  key: string;
  name: string;
  /** Null until the server has it. */
  id: string | null;
  error: unknown;
}

const useStore = create<Record<string, readonly Attachment[]>>(() => ({}));
const NOTHING: readonly Attachment[] = [];

export const useAttachments = (conversation: string): readonly Attachment[] =>
  useStore((all) => all[conversation] ?? NOTHING);

const get = (conversation: string) => useStore.getState()[conversation] ?? NOTHING;
const set = (conversation: string, files: readonly Attachment[]) =>
  useStore.setState({ [conversation]: files });

const change = (conversation: string, key: string, part: Partial<Attachment>) =>
  set(
    conversation,
    get(conversation).map((each) => (each.key === key ? { ...each, ...part } : each)),
  );

export function attach(conversation: string, files: readonly File[]): void {
  const room = FILES_MAX - get(conversation).length;
  for (const file of files.slice(0, room)) void upload(conversation, file);
}

async function upload(conversation: string, file: File): Promise<void> {
  const key = newId();
  set(conversation, [...get(conversation), { key, name: file.name, id: null, error: null }]);
  const body = new FormData();
  body.set("purpose", "user_data");
  body.set("file", file, file.name);
  try {
    const stored = await call<FileBody>("/v1/files", { method: "POST", body });
    change(conversation, key, { id: stored.id });
  } catch (error) {
    change(conversation, key, { error });
  }
}

export const detach = (conversation: string, key: string): void =>
  set(
    conversation,
    get(conversation).filter((each) => each.key !== key),
  );

/** The files that are ready, which are then no longer waiting. */
export function takeAttachments(conversation: string): { id: string; name: string }[] {
  const ready = get(conversation).flatMap(({ id, name }) => (id === null ? [] : [{ id, name }]));
  set(conversation, NOTHING);
  return ready;
}
