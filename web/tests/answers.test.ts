import { QueryClient } from "@tanstack/react-query";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { ApiError, ConnectionLost } from "../src/api/errors";
import { server } from "../src/api/server";
import { readEvents } from "../src/api/sse";
import type { Answer, AnswerEvent, Conversation, Item } from "../src/api/wire";
import { Answers, type AnswersOptions, requestOf } from "../src/chat/answers";
import { grouped } from "../src/chat/groups";
import {
  questionOf,
  showsQuestion,
  showsRun,
  siblingsOf,
  thread,
  visibleItems,
} from "../src/chat/items";
import { enqueue, QUEUED_MAX, queued, takeAll, takeNext } from "../src/chat/queue";
import {
  fitsSetting,
  readSettings,
  requestSettings,
  USUAL,
  writeSettings,
} from "../src/chat/settings";
import { newRun } from "../src/live/run";
import { createRuns } from "../src/live/store";

const conversation = (change: Partial<Conversation> = {}): Conversation => ({
  id: "conv",
  created_at: 0,
  updated_at: 0,
  metadata: {},
  title: "",
  title_by: "nobody",
  folder: "",
  pinned: false,
  archived: false,
  leaf_id: null,
  ...change,
});

const QUESTION = { conversation: "conv", text: "Why?", model: "m" };
const base: Answer = { id: "resp", status: "in_progress", model: "m" };
const CREATED = { type: "response.created", response: base };
const delta = (text: string) => ({ type: "response.output_text.delta", delta: text });
const completed = (text: string) => ({
  type: "response.completed",
  response: {
    ...base,
    status: "completed" as const,
    output: [item("assistant", text)],
    usage: { input_tokens: 3, output_tokens: 2 },
  },
});

function item(role: "user" | "assistant", text: string, response_id: string | null = null): Item {
  const content = [{ type: "text", text }];
  return {
    type: "message",
    id: `${role}-${text}`,
    role,
    status: "completed",
    content,
    response_id,
  };
}

const step = (type: string, change: Partial<Item>): Item =>
  ({ type, id: type, status: "completed", ...change }) as Item;

/** A stream that is written to by the test. */
function stream() {
  let controller: ReadableStreamDefaultController<Uint8Array> | undefined;
  let number = 0;
  const body = new ReadableStream<Uint8Array>({
    start(made) {
      controller = made;
    },
  });
  return {
    response: new Response(body),
    send(...events: Omit<AnswerEvent, "sequence_number">[]) {
      for (const event of events) {
        const data = JSON.stringify({ ...event, sequence_number: number });
        number += 1;
        controller?.enqueue(new TextEncoder().encode(`data: ${data}\n\n`));
      }
    },
    break: () => controller?.error(new TypeError("broken")),
  };
}

function begin(change: Partial<AnswersOptions> = {}) {
  const runs = createRuns({ now: () => 0, request: (callback) => callback() });
  const ended: string[] = [];
  const returned: string[] = [];
  const answers = new Answers({
    runs,
    queries: new QueryClient({ defaultOptions: { queries: { retry: false } } }),
    transport: {
      resume: (id, after, signal) => server.resume(id, after, signal),
      read: (response) => readEvents(response),
      answer: (id) => server.answer(id),
      wait: async () => undefined,
      random: () => 0,
    },
    onBegin: () => undefined,
    onNamed: () => undefined,
    onEnd: (_, run) => ended.push(run.text),
    onReturn: (question) => returned.push(question.text),
    ...change,
  });
  const run = () => runs.get(answers.followed.getState().conv?.runId ?? "");
  return { answers, runs, run, ended, returned };
}

beforeEach(() => {
  vi.spyOn(server, "conversation").mockResolvedValue(conversation());
  vi.spyOn(server, "cancel").mockResolvedValue({ ...base, status: "cancelled" });
});
afterEach(() => vi.restoreAllMocks());

describe("an answer", () => {
  it("is followed from question to end", async () => {
    const wire = stream();
    vi.spyOn(server, "ask").mockResolvedValue(wire.response);
    const { answers, run, ended } = begin();
    const asking = answers.ask(QUESTION);
    wire.send(CREATED, delta("Be"), delta("cause"), completed("Because"));
    await asking;
    expect(run()).toMatchObject({
      text: "Because",
      responseId: "resp",
      ending: { kind: "finished", reason: "stop" },
      meter: { inputTokens: 3, outputTokens: 2 },
    });
    expect(ended).toEqual(["Because"]);
  });

  it("notes thoughts and calls of functions as they come", async () => {
    const wire = stream();
    vi.spyOn(server, "ask").mockResolvedValue(wire.response);
    const { answers, run } = begin();
    const asking = answers.ask(QUESTION);
    const call = step("function_call", { id: "fc", name: "weather", arguments: "" });
    const piece = (delta: string) => ({
      type: "response.function_call_arguments.delta",
      item_id: "fc",
      delta,
    });
    wire.send(
      CREATED,
      { type: "response.output_item.added", item: step("reasoning", { id: "rs" }) },
      { type: "response.reasoning_text.delta", item_id: "rs", delta: "Hm" },
      { type: "response.reasoning_text.delta", item_id: "rs", delta: "m." },
      { type: "response.output_item.added", item: call },
      piece('{"place":'),
      piece('"x"'),
      { type: "response.function_call_arguments.done", item_id: "fc", arguments: '{"place":"x"}' },
      completed(""),
    );
    await asking;
    expect(run()?.trace.reasoning).toBe("Hmm.");
    expect(run()?.trace.calls.map((each) => each.function)).toEqual([
      { name: "weather", arguments: '{"place":"x"}' },
    ]);
    expect(run()?.firstTokenAt).not.toBeNull();
  });

  it("takes the stored text when it differs from what was received", async () => {
    const wire = stream();
    vi.spyOn(server, "ask").mockResolvedValue(wire.response);
    const { answers, run } = begin();
    const asking = answers.ask(QUESTION);
    wire.send(CREATED, delta("Becuase"), completed("Because"));
    await asking;
    expect(run()?.text).toBe("Because");
  });

  it("is asked once while it goes on", async () => {
    const wire = stream();
    const ask = vi.spyOn(server, "ask").mockResolvedValue(wire.response);
    const { answers } = begin();
    const asking = answers.ask(QUESTION);
    await answers.ask({ ...QUESTION, text: "And?" });
    wire.send(CREATED, completed("x"));
    await asking;
    expect(ask).toHaveBeenCalledTimes(1);
  });

  it("gives the question back when the server refuses it", async () => {
    const refused = new ApiError("no", 429, "rate_limit_requests", null, null, 2);
    vi.spyOn(server, "ask").mockRejectedValue(refused);
    const { answers, run, returned } = begin();
    await answers.ask(QUESTION);
    expect(run()?.ending).toEqual({ kind: "failed", error: refused });
    expect(returned).toEqual(["Why?"]);
    expect(answers.followed.getState().conv?.question).toBeNull();
  });

  it("is found again when the connection broke before its name was known", async () => {
    const again = stream();
    vi.spyOn(server, "ask").mockRejectedValue(new ConnectionLost("cut"));
    vi.spyOn(server, "conversation").mockResolvedValue(
      conversation({ active_response_id: "resp" }),
    );
    const resume = vi.spyOn(server, "resume").mockResolvedValue(again.response);
    const { answers, run, returned } = begin();
    again.send(CREATED, delta("Here"), completed("Here"));
    await answers.ask(QUESTION);
    expect(resume).toHaveBeenCalledWith("resp", null, expect.anything());
    expect(run()?.text).toBe("Here");
    expect(returned).toEqual([]);
  });

  it("goes on after a cut from the last event", async () => {
    const wire = stream();
    vi.spyOn(server, "ask").mockResolvedValue(wire.response);
    const rest = stream();
    const resume = vi.spyOn(server, "resume").mockResolvedValue(rest.response);
    const { answers, run } = begin();
    const asking = answers.ask(QUESTION);
    wire.send(CREATED, delta("Be"));
    await vi.waitFor(() => expect(run()?.text).toBe("Be"));
    wire.break();
    // What the new connection sends again is not taken twice.
    rest.send(CREATED, delta("Be"), delta("cause"), completed("Because"));
    await asking;
    expect(resume).toHaveBeenCalledWith("resp", 1, expect.anything());
    expect(run()).toMatchObject({ text: "Because", pieces: 2 });
  });
});

describe("stop", () => {
  it("before the first event waits for the name, then cancels", async () => {
    const wire = stream();
    vi.spyOn(server, "ask").mockResolvedValue(wire.response);
    const { answers, run } = begin();
    const asking = answers.ask(QUESTION);
    answers.stop("conv");
    expect(run()?.stopping).toBe(true);
    expect(server.cancel).not.toHaveBeenCalled();
    const cancelled = { ...base, status: "cancelled" as const };
    wire.send(CREATED, { type: "response.incomplete", response: cancelled });
    await asking;
    expect(server.cancel).toHaveBeenCalledWith("resp");
    expect(run()).toMatchObject({ ending: { kind: "stopped" }, stopping: false });
  });

  it("is offered again when the wish did not reach the server", async () => {
    const wire = stream();
    vi.spyOn(server, "ask").mockResolvedValue(wire.response);
    vi.spyOn(server, "cancel").mockRejectedValue(new ConnectionLost("cut"));
    const { answers, run } = begin();
    const asking = answers.ask(QUESTION);
    wire.send(CREATED);
    await vi.waitFor(() => expect(run()?.responseId).toBe("resp"));
    answers.stop("conv");
    await vi.waitFor(() => expect(run()?.stopping).toBe(false));
    wire.send(completed("x"));
    await asking;
  });
});

describe("attach", () => {
  it("follows an answer of another tab once", async () => {
    const wire = stream();
    const resume = vi.spyOn(server, "resume").mockResolvedValue(wire.response);
    const { answers, run } = begin();
    const following = answers.attach("conv", "resp");
    await answers.attach("conv", "resp");
    wire.send(CREATED, delta("Hi"), completed("Hi"));
    await following;
    await answers.attach("conv", "resp");
    expect(resume).toHaveBeenCalledTimes(1);
    expect(run()?.text).toBe("Hi");
  });
});

describe("the thread", () => {
  const pages = (...newestFirst: Item[]) => [{ data: newestFirst }];

  it("shows a question until the stored items have it", () => {
    const before = visibleItems(
      pages(item("assistant", "A0", "r0"), item("user", "Why?")),
      undefined,
    );
    const asked = { text: "Why?", after: "assistant-A0" };
    expect(showsQuestion(before, asked)).toBe(true);
    expect(showsQuestion([...before, item("user", "Why?")], asked)).toBe(false);
    expect(showsQuestion([item("user", "Why?")], { text: "Why?", after: null })).toBe(false);
    expect(showsQuestion(before, null)).toBe(false);
  });

  it("shows an answer once: live while it is written, stored afterwards", () => {
    const live = { ...newRun("x", 0, "r1"), text: "half" };
    const stored = pages(item("assistant", "half", "r1"), item("user", "Why?"));
    expect(visibleItems(stored, live).map((each) => each.role)).toEqual(["user"]);
    expect(showsRun(visibleItems(stored, live), live)).toBe(true);
    const over = { ...live, ending: { kind: "stopped" as const } };
    expect(visibleItems(stored, over)).toHaveLength(2);
    expect(showsRun(visibleItems(stored, over), over)).toBe(false);
    expect(showsRun([], over)).toBe(true);
  });

  it("shows the steps of an answer, and asks again what the model did not write", () => {
    const question = item("user", "Why?");
    const steps = [
      question,
      step("reasoning", { response_id: "r1", content: [{ type: "reasoning_text", text: "Hm." }] }),
      step("function_call", { response_id: "r1", name: "weather", arguments: "{}" }),
      step("function_call_output", { output: "42" }),
      item("assistant", "So.", "r2"),
    ];
    const stored = visibleItems(pages(...[...steps].reverse()), undefined);
    expect(stored).toEqual(steps);
    const turns = thread(stored, null, undefined);
    expect(turns.map((turn) => turn.text)).toEqual(["Why?", "Hm.", "{}", "42", "So."]);
    expect(questionOf(turns, 2)).toBe(question.id);
    expect(questionOf(turns, 4)).toBe("function_call_output");
    const live = newRun("x", 0, "r1");
    expect(visibleItems(pages(...[...steps].reverse()), live)).toHaveLength(3);
  });

  it("keeps the place of a reply from its first word to its stored form", () => {
    const live = { ...newRun("x", 0, "r1"), text: "half" };
    const asked = { text: "Why?", after: null };
    const written = thread([], asked, live);
    expect(written.map((turn) => turn.text)).toEqual(["Why?", "half"]);
    const over = { ...live, ending: { kind: "stopped" as const } };
    const stored = [item("user", "Why?"), item("assistant", "half", "r1")];
    const kept = thread(stored, asked, over);
    expect(kept.map((turn) => turn.text)).toEqual(["Why?", "half"]);
    expect(kept.at(-1)?.key).toBe(written.at(-1)?.key);
    expect(kept.at(-1)?.run).toBe(over);
  });
});

describe("a branch", () => {
  it("is asked for below its parent, with files and settings", () => {
    expect(requestOf(QUESTION)).toEqual({ model: "m", conversation: "conv", input: "Why?" });
    expect(requestOf({ ...QUESTION, text: "", parent: "item" })).toMatchObject({
      input: [],
      parent_item_id: "item",
    });
    const files = [{ id: "file_1", name: "a.txt" }];
    const asked = requestOf({ ...QUESTION, parent: null, files, settings: { temperature: 1 } });
    expect(asked).toMatchObject({
      parent_item_id: null,
      temperature: 1,
      input: [
        {
          role: "user",
          content: [
            { type: "input_file", file_id: "file_1" },
            { type: "input_text", text: "Why?" },
          ],
        },
      ],
    });
  });

  it("leaves the other branch out of sight until the server shows the new one", () => {
    const pages = [{ data: [item("assistant", "b"), item("user", "a")] }];
    const shown = visibleItems(pages, undefined, new Set(["assistant-b"]));
    expect(shown.map((each) => each.id)).toEqual(["user-a"]);
  });

  it("knows its siblings by parent and role", () => {
    const node = (id: string, parent_id: string | null, role: string) => ({
      id,
      parent_id,
      role,
      kind: "message",
    });
    const tree = [
      node("q", null, "user"),
      node("a1", "q", "assistant"),
      node("a2", "q", "assistant"),
      node("q2", null, "user"),
    ];
    const found = siblingsOf(tree);
    expect(found.get("a2")).toEqual({ at: 1, ids: ["a1", "a2"] });
    expect(found.get("q")?.ids).toEqual(["q", "q2"]);
    expect(siblingsOf(tree.slice(0, 2)).size).toBe(0);
  });
});

describe("the list of conversations", () => {
  it("has the pinned first, then folders by name, then the rest", () => {
    const list = [
      conversation({ id: "1" }),
      conversation({ id: "2", folder: "work" }),
      conversation({ id: "3", folder: "home" }),
      conversation({ id: "4", folder: "work", pinned: true }),
    ];
    expect(grouped(list).map(({ kind, name, entries }) => [kind, name, entries[0]?.id])).toEqual([
      ["pinned", "", "4"],
      ["folder", "home", "3"],
      ["folder", "work", "2"],
      ["rest", "", "1"],
    ]);
  });
});

describe("the settings of a conversation", () => {
  it("travel in its metadata and into requests", () => {
    const settings = { ...USUAL, temperature: "1", instructions: "Be brief." };
    const metadata = writeSettings({ other: "kept", model: "gone" }, settings);
    expect(metadata).toEqual({ other: "kept", temperature: "1", instructions: "Be brief." });
    expect(readSettings(conversation({ metadata }))).toEqual(settings);
    expect(requestSettings(settings)).toEqual({
      temperature: 1,
      top_p: 0.9,
      max_output_tokens: 2048,
      instructions: "Be brief.",
    });
    expect(fitsSetting("max_output_tokens", "1.5")).toBe(false);
  });
});

describe("the queue of messages", () => {
  it("gives them back in their order, and all at once", () => {
    for (const text of ["a", "b", "c"]) enqueue("q", text);
    expect(takeNext("q")).toBe("a");
    expect(takeAll("q")).toBe("b\n\nc");
    expect(takeNext("q")).toBeNull();
  });

  it("has an end", () => {
    for (let place = 0; place < QUEUED_MAX; place += 1) enqueue("full", "x");
    expect(enqueue("full", "y")).toBe(false);
    expect(queued("full")).toHaveLength(QUEUED_MAX);
  });
});
