import { describe, expect, it } from "vitest";
import { writeCode } from "../src/playground/code";
import { contextUse, measure } from "../src/playground/context";
import {
  DEFAULTS,
  fits,
  readParameters,
  readStop,
  restoreParameters,
} from "../src/playground/parameters";
import {
  EMPTY,
  edit,
  messages,
  prepare,
  restoreScript,
  type Script,
} from "../src/playground/script";

const asked: Script = { system: "Be brief.", turns: [{ id: "1", role: "user", content: "Hi" }] };
const answered: Script = {
  ...asked,
  turns: [
    ...asked.turns,
    { id: "2", role: "assistant", content: "Hello", record: { meter: {}, finish: "stop" } },
  ],
};

describe("parameters", () => {
  it.each([
    ["temperature", "0", true],
    ["temperature", "2.01", false],
    ["temperature", "warm", false],
    ["temperature", "", true],
    ["top_p", "0", false],
    ["top_p", "1", true],
    ["max_completion_tokens", "0", false],
    ["max_completion_tokens", "1.5", false],
    ["seed", "-7", true],
    ["seed", "1e400", false],
  ] as const)("%s of %s fits: %s", (name, typed, good) => expect(fits(name, typed)).toBe(good));

  it("names the first field at fault", () => {
    expect(readParameters({ ...DEFAULTS, top_k: "-1" })).toEqual({
      sampling: null,
      fault: "top_k",
    });
  });

  it("leaves out what is empty and reads the rest", () => {
    const typed = {
      ...DEFAULTS,
      top_p: " ",
      max_completion_tokens: "",
      seed: "7",
      stop: ["\\n", ""],
    };
    expect(readParameters(typed).sampling).toEqual({ temperature: 0.2, seed: 7, stop: ["\n"] });
  });

  it("reads the escapes of a stop text", () => {
    expect(readStop("a\\n\\t\\\\n\\q")).toBe("a\n\t\\n\\q");
  });

  it("restores only what it understands", () => {
    expect(restoreParameters({ temperature: "1", seed: 3, stop: ["x", 4] })).toEqual({
      ...DEFAULTS,
      temperature: "1",
      stop: ["x"],
    });
    expect(restoreParameters("nonsense")).toEqual(DEFAULTS);
  });
});

describe("the script", () => {
  it("makes the composer's text a turn", () => {
    expect(prepare(answered, "More", "3")?.turns.map((turn) => turn.content)).toEqual([
      "Hi",
      "Hello",
      "More",
    ]);
  });

  it("asks again when nothing new is written", () => {
    expect(prepare(answered, " ", "3")?.turns).toEqual(asked.turns);
  });

  it("has nothing to answer when it is empty", () => {
    expect(prepare(EMPTY, "", "1")).toBeNull();
    expect(prepare({ ...EMPTY, system: "Be brief." }, "\n", "1")).toBeNull();
  });

  it("sends no empty turn", () => {
    expect(messages({ ...answered, system: " " }).map((turn) => turn.role)).toEqual([
      "user",
      "assistant",
    ]);
  });

  it("drops the meter of an answer that was changed by hand", () => {
    expect(edit(answered, "2", { content: "Hey" }).turns[1]).toEqual({
      id: "2",
      role: "assistant",
      content: "Hey",
    });
  });

  it("restores only what it understands", () => {
    const stored = JSON.parse(JSON.stringify(answered));
    expect(restoreScript(stored)).toEqual(answered);
    expect(restoreScript({ system: 4, turns: [{ id: 1 }, null, stored.turns[0]] })).toEqual({
      system: "",
      turns: asked.turns,
    });
    expect(restoreScript(null)).toEqual(EMPTY);
  });
});

describe("the use of the context", () => {
  const size = measure(answered, "");

  it("is exact for the text that the server counted", () => {
    expect(contextUse(size, { ...size, tokens: 31 }, 8192)).toEqual({
      tokens: 31,
      exact: true,
      window: 8192,
    });
  });

  it("is an estimate from the last count after an edit", () => {
    const use = contextUse(measure(answered, "x".repeat(40)), { ...size, tokens: 31 }, null);
    expect(use).toEqual({ tokens: 46, exact: false, window: null });
  });
});

describe("the code", () => {
  const request = {
    model: "m",
    messages: [{ role: "user" as const, content: 'It\'s "quoted"\nand new' }],
    top_k: 40,
    temperature: 0.2,
  };

  it("quotes for a shell", () => {
    const code = writeCode("curl", "http://h", request);
    expect(code).toContain("curl -N http://h/v1/chat/completions");
    const body = code.slice(code.indexOf("-d '") + 4, -1).replaceAll("'\\''", "'");
    expect(JSON.parse(body)).toEqual({ ...request, stream: true });
  });

  it("gives Python's client what it does not know as extra_body", () => {
    const code = writeCode("python", "http://h", request);
    expect(code).toContain('extra_body={"top_k": 40}');
    expect(code).not.toMatch(/^ {4}top_k=/m);
    expect(code).toContain("    temperature=0.2,");
  });

  it("is JavaScript that parses", () => {
    const code = writeCode("javascript", "http://h", request).replace(/^import.*$/m, "");
    expect(() => new Function(`return async (OpenAI, process) => {${code}}`)).not.toThrow();
  });
});
