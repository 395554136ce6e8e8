import { describe, expect, it } from "vitest";
import { ApiError, readRetryAfter } from "../src/api/errors";
import { titleOf } from "../src/chat/title";
import { duration, money, wait, wordCount } from "../src/language/format";
import { known, plural, t } from "../src/language/t";
import { append, newRun, piecesPerSecond, tokensPerSecond } from "../src/live/run";
import { sentence } from "../src/parts/notice";
import { readToken } from "../src/sign-in/link";

describe("words", () => {
  it("fills in names and leaves unknown ones alone", () => {
    expect(t("context.exact", { used: 8192, window: "w" })).toBe("8,192 of w tokens");
    expect(t("month.spent")).toBe("{cost} this month");
  });

  it("chooses the form for a number", () => {
    expect(plural("words", 1)).toBe("1 word");
    expect(plural("words", 1200)).toBe("1,200 words");
  });

  it("knows the named reasons", () => {
    expect(known("reason", "queue_full")).toContain("queue");
    expect(known("reason", "never_heard")).toBeNull();
  });

  it("says which limit first, then the server's words", () => {
    const error = new ApiError("60 of 60 used.", 429, "rate_limit_requests", null, null, 5);
    expect(sentence(error)).toBe("The limit of requests per minute is reached. 60 of 60 used.");
    expect(sentence(new ApiError("Own words.", 400, "other", null, null, null))).toBe("Own words.");
    expect(sentence(new ApiError("", 500, null, null, null, null))).toContain("broke");
  });
});

describe("numbers", () => {
  it.each([
    [0, "$0.00"],
    [300, "$0.0000003"],
    [1, "$0.000000001"],
    [25_300, "$0.000025"],
    [412_000, "$0.00041"],
    [120_000_000, "$0.12"],
    [999_999_999, "$1.00"],
    [1_420_000_000, "$1.42"],
    [20_000_000_000, "$20.00"],
  ])("%s nanos are %s", (nanos, text) => expect(money(nanos, "USD")).toBe(text));

  it.each([
    [182.4, "182 ms"],
    [9_999, "9,999 ms"],
    [12_340, "12.3 s"],
  ])("%s ms are %s", (milliseconds, text) => expect(duration(milliseconds)).toBe(text));

  it.each([
    [4.1, "5 s"],
    [125, "2 min 5 s"],
    [12_000, "3 h 20 min"],
  ])("a wait of %s is %s", (seconds, text) => expect(wait(seconds)).toBe(text));

  it("counts words", () => expect(wordCount(" one  two\nthree ")).toBe(3));

  it("measures speed after the first token", () => {
    const timings = { queue_ms: 0, first_token_ms: 100, total_ms: 1100 };
    expect(tokensPerSecond({ outputTokens: 41, timings })).toBe(40);
    expect(tokensPerSecond({ outputTokens: 1, timings })).toBeNull();
    expect(tokensPerSecond({})).toBeNull();
  });

  it("estimates the speed of a live run between its first and its last piece", () => {
    let run = newRun("a", 0);
    for (let piece = 0; piece < 11; piece += 1) run = append(run, "x", 500 + piece * 100);
    expect(piecesPerSecond(run)).toBe(10);
    expect(piecesPerSecond(newRun("a", 0))).toBeNull();
  });

  it.each([
    ["7", 7],
    ["Thu, 01 Jan 1970 00:00:09 GMT", 8],
    ["soon", null],
    [null, null],
  ])("retry-after %s is %s seconds", (header, seconds) => {
    expect(readRetryAfter(header, 1000)).toBe(seconds);
  });
});

describe("titleOf", () => {
  it.each([
    ["  Hello\nthere ", "Hello"],
    ["", ""],
    [
      "one two three four five six seven eight nine ten eleven",
      "one two three four five six seven eight nine…",
    ],
    ["x".repeat(60), `${"x".repeat(48)}…`],
  ])("%j gives %j", (text, title) => expect(titleOf(text)).toBe(title));

  it("does not cut a character in half", () => {
    expect(titleOf("😀".repeat(60))).toBe(`${"😀".repeat(48)}…`);
  });
});

describe("readToken", () => {
  it.each([
    ["abcDEF-_~12345", "abcDEF-_~12345"],
    [" http://127.0.0.1:8400/sign-in?token=abc123def ", "abc123def"],
    ["http://127.0.0.1:8400/", null],
    ["two words", null],
    ["", null],
    ["javascript:alert(1)", null],
  ])("%j holds %j", (pasted, token) => expect(readToken(pasted)).toBe(token));
});
