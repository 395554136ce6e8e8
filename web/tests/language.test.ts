import { describe, expect, it } from "vitest";
import { en } from "../src/language/en";

const sources = Object.values(
  import.meta.glob<string>("../src/**/*.{ts,tsx}", {
    query: "?raw",
    import: "default",
    eager: true,
  }),
);

/** Keys that are put together from a prefix and a word that the server or a list gives. */
const MADE = /^(theme|role|code|finish|limit|words)\./;

describe("the sentences", () => {
  it("are all used", () => {
    expect(sources.length).toBeGreaterThan(30);
    const used = sources.filter((source) => !source.includes("export const en = {")).join("\n");
    const unused = Object.keys(en).filter((key) => !MADE.test(key) && !used.includes(`"${key}"`));
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
});
