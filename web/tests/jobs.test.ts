import { describe, expect, it } from "vitest";
import type { JobBody, JobEventBody } from "../../docs/reference/openapi";
import { addressOf } from "../src/api/routes";
import { series } from "../src/cluster/series";
import { isStale } from "../src/frame/fresh";
import { matching } from "../src/frame/palette";
import { BLANK, languageOf, writeFile } from "../src/jobs/file";
import { groupOf, readFilter, withPart } from "../src/jobs/filter";
import { gpusShown, slotsOf, stretches, typicalWait } from "../src/jobs/shape";
import { bytes, span } from "../src/language/format";
import { outline } from "../src/parts/strip";

const seat = (rank: number, gpus: number[]) => ({ rank, role: "worker", node: "n0", gpus });
const job = (change: Partial<JobBody>): JobBody =>
  ({
    state: "queued",
    gpus: 8,
    seats: [],
    held_seats: [],
    spec: { name: "x", roles: [{ replicas: 4, gpus: 2 }] },
    ...change,
  }) as JobBody;
const event = (kind: string, at: number): JobEventBody => ({
  kind,
  at,
  number: at,
  attempt: 1,
  reason: null,
  detail: null,
  by: null,
  step: null,
});

describe("an address of the API", () => {
  it("fills in places, leaves out what is empty and repeats lists", () => {
    const path = { job_id: "job/1" };
    expect(addressOf("GET /api/jobs/{job_id}", { path }).path).toBe("/api/jobs/job%2F1");
    const query = { limit: 5, state: "", after: undefined, names: ["a", "b"] };
    expect(addressOf("GET /api/jobs", { query })).toEqual({
      method: "GET",
      path: "/api/jobs?limit=5&names=a&names=b",
    });
  });
});

describe("the filter", () => {
  it("stands in the address and comes back from it", () => {
    const address = withPart(withPart(new URLSearchParams(), "show", "waiting"), "queue", "lab");
    expect(String(address)).toBe("show=waiting&queue=lab");
    expect(readFilter(address).states).toContain("queued");
    expect(String(withPart(address, "show", "all"))).toBe("queue=lab");
    expect(groupOf(new URLSearchParams("show=nonsense"))).toBe("all");
  });
});

describe("a job", () => {
  it("shows who sits, who is held and who is missing", () => {
    const held = job({ held_seats: [seat(0, [0, 1]), seat(1, [2, 3])] });
    expect(slotsOf(held)).toEqual(["held", "held", "missing", "missing"]);
    expect(gpusShown(held)).toEqual({ had: 4, wanted: 8, held: true });
    expect(slotsOf(job({ state: "failed" }))).toEqual([]);
  });

  it("has its life in stretches, the last one open while it lives", () => {
    const events = [event("submitted", 10), event("seats_held", 12), event("launched", 20)];
    expect(stretches([...events, event("running", 22)], 30)).toEqual([
      { phase: "waiting", from: 10, to: 20 },
      { phase: "starting", from: 20, to: 22 },
      { phase: "running", from: 22, to: 30 },
    ]);
    expect(stretches([event("submitted", 1), event("cancelled", 5)], 99).at(-1)?.to).toBe(5);
  });

  it("is TOML where a line at its left edge says so", () => {
    expect(languageOf('name = "x"\n[[roles]]\ngpus = 1\n')).toBe("plain");
    expect(languageOf(writeFile({ ...BLANK, command: "A=1 ./train" }))).toBe("yaml");
    expect(languageOf('{"name": "x"}')).toBe("yaml");
  });

  it("is written as a file that says exactly what the form says", () => {
    const text = writeFile({ ...BLANK, name: 'a: "b"', command: "echo #no", minutes: "" });
    expect(text).toContain('name: "a: \\"b\\""');
    expect(text).toContain('command: [sh, -c, "echo #no"]');
    expect(text).not.toContain("time_limit");
  });
});

describe("the cluster", () => {
  it("tells the typical wait by the class that had most", () => {
    const waits = { low: { count: 1, p50: 9, p95: 9 }, normal: { count: 5, p50: 2, p95: 4 } };
    expect(typicalWait([{ waits }])).toEqual({ p50: 2, p95: 4 });
    expect(typicalWait([{ waits: {} }])).toBeNull();
  });

  it("draws its history in order of time", () => {
    const values = { "cluster/gpus": 8, "cluster/gpus_free": 3, "queue/lab/waiting": 2 };
    const view = series([
      { at: 20, values },
      { at: 10, values: { ...values, "queue/other/waiting": 4 } },
    ]);
    expect(view.used).toEqual([
      { at: 10, value: 5 },
      { at: 20, value: 5 },
    ]);
    expect(view.waiting.map((point) => point.value)).toEqual([6, 2]);
    expect(outline(view.waiting, 0, 40, 8)).toBe("M150.0 12.0L300.0 36.0");
    expect(outline([], 0, 1, 1)).toBe("");
  });
});

describe("the palette", () => {
  it("finds by any words of a name", () => {
    const commands = [{ name: "Go to Jobs" }, { name: "Dark theme" }];
    expect(matching(commands, "job go")).toEqual([commands[0]]);
    expect(matching(commands, "")).toHaveLength(2);
  });
});

describe("a tab that is older than the server's page", () => {
  it("is known by the script it did not load", () => {
    const html = '<script src="/theme.js"></script><script src="/assets/index-b.js"></script>';
    expect(isStale(html, ["/theme.js", "/assets/index-a.js"])).toBe(true);
    expect(isStale(html, ["/theme.js", "/assets/index-b.js"])).toBe(false);
    expect(isStale("<p>not built</p>", ["/assets/index-a.js"])).toBe(false);
  });
});

describe("lengths and sizes", () => {
  it("are written in one or two units", () => {
    expect([span(40), span(360), span(3840), span(180_000)]).toEqual([
      "40 s",
      "6 min",
      "1 h 4 min",
      "2 d 2 h",
    ]);
    expect(bytes(1_500_000)).toBe("1.5 MB");
  });
});
