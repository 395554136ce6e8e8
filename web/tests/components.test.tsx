import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { cleanup, render, screen, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import type { ReactNode } from "react";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Router } from "wouter";
import { memoryLocation } from "wouter/memory-location";
import type { JobBody } from "../../docs/reference/openapi";
import { ApiError } from "../src/api/errors";
import type { Item, TokenLogprob } from "../src/api/wire";
import { type Acts, AnswerTurn, SummaryLine, UserTurn } from "../src/chat/turn";
import { Keys } from "../src/frame/keys";
import { JobTable } from "../src/jobs/table";
import { newRun } from "../src/live/run";
import { Notice } from "../src/parts/notice";
import { AnswerBody } from "../src/playground/answer";
import { traces } from "../src/playground/bench";

const item = (role: Item["role"], status: Item["status"] = "completed"): Item => ({
  type: "message",
  id: `item-${role}`,
  role,
  status,
  content: [{ type: "output_text", text: "Words" }],
  parent_id: "parent",
});
const acts = (): Acts => ({
  edit: vi.fn(),
  regenerate: vi.fn(),
  carryOn: vi.fn(),
  walk: vi.fn(),
});
const shared = { siblings: undefined, busy: false };

function show(children: ReactNode, path = "/") {
  const location = memoryLocation({ path, record: true });
  const queries = new QueryClient({ defaultOptions: { queries: { retry: false } } });
  render(
    <QueryClientProvider client={queries}>
      <Router hook={location.hook}>{children}</Router>
    </QueryClientProvider>,
  );
  return location;
}

beforeEach(() => {
  // jsdom has no dialogs that open.
  HTMLDialogElement.prototype.showModal = function open() {
    this.open = true;
  };
  HTMLDialogElement.prototype.close = function close() {
    this.open = false;
  };
  vi.stubGlobal("matchMedia", () => ({ matches: false, addEventListener: () => undefined }));
});
afterEach(() => {
  cleanup();
  vi.unstubAllGlobals();
});

describe("a turn", () => {
  it("is edited into a branch, and Escape leaves it as it was", async () => {
    const user = userEvent.setup();
    const can = acts();
    const own = item("user");
    show(<UserTurn text="Why?" files={["a.txt"]} item={own} acts={can} {...shared} />);
    expect(screen.getByText("a.txt")).toBeTruthy();
    await user.click(screen.getByRole("button", { name: "Edit" }));
    await user.keyboard("{Escape}");
    expect(screen.getByText("Why?")).toBeTruthy();
    await user.click(screen.getByRole("button", { name: "Edit" }));
    await user.clear(screen.getByRole("textbox"));
    await user.type(screen.getByRole("textbox"), "How?");
    await user.click(screen.getByRole("button", { name: "Ask again" }));
    expect(can.edit).toHaveBeenCalledWith(own, "How?");
  });

  it("walks its branches, and stops at either end", async () => {
    const can = acts();
    const siblings = { at: 1, ids: ["one", "two"] };
    const answer = {
      text: "x",
      run: undefined,
      responseId: null,
      question: null,
      last: true,
      busy: false,
    };
    show(<AnswerTurn {...answer} item={item("assistant")} acts={can} siblings={siblings} />);
    const after = screen.getByRole("button", { name: "Branch after this one" });
    expect((after as HTMLButtonElement).disabled).toBe(true);
    await userEvent.click(screen.getByRole("button", { name: "Branch before this one" }));
    expect(can.walk).toHaveBeenCalledWith("one");
  });

  it("offers to go on only where an answer was cut, at the end", () => {
    const answer = {
      text: "x",
      run: undefined,
      responseId: null,
      question: null,
      acts: acts(),
      ...shared,
    };
    const cut = item("assistant", "incomplete");
    show(
      <>
        <AnswerTurn {...answer} item={cut} last={false} />
        <AnswerTurn {...answer} item={item("assistant")} last={true} />
        <AnswerTurn {...answer} item={cut} last={true} />
      </>,
    );
    expect(screen.getAllByRole("button", { name: "Continue" })).toHaveLength(1);
  });

  it("as a summary opens, and can be taken back", async () => {
    const undo = vi.fn();
    show(<SummaryLine text="In short." onUndo={undo} />);
    await userEvent.click(screen.getByText(/stand as a summary/));
    await userEvent.click(screen.getByRole("button", { name: "Take the summary back" }));
    expect(undo).toHaveBeenCalledOnce();
  });
});

describe("a refusal", () => {
  it("is a sentence with what was kept, a countdown and the request's id", () => {
    const error = new ApiError("", 429, "rate_limit_requests", null, "req_7", 30);
    show(<Notice error={error} kept="Your message is kept." onRetry={() => undefined} />);
    expect(screen.getByRole("alert").textContent).toBe(
      "The limit of requests per minute is reached. Your message is kept.",
    );
    expect(screen.getByText(/^Wait (29|30) s\.$/)).toBeTruthy();
    expect(screen.getByText("Request req_7")).toBeTruthy();
    const again = screen.getByRole("button", { name: "Try again" }) as HTMLButtonElement;
    expect(again.disabled).toBe(true);
  });
});

describe("the table of jobs", () => {
  const job = (id: string, change: Partial<JobBody>): JobBody =>
    ({
      id,
      name: id,
      priority_class: "normal",
      queue: "default",
      state: "queued",
      gpus: 8,
      seats: [],
      held_seats: [],
      preemptions: 0,
      array_index: null,
      submitted_at: 0,
      ended_at: null,
      why: null,
      detail: null,
      evidence: null,
      ...change,
    }) as JobBody;

  it("says why each waits and is walked by arrow keys", async () => {
    const user = userEvent.setup();
    show(
      <JobTable
        jobs={[
          job("one", { why: "needs 3 more GPUs" }),
          job("two", { preemptions: 1 }),
          job("three", { state: "failed", detail: "exit status 3", ended_at: 60 }),
        ]}
      />,
    );
    const rows = screen.getAllByRole("row").slice(1);
    expect(rows[0]?.textContent).toContain("needs 3 more GPUs");
    expect(rows[1]?.textContent).toContain("preempted");
    expect(rows[2]?.textContent).toContain("exit status 3");
    within(rows[0] as HTMLElement)
      .getByRole("link")
      .focus();
    await user.keyboard("{ArrowDown}{ArrowDown}{ArrowDown}");
    expect(document.activeElement?.textContent).toBe("three");
  });
});

describe("the keyboard", () => {
  it("goes to an area by g and a letter, but not while a person writes", async () => {
    const user = userEvent.setup();
    const location = show(
      <>
        <Keys />
        <input aria-label="field" />
      </>,
    );
    await user.keyboard("gj");
    expect(location.history?.at(-1)).toBe("/jobs");
    await user.click(screen.getByLabelText("field"));
    await user.keyboard("gu");
    expect(location.history?.at(-1)).toBe("/jobs");
  });

  it("opens the palette, which goes where Enter says", async () => {
    const user = userEvent.setup();
    const location = show(<Keys />);
    await user.keyboard("{Control>}k{/Control}");
    await user.type(screen.getByRole("combobox"), "usage");
    await user.keyboard("{Enter}");
    expect(location.history?.at(-1)).toBe("/usage");
  });

  it("lists what it does under a question mark", async () => {
    show(<Keys />);
    await userEvent.keyboard("?");
    expect(screen.getByText("Go to Cluster")).toBeTruthy();
  });
});

describe("an answer of the Playground", () => {
  it("shows each token with its chance and the others that were likely", async () => {
    const token = (text: string, logprob: number): TokenLogprob => ({
      token: text,
      logprob,
      top_logprobs: [
        { token: text, logprob },
        { token: "other", logprob: Math.log(0.2) },
      ],
    });
    const { trace } = newRun("t", 0);
    trace.tokens.push(token("Blue", Math.log(0.5)), token(" sky", Math.log(0.25)));
    trace.events.push({ afterMs: 12, data: '{"id":"c"}' });
    traces.set("t", trace);
    show(<AnswerBody id="t" text="Blue sky" run={undefined} calls={[]} />);
    await userEvent.click(screen.getByLabelText("Tokens"));
    expect(screen.getByText("50.0 %")).toBeTruthy();
    await userEvent.hover(screen.getByRole("button", { name: "sky" }));
    expect(screen.getByText("25.0 %")).toBeTruthy();
    expect(screen.getByText("other")).toBeTruthy();
    await userEvent.click(screen.getByLabelText("Events"));
    expect(screen.getByText('{"id":"c"}')).toBeTruthy();
  });
});
