// The page's words. English comes with the page; another language is fetched when it is chosen.
import { create } from "zustand";
import { recall, remember } from "../parts/memory";
import { en, type Key } from "./en";

type Table = Record<Key, string>;

/** The languages by the tag that the document carries, each called by its own name. */
export const LANGUAGES = { en: "English", de: "Deutsch", "zh-CN": "简体中文" } as const;
export type Language = keyof typeof LANGUAGES;

const FETCHED: Record<Exclude<Language, "en">, () => Promise<Table>> = {
  de: async () => (await import("./de")).de,
  "zh-CN": async () => (await import("./zh")).zh,
};

let table: Table = en;
let language: Language = "en";

/** What is shown, so that everything is drawn anew when it changes. */
export const useLanguage = create<{ language: Language }>(() => ({ language }));

export type Values = Record<string, string | number>;

/** The tag that numbers and dates are written by. */
export const languageTag = (): string => language;

/** A sentence in the reader's language, with its {names} filled in. */
export function t(key: Key, values: Values = {}): string {
  return table[key].replace(/\{(\w+)\}/g, (whole, name: string) => {
    const value = values[name];
    if (value === undefined) return whole;
    return typeof value === "number" ? value.toLocaleString(language) : value;
  });
}

type PluralBase = { [K in Key]: K extends `${infer Base}.other` ? Base : never }[Key];

/** The form of a counted phrase that fits the number. */
export function plural(base: PluralBase, count: number, values: Values = {}): string {
  const form = `${base}.${new Intl.PluralRules(language).select(count)}` as Key;
  return t(form in en ? form : (`${base}.other` as Key), { ...values, count });
}

/** A sentence for a word that the server sent, or null when the page has none for it. */
export function known(
  prefix: "reason" | "finish" | "state" | "event" | "batch" | "node" | "part",
  word: string,
): string | null {
  const key = `${prefix}.${word}`;
  return key in en ? t(key as Key) : null;
}

const isLanguage = (tag: string | null): tag is Language =>
  tag !== null && Object.hasOwn(LANGUAGES, tag);

/** The first of the wanted languages that the page has. */
export function pick(wanted: readonly string[]): Language {
  for (const tag of wanted) {
    const base = tag.split("-")[0] ?? tag;
    for (const each of [tag, base, base === "zh" ? "zh-CN" : null]) {
      if (isLanguage(each)) return each;
    }
  }
  return "en";
}

/** Speak a language: its words are fetched first, and nothing changes when they cannot be had. */
export async function speak(chosen: Language): Promise<void> {
  table = chosen === "en" ? en : await FETCHED[chosen]();
  language = chosen;
  document.documentElement.lang = chosen;
  useLanguage.setState({ language });
}

/** The person's own choice, else the browser's. */
export function startLanguage(): Promise<void> {
  const chosen = recall("language");
  return speak(isLanguage(chosen) ? chosen : pick(navigator.languages));
}

export async function chooseLanguage(chosen: Language): Promise<void> {
  remember("language", chosen);
  await speak(chosen);
}
