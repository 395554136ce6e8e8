// A conversation's title from the first words of its first message. Pure.

const TITLE_CHARACTERS_MAX = 48;

/** The first line, cut at a word and marked where it was cut; "" for a text without words. */
export function titleOf(text: string): string {
  const line = text.trim().split(/\r?\n/, 1)[0]?.replace(/\s+/g, " ").trim() ?? "";
  const characters = Array.from(line);
  if (characters.length <= TITLE_CHARACTERS_MAX) return line;
  const cut = characters.slice(0, TITLE_CHARACTERS_MAX).join("");
  const space = cut.lastIndexOf(" ");
  return `${(space > TITLE_CHARACTERS_MAX / 2 ? cut.slice(0, space) : cut).replace(/[\s,;:.–-]+$/, "")}…`;
}
