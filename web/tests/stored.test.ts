import { beforeEach, describe, expect, it } from "vitest";
import { setDraft, useDrafts } from "../src/chat/drafts";
import { enqueue, keepQueuesOnLeaving, queued } from "../src/chat/queue";
import { groups } from "../src/jobs/schema";
import { readTargets, writeTargets } from "../src/models/routes";
import { DEFAULTS } from "../src/playground/parameters";
import { contentOf, fingerprint, restoreOrigin, scriptOf } from "../src/playground/stored";

const script = {
  system: "You sort {{things}}.",
  turns: [
    { id: "1", role: "user", content: "For {{team}}." },
    { id: "2", role: "assistant", content: "" },
    { id: "3", role: "tool", content: "42", callId: "call" },
  ],
} as const;

describe("a script as a stored prompt", () => {
  const content = contentOf(structuredClone(script) as never, { ...DEFAULTS, top_p: "9" });

  it("has its turns, its variables and the numbers that are in range", () => {
    expect(content.messages).toEqual([{ role: "user", content: "For {{team}}." }]);
    expect(content.variables?.map((each) => each.name)).toEqual(["things", "team"]);
    expect([content.temperature, content.top_p]).toEqual([0.2, null]);
  });

  it("comes back as it was stored, and tells when it has changed", () => {
    const back = scriptOf(content);
    expect(fingerprint(contentOf(back.script, back.parameters))).toBe(fingerprint(content));
    const changed = { ...back.script, system: "Other." };
    expect(fingerprint(contentOf(changed, back.parameters))).not.toBe(fingerprint(content));
  });

  it("is forgotten where only a part of it was kept", () => {
    const origin = { id: "pmpt_1", name: "Triage", version: 2, saved: "[]" };
    expect(restoreOrigin(structuredClone(origin))).toEqual(origin);
    expect(restoreOrigin({ ...origin, version: "2" })).toBeNull();
    expect(restoreOrigin(null)).toBeNull();
  });
});

describe("targets of an alias", () => {
  it.each([
    ["small", [{ model: "small", weight: 1 }]],
    [
      "small 9, large 1",
      [
        { model: "small", weight: 9 },
        { model: "large", weight: 1 },
      ],
    ],
    [
      "small\nlarge",
      [
        { model: "small", weight: 1 },
        { model: "large", weight: 1 },
      ],
    ],
    ["", null],
    ["small nine", null],
    ["small 1 2", null],
    ["small 0", null],
  ])("%j", (text, targets) => expect(readTargets(text)).toEqual(targets));

  it("are written as they are read", () => {
    const targets = [
      { model: "a", weight: 9 },
      { model: "b", weight: 1 },
    ];
    expect(readTargets(writeTargets({ name: "x", targets }))).toEqual(targets);
    expect(writeTargets({ name: "x", targets: targets.slice(0, 1) })).toBe("a");
  });
});

describe("the fields of a job file", () => {
  it("are those of the schema, with the parts that have fields of their own", () => {
    const found = groups();
    expect(found.map((each) => each.place)).toEqual(
      expect.arrayContaining(["", "roles", "topology", "retries", "checkpoint"]),
    );
    const top = found[0]?.fields ?? [];
    expect(top.find((each) => each.name === "priority")).toMatchObject({ usual: "normal" });
    expect(top.find((each) => each.name === "array")?.kind).toBe("integer 1…1000000");
  });
});

describe("messages that wait when the page is left", () => {
  beforeEach(() => useDrafts.setState({}, true));

  it("become drafts, before what was written since", () => {
    keepQueuesOnLeaving();
    enqueue("conv", "one");
    enqueue("conv", "two");
    setDraft("conv", "three");
    window.dispatchEvent(new Event("pagehide"));
    expect(useDrafts.getState().conv).toBe("one\n\ntwo\n\nthree");
    expect(queued("conv")).toEqual([]);
  });
});
