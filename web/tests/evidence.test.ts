// Why a job waits, from the server's numbers, in each language.
import { afterEach, describe, expect, it } from "vitest";
import type { ChangeBody } from "../../docs/reference/openapi";
import { changeWords, evidenceWords } from "../src/jobs/evidence";
import { LANGUAGES, speak } from "../src/language/t";

afterEach(() => speak("en"));

describe("the numbers of a wait", () => {
  const short = { about: "job_1", members_needed: 4, members_possible: 1, gpus_free: 2.5 };

  it("are those that are known", async () => {
    expect(evidenceWords("job_1", null)).toBe("");
    expect(evidenceWords("job_1", {})).toBe("");
    expect(evidenceWords("job_1", short)).toBe("1 of 4 members would fit · GPUs free: 2.50");
    await speak("de");
    expect(evidenceWords("job_1", short)).toBe("1 von 4 Mitgliedern passen · freie GPUs: 2,50");
    await speak("zh-CN");
    expect(evidenceWords("job_1", short)).toBe("4 个成员中可容纳 1 个 · 空闲 GPU：2.50");
  });

  it("name the other job, the queue and the times", () => {
    expect(evidenceWords("job_1", { about: "job_2" })).toBe("job_2");
    const quota = { queue: "night", queue_gpus_used: 8, queue_gpus_left: 0 };
    expect(evidenceWords("job_1", quota)).toBe("queue night: 8 GPUs in use, 0 more allowed");
    expect(evidenceWords("job_1", { until: 0, planned_start: 60 })).toMatch(
      /^until .+ · planned start /,
    );
  });
});

describe("a change with which a job would start", () => {
  const changes: ChangeBody[] = [
    { kind: "loose_topology", count: 0, name: "rack" },
    { kind: "any_model", count: 0, name: "" },
    { kind: "fewer_gpus", count: 1, name: "worker" },
    { kind: "fewer_gpus", count: 2, name: "worker" },
    { kind: "fewer_members", count: 3, name: "worker" },
  ];

  it("is a sentence with its numbers in every language", async () => {
    for (const language of Object.keys(LANGUAGES) as (keyof typeof LANGUAGES)[]) {
      await speak(language);
      const said = changes.map(changeWords);
      expect(new Set(said).size).toBe(changes.length);
      expect(said.join("")).not.toMatch(/[{}]/);
      expect(said[0]).toContain("rack");
      expect(said[4]).toMatch(/3.*worker|worker.*3/);
    }
  });
});
