// Tells the other tabs of this browser that a conversation has changed. They ask the server for the
// truth; nothing but the name travels here.

let channel: BroadcastChannel | null = null;
const opened = (): BroadcastChannel | null => {
  if (typeof BroadcastChannel === "undefined") return null;
  channel ??= new BroadcastChannel("tokenyard");
  return channel;
};

export const tellTabs = (conversation: string): void => opened()?.postMessage(conversation);

/** Call back with the name of a conversation that another tab changed; returns how to stop. */
export function hearTabs(heard: (conversation: string) => void): () => void {
  const listener = (event: MessageEvent) => {
    if (typeof event.data === "string") heard(event.data);
  };
  opened()?.addEventListener("message", listener);
  return () => opened()?.removeEventListener("message", listener);
}
