// Reads what a person pasted: a whole sign-in link, or only its token.

const TOKEN = /^[\w~.-]{8,512}$/;

/** The token, or null when there is none in the text. */
export function readToken(pasted: string): string | null {
  const text = pasted.trim();
  if (TOKEN.test(text) && !text.includes("..")) return text;
  try {
    const token = new URL(text).searchParams.get("token");
    return token !== null && TOKEN.test(token) ? token : null;
  } catch {
    return null;
  }
}
