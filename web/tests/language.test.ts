import { afterEach, describe, expect, it } from "vitest";
import reasonsPage from "../../docs/reference/reasons.md?raw";
import { de } from "../src/language/de";
import { en } from "../src/language/en";
import { explained, outcome, refusal } from "../src/language/reasons";
import { pick, plural, speak, t } from "../src/language/t";
import { zh } from "../src/language/zh";

const sources = Object.values(
  import.meta.glob<string>("../src/**/*.{ts,tsx}", {
    query: "?raw",
    import: "default",
    eager: true,
  }),
);

/** Keys that are put together from a prefix and a word that the server or a list gives. */
const MADE = [
  /^(theme|role|code|finish|reason|words|state|event|batch|node|param|role_of|part)\./,
  /^jobs\.(show|phase)_/,
  /^cluster\.set_/,
  /^batches\.(at|file)_/,
  /^usage\.(by|days|scope)_/,
  /^limits\.(level|measure|window)_/,
  /^transfer\.as_/,
  /^upstreams\.(health|breaker)_/,
  /^audit\.(csv|jsonl)$/,
  /^prompts\.(added|removed|same)$/,
  /\.(one|other)$/,
];

const places = (text: string): string[] => (text.match(/\{\w+\}/g) ?? []).sort();

afterEach(() => speak("en"));

describe("the sentences", () => {
  it("are all used", () => {
    expect(sources.length).toBeGreaterThan(30);
    const used = sources.filter((source) => !/^export const (en|de|zh)\b/m.test(source)).join("\n");
    const unused = Object.keys(en).filter(
      (key) => !MADE.some((each) => each.test(key)) && !used.includes(`"${key}"`),
    );
    expect(unused).toEqual([]);
  });

  it("are not written beside the table", () => {
    // Text between tags that is more than marks and numbers belongs into the table.
    const stray = sources.flatMap(
      (source) => source.match(/^\s*[A-Z][a-z]+ [a-z]+[^={}()<>:;]*$/gm) ?? [],
    );
    const prose = stray.filter((line) => !/^\s*(\*|\/\/)/.test(line));
    expect(prose).toEqual([]);
  });

  it.each([
    ["German", de],
    ["Chinese", zh],
  ])("are complete in %s, with the same places to fill in", (_, table: Record<string, string>) => {
    expect(Object.keys(table).sort()).toEqual(Object.keys(en).sort());
    for (const [key, text] of Object.entries(en)) {
      expect(table[key]?.trim(), key).not.toBe("");
      expect(places(table[key] ?? ""), key).toEqual(places(text));
    }
  });
});

describe("the named reasons", () => {
  it("are those of the server, each with a sentence", () => {
    // Rows of tables and points of lists; the first line of a table names its column.
    const served = [...reasonsPage.matchAll(/^(?:\| |- )`(\w+)`/gm)].map((found) => found[1]);
    const told = Object.keys(en).filter((key) => key.startsWith("reason."));
    expect(served.length).toBeGreaterThan(100);
    expect(told.map((key) => key.slice("reason.".length)).sort()).toEqual([...served].sort());
  });

  it("stand before the server's words where those are in another language", async () => {
    const own = "Queue a has used up its quota.";
    expect(explained("queue_quota", own, "")).toBe(own);
    expect(explained("never_heard", own, "")).toBe(own);
    expect(refusal("invalid_value", "top_p is 9.")).toBe("top_p is 9.");
    expect(outcome("user_error", "exit status 3")).toBe("Its command failed: exit status 3");
    await speak("de");
    expect(explained("queue_quota", own, "")).toBe(de["reason.queue_quota"]);
    expect(explained("never_fits", own, "1 von 2 passt")).toBe(
      "Dieser Cluster kann ihn niemals aufnehmen: 1 von 2 passt",
    );
    expect(explained("never_heard", own, "")).toBe(own);
    expect(refusal("invalid_value", "top_p is 9.")).toBe(
      `${de["reason.invalid_value"]} top_p is 9.`,
    );
    expect(outcome("never_heard", null)).toBe("");
  });
});

describe("the language", () => {
  it("is the first that the browser wants and the page has", () => {
    expect(pick(["fr-CA", "de-AT", "en"])).toBe("de");
    expect(pick(["zh-Hant-TW"])).toBe("zh-CN");
    expect(pick(["toString", "fr"])).toBe("en");
  });

  it("changes what is said, how numbers are written, and the document", async () => {
    await speak("de");
    expect(t("meter.out", { count: 1234 })).toBe("1.234 aus");
    expect(plural("words", 1)).toBe("1 Wort");
    expect(document.documentElement.lang).toBe("de");
    await speak("zh-CN");
    expect(plural("words", 2)).toBe("2 个词");
  });
});
