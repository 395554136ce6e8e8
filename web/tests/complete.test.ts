import { describe, expect, it } from "vitest";
import { ApiError, ConnectionLost } from "../src/api/errors";
import { complete } from "../src/live/complete";
import { createRuns } from "../src/live/store";

const store = () => createRuns({ now: () => 0, request: (callback) => callback() });
const event = (value: unknown) => `data: ${JSON.stringify(value)}\n\n`;
const piece = (content: string, finish_reason: string | null = null) =>
  event({ id: "c", choices: [{ index: 0, delta: { content }, finish_reason }] });
const LAST = event({
  id: "c",
  choices: [],
  usage: { prompt_tokens: 9, completion_tokens: 2, prompt_tokens_details: { cached_tokens: 4 } },
  timings: { queue_ms: 1, first_token_ms: 10, total_ms: 30 },
  cost: { nanos: 1700, currency: "USD" },
});

function answer(text: string): Response {
  return new Response(text, { headers: { "x-request-id": "req_7" } });
}

async function run(send: (signal: AbortSignal) => Promise<Response>) {
  const runs = store();
  await complete(runs, "a", send).ended;
  return runs.get("a");
}

describe("complete", () => {
  it("keeps text, usage, timings, cost and the reason of the end", async () => {
    const text = `${piece("Hel")}${piece("lo")}${piece("", "length")}${LAST}data: [DONE]\n\n`;
    expect(await run(async () => answer(text))).toMatchObject({
      text: "Hello",
      pieces: 2,
      ending: { kind: "finished", reason: "length" },
      meter: { inputTokens: 9, cachedTokens: 4, outputTokens: 2, cost: { nanos: 1700 } },
    });
  });

  it("knows the place in line until the prompt is read", async () => {
    const waits = (place?: number) =>
      event({ id: "c", choices: [], prompt_progress: { total: 9, cache: 0, processed: 3, place } });
    const stays = await run(async () => answer(waits(2)));
    expect(stays).toMatchObject({ place: 2, reading: null });
    const goesOn = await run(async () => answer(waits(2) + waits(1) + waits()));
    expect(goesOn).toMatchObject({ place: null, reading: { processed: 3, total: 9 } });
  });

  it("keeps the text before an error inside the stream, and names the request", async () => {
    const broke = event({ error: { message: "It died.", code: "upstream_failed", param: null } });
    const ended = await run(async () => answer(piece("Hel") + broke));
    expect(ended?.text).toBe("Hel");
    const { ending } = ended ?? {};
    expect(ending?.kind === "failed" && ending.error).toMatchObject({
      code: "upstream_failed",
      requestId: "req_7",
    });
  });

  it("calls a stream without its last event a lost connection", async () => {
    const ended = await run(async () => answer(piece("Hel")));
    expect(ended?.text).toBe("Hel");
    expect(ended?.ending?.kind === "failed" && ended.ending.error).toBeInstanceOf(ConnectionLost);
  });

  it("passes a refusal on", async () => {
    const refused = new ApiError("no", 429, "rate_limit_requests", null, null, 3);
    const ended = await run(() => Promise.reject(refused));
    expect(ended?.ending).toEqual({ kind: "failed", error: refused });
  });

  it("keeps the partial text when it is stopped", async () => {
    const runs = store();
    const body = new ReadableStream({
      start: (c) => c.enqueue(new TextEncoder().encode(piece("Hel"))),
    });
    const started = complete(runs, "a", async (signal) => {
      signal.addEventListener("abort", () => void body.cancel().catch(() => undefined));
      return new Response(body.pipeThrough(new TransformStream(), { signal, preventCancel: true }));
    });
    while (runs.get("a")?.text !== "Hel") await new Promise((resolve) => setTimeout(resolve, 0));
    started.stop();
    await started.ended;
    expect(runs.get("a")).toMatchObject({ text: "Hel", ending: { kind: "stopped" } });
  });

  it("lets the server end a stopped stream with what it used", async () => {
    const runs = store();
    const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
    const writer = writable.getWriter();
    const say = (text: string) => writer.write(new TextEncoder().encode(text));
    const asked: string[] = [];
    const started = complete(
      runs,
      "a",
      async () => new Response(readable, { headers: { "x-request-id": "req_7" } }),
      async (requestId) => {
        asked.push(requestId);
        void say(`${piece("", "abort")}${LAST}data: [DONE]\n\n`);
      },
    );
    void say(piece("Hel"));
    while (runs.get("a")?.text !== "Hel") await new Promise((resolve) => setTimeout(resolve, 0));
    started.stop();
    await started.ended;
    expect(asked).toEqual(["req_7"]);
    expect(runs.get("a")).toMatchObject({
      text: "Hel",
      ending: { kind: "stopped" },
      meter: { outputTokens: 2, cost: { nanos: 1700 } },
    });
  });

  it("can be stopped before the server has answered", async () => {
    const runs = store();
    const started = complete(
      runs,
      "a",
      (signal) =>
        new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason))),
    );
    started.stop();
    await started.ended;
    expect(runs.get("a")?.ending).toEqual({ kind: "stopped" });
  });
});
