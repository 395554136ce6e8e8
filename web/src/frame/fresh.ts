// A tab that stayed open over an upgrade: it loads the new page by itself when it is looked at again,
// and nothing is being written. Drafts lie in the browser's storage, so none is lost.
import { ApiError } from "../api/errors";
import { open } from "../api/http";
import { runs } from "../live/store";

/** Asked no more often than this. */
const EVERY_MS = 60_000;
/** A reload that did not help is not tried again for this long. */
const AGAIN_MS = 30_000;
const RELOADED = "tokenyard.reloaded";

/** The names of the scripts that a page loads; they carry a hash of their content. */
export const scriptsOf = (html: string): string[] =>
  [...html.matchAll(/<script[^>]*\ssrc="([^"]+)"/g)].map((found) => found[1] as string);

/** True when the server's page loads another script than this one did. */
export function isStale(html: string, loaded: readonly string[]): boolean {
  const served = scriptsOf(html).filter((src) => src.includes("/assets/"));
  return served.length > 0 && !served.some((src) => loaded.includes(src));
}

const writing = (): boolean =>
  Object.values(runs.shown.getState()).some((run) => run.ending === null);

function reload(): void {
  const last = Number(sessionStorage.getItem(RELOADED) ?? 0);
  if (Date.now() - last < AGAIN_MS) return;
  sessionStorage.setItem(RELOADED, String(Date.now()));
  window.location.reload();
}

async function look(): Promise<void> {
  if (document.hidden || writing()) return;
  try {
    const html = await (await open("/")).text();
    const loaded = Array.from(
      document.scripts,
      (each) => new URL(each.src, location.href).pathname,
    );
    if (isStale(html, loaded)) reload();
  } catch (error) {
    // Away, or refused: the tab asks again when it is looked at the next time.
    if (error instanceof ApiError) return;
  }
}

export function watchFreshness(): void {
  let asked = performance.now();
  document.addEventListener("visibilitychange", () => {
    if (document.hidden || performance.now() - asked < EVERY_MS) return;
    asked = performance.now();
    void look();
  });
  // A part of the page that an upgrade has taken away.
  window.addEventListener("vite:preloadError", (event) => {
    event.preventDefault();
    reload();
  });
}
