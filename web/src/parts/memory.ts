// What this browser remembers between visits: drafts, choices. Storage may be full or forbidden;
// forgetting is then the honest behaviour, not an error.
const PREFIX = "tokenyard.";
/** Choices that outlive a sign-out; everything else is the signed-in person's own. */
const LASTING = new Set(["theme", "language"]);

export function remember(name: string, value: unknown): void {
  try {
    if (value === null || value === "") localStorage.removeItem(PREFIX + name);
    else {
      localStorage.setItem(
        PREFIX + name,
        typeof value === "string" ? value : JSON.stringify(value),
      );
    }
  } catch {
    // See above.
  }
}

export function recall(name: string): string | null {
  try {
    return localStorage.getItem(PREFIX + name);
  } catch {
    return null;
  }
}

export function recallJson(name: string): unknown {
  try {
    return JSON.parse(recall(name) ?? "null");
  } catch {
    return null;
  }
}

/** Forget all that belongs to the person who signs out. */
export function forgetAll(): void {
  try {
    for (const name of Object.keys(localStorage)) {
      if (name.startsWith(PREFIX) && !LASTING.has(name.slice(PREFIX.length))) {
        localStorage.removeItem(name);
      }
    }
  } catch {
    // See above.
  }
}
