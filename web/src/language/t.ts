// The page's words. English is the only language now; `tables` is where the others will be added.
import { en, type Key } from "./en";

const tables: Record<string, Record<Key, string>> = { en };
let language = "en";

export type Values = Record<string, string | number>;

/** The tag that numbers and dates are written by. */
export const languageTag = (): string => language;

/** A sentence in the reader's language, with its {names} filled in. */
export function t(key: Key, values: Values = {}): string {
  const text: string = (tables[language] ?? en)[key];
  return text.replace(/\{(\w+)\}/g, (whole, name: string) => {
    const value = values[name];
    if (value === undefined) return whole;
    return typeof value === "number" ? value.toLocaleString(language) : value;
  });
}

type PluralBase = { [K in Key]: K extends `${infer Base}.other` ? Base : never }[Key];

/** The form of a counted phrase that fits the number. */
export function plural(base: PluralBase, count: number): string {
  const form = `${base}.${new Intl.PluralRules(language).select(count)}` as Key;
  return t(form in en ? form : (`${base}.other` as Key), { count });
}

/** A sentence for a word that the server sent, or null when the page has none for it. */
export function known(prefix: "limit" | "finish", word: string): string | null {
  const key = `${prefix}.${word}`;
  return key in en ? t(key as Key) : null;
}

/** Choose the language; returns the one that is now used. */
export function speak(wanted: readonly string[]): string {
  const tags = wanted.flatMap((tag) => [tag, tag.split("-")[0] ?? tag]);
  language = tags.find((tag) => tag in tables) ?? "en";
  return language;
}
