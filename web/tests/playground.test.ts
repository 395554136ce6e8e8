import { describe, expect, it } from "vitest";
import { newRun, note } from "../src/live/run";
import { readBias, readJson, readSchema, readTools } from "../src/playground/checks";
import { writeCode } from "../src/playground/code";
import { contextUse, measure } from "../src/playground/context";
import { readCsv, writeCsv } from "../src/playground/csv";
import {
  NO_EXTRAS,
  readExtras,
  restoreExtras,
  SAMPLE_SCHEMA,
  SAMPLE_TOOLS,
} from "../src/playground/extras";
import {
  DEFAULTS,
  fits,
  readParameters,
  readStop,
  restoreParameters,
} from "../src/playground/parameters";
import { readLink, writeLink } from "../src/playground/permalink";
import {
  EMPTY,
  edit,
  messages,
  prepare,
  restoreScript,
  type Script,
  unfinished,
} from "../src/playground/script";
import { fill, namesIn } from "../src/playground/variables";

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

describe("JSON that a person writes", () => {
  it("is told the line that it breaks in", () => {
    expect(readJson('{\n  "a": 1,\n  "b": \n}').mistake?.line).toBe(4);
    expect(readJson("{}").mistake).toBeNull();
  });

  it.each([
    ['{"type": "thing"}', "schema.type"],
    ['{"properties": {"a": {"type": "strin"}}}', "schema.properties.a.type"],
    ['{"properties": []}', "schema.properties"],
    ["[]", "schema"],
  ])("as a schema %s names %s", (text, place) => {
    expect(readSchema(text).mistake?.message).toContain(place);
  });

  it.each([
    ["{}", "[…]"],
    ['[{"type": "other"}]', "tools[0].type"],
    ['[{"type": "function", "function": {"name": "a b"}}]', "tools[0].function.name"],
  ])("as tools %s names %s", (text, place) => {
    expect(readTools(text).mistake?.message).toContain(place);
  });

  it("takes its own samples", () => {
    expect(readSchema(SAMPLE_SCHEMA).mistake).toBeNull();
    expect(readTools(SAMPLE_TOOLS).mistake).toBeNull();
    expect(readBias('{"7": -100}').value).toEqual({ "7": -100 });
    expect(readBias('{"7": 101}').mistake).not.toBeNull();
  });
});

describe("the extras", () => {
  it("become the fields of the API", () => {
    const extras = {
      ...NO_EXTRAS,
      output: "json_schema" as const,
      schema: '{"type": "object"}',
      tools: SAMPLE_TOOLS,
      toolChoice: "required" as const,
      logprobs: "3",
    };
    expect(readExtras(extras).part).toMatchObject({
      response_format: { type: "json_schema", json_schema: { schema: { type: "object" } } },
      tool_choice: "required",
      logprobs: true,
      top_logprobs: 3,
    });
    expect(readExtras({ ...extras, schema: "{", logprobs: "99" }).mistakes).toHaveProperty(
      "logprobs",
    );
    expect(restoreExtras({ output: "other", tools: 7 })).toEqual(NO_EXTRAS);
  });
});

describe("variables", () => {
  it("are found once each and filled in where they have a value", () => {
    const script = { system: "Be {{tone}}.", turns: [] };
    expect(namesIn(script, "{{ tone }} {{größe}} {{}} {x}")).toEqual(["tone", "größe"]);
    expect(fill("{{a}} {{ b }} {{a}}", { a: "{{b}}" })).toBe("{{b}} {{ b }} {{b}}");
    expect(fill("{{toString}}", {})).toBe("{{toString}}");
  });
});

describe("a table", () => {
  it("is read with quotes, new lines and a mark of its coding", () => {
    expect(readCsv('\ufeffa,b\r\n"x, ""y""","1\n2"\n\n')).toEqual([
      ["a", "b"],
      ['x, "y"', "1\n2"],
    ]);
  });

  it("comes back as it was written, but never as a formula", () => {
    const rows = [["a", 'say "hi", now', "two\nlines", ""]];
    expect(readCsv(writeCsv(rows))).toEqual(rows);
    expect(writeCsv([["=1+1"]])).toBe("'=1+1\r\n");
  });
});

describe("a permalink", () => {
  it("carries the run and no more than that", async () => {
    const shared = {
      model: "m",
      script: answered,
      parameters: { ...DEFAULTS, seed: "7" },
      extras: NO_EXTRAS,
      variables: { a: "ü" },
    };
    const link = await writeLink(shared);
    const found = await readLink(link ?? "");
    expect(found).toMatchObject({ model: "m", variables: { a: "ü" }, parameters: { seed: "7" } });
    expect(found?.script.turns.map((turn) => turn.record)).toEqual([undefined, undefined]);
    expect(await readLink("#run=%%%")).toBeNull();
    expect(await readLink("#other")).toBeNull();
  });
});

describe("what a run is made of", () => {
  const chunk = (delta: object, more: object = {}) =>
    ({ id: "c", choices: [{ delta, finish_reason: null, ...more }] }) as never;

  it("joins the pieces of calls by their place", () => {
    const { trace } = newRun("a", 0);
    note(trace, chunk({ tool_calls: [{ index: 0, id: "x", function: { name: "f" } }] }));
    note(trace, chunk({ tool_calls: [{ index: 0, function: { arguments: '{"a"' } }] }));
    note(trace, chunk({ tool_calls: [{ index: 0, function: { arguments: ":1}" } }] }));
    note(trace, chunk({ reasoning_content: "hm" }, { token_ids: [1, 2] }));
    expect(trace.calls).toEqual([
      { id: "x", type: "function", function: { name: "f", arguments: '{"a":1}' } },
    ]);
    expect(trace).toMatchObject({ reasoning: "hm", tokenIds: [1, 2] });
  });

  it("lets an answer go on only with the tokens it had", () => {
    const record = { meter: {}, finish: "length", tokenIds: [4] };
    const cut = {
      ...asked,
      turns: [{ id: "2", role: "assistant" as const, content: "He", record }],
    };
    expect(unfinished(cut)?.id).toBe("2");
    expect(unfinished(answered)).toBeNull();
    expect(unfinished(edit(cut, "2", { content: "Hi" }))).toBeNull();
  });
});
