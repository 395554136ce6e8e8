import { describe, expect, it } from "vitest";
import { ConnectionLost } from "../src/api/errors";
import { EVENT_CHARACTERS_MAX, readEvents, type SseEvent, SseParser } from "../src/api/sse";

const bytes = (text: string) => new TextEncoder().encode(text);

const WIRE =
  "\ufeff: keep-alive\n\n" +
  'event: response.output_text.delta\nid: resp_1.1.0\ndata: {"delta":"grün 😀"}\n\n' +
  "data:first\r\ndata: second\r\n\r\n" +
  "id: resp_1.1.1\rdata\r\r" +
  "event: unsent\n\ndata: [DONE]\n\n";

const EVENTS: SseEvent[] = [
  { event: "response.output_text.delta", id: "resp_1.1.0", data: '{"delta":"grün 😀"}' },
  { event: "message", id: "resp_1.1.0", data: "first\nsecond" },
  { event: "message", id: "resp_1.1.1", data: "" },
  { event: "message", id: "resp_1.1.1", data: "[DONE]" },
];

describe("SseParser", () => {
  it("reads the same events wherever the bytes are cut", () => {
    const whole = bytes(WIRE);
    for (let cut = 0; cut <= whole.length; cut += 1) {
      const parser = new SseParser();
      const events = [...parser.feed(whole.slice(0, cut)), ...parser.feed(whole.slice(cut))];
      expect(events, `cut at byte ${cut}`).toEqual(EVENTS);
    }
  });

  it("reads the same events when every byte comes alone", () => {
    const parser = new SseParser();
    const events = [...bytes(WIRE)].flatMap((byte) => parser.feed(Uint8Array.of(byte)));
    expect(events).toEqual(EVENTS);
  });

  it("does not send an event that has not ended", () => {
    expect(new SseParser().feed(bytes("data: half"))).toEqual([]);
  });

  it("refuses an event without an end", () => {
    const parser = new SseParser();
    const line = bytes(`data: ${"x".repeat(EVENT_CHARACTERS_MAX / 4)}\n`);
    expect(() => {
      for (let times = 0; times < 5; times += 1) parser.feed(line);
    }).toThrow(ConnectionLost);
  });
});

describe("readEvents", () => {
  it("gives up on a connection that has fallen silent", async () => {
    const silent = new Response(
      new ReadableStream({ start: (c) => c.enqueue(bytes("data: 1\n\n")) }),
    );
    const seen: string[] = [];
    const reading = (async () => {
      for await (const event of readEvents(silent, 20)) seen.push(event.data);
    })();
    await expect(reading).rejects.toBeInstanceOf(ConnectionLost);
    expect(seen).toEqual(["1"]);
  });

  it("calls a broken body a lost connection", async () => {
    const broken = new Response(
      new ReadableStream({ pull: (c) => c.error(new TypeError("network error")) }),
    );
    await expect(readEvents(broken).next()).rejects.toBeInstanceOf(ConnectionLost);
  });

  it("closes the body when the reader stops early", async () => {
    let cancelled = false;
    const body = new ReadableStream({
      start: (c) => c.enqueue(bytes("data: 1\n\n")),
      cancel() {
        cancelled = true;
      },
    });
    for await (const _ of readEvents(new Response(body))) break;
    expect(cancelled).toBe(true);
  });
});
