// Forms of the Models and Keys pages: what is shown of a thing, and what is sent of it.
import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { cleanup, render, screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import type { ReactNode } from "react";
import { afterEach, describe, expect, it, vi } from "vitest";
import type { KeyBody } from "../../docs/reference/openapi";
import { RouteForm, readHedge } from "../src/models/routes";
import { readNames } from "../src/parts/names";
import { KeyForm } from "../src/people/keys";

/** Show a form before a server that takes everything; the bodies that were sent. */
function show(form: ReactNode): { path: string; body: unknown }[] {
  const sent: { path: string; body: unknown }[] = [];
  vi.stubGlobal("fetch", async (path: string, { method, body }: RequestInit = {}) => {
    if (method === "POST") sent.push({ path, body: JSON.parse(String(body)) });
    return Response.json({ data: [] });
  });
  const queries = new QueryClient({ defaultOptions: { queries: { retry: false } } });
  render(<QueryClientProvider client={queries}>{form}</QueryClientProvider>);
  return sent;
}

afterEach(() => {
  cleanup();
  vi.unstubAllGlobals();
});

describe("the form of an alias", () => {
  const route = {
    name: "fast",
    targets: [{ model: "tiny", weight: 1 }],
    fallbacks: ["large"],
    hedge_milliseconds: 1_500,
    tags: ["eu"],
  };

  it("shows the silence before a second server in seconds, and its tags, and sends them back", async () => {
    const user = userEvent.setup();
    const done = vi.fn();
    const sent = show(<RouteForm route={route} onDone={done} />);
    const silence = screen.getByLabelText("Ask a second server after, in seconds");
    expect((silence as HTMLInputElement).value).toBe("1.5");
    await user.clear(silence);
    await user.type(silence, "0.25");
    await user.type(screen.getByLabelText("Tags"), ", gpu");
    await user.click(screen.getByRole("button", { name: "Save" }));
    await vi.waitFor(() => expect(done).toHaveBeenCalledOnce());
    expect(sent).toEqual([
      {
        path: "/api/model-routes",
        body: { ...route, hedge_milliseconds: 250, tags: ["eu", "gpu"] },
      },
    ]);
  });

  it("is not sent with a silence that is none", async () => {
    show(<RouteForm route={route} onDone={() => undefined} />);
    await userEvent.type(screen.getByLabelText(/second server/), "x");
    expect(screen.getByRole("alert").textContent).toBe("A number from 0 to 600.");
    expect((screen.getByRole("button", { name: "Save" }) as HTMLButtonElement).disabled).toBe(true);
  });

  it("reads seconds and lists", () => {
    expect(["", "2", "0.0004", "600.1", "-1", "soon"].map(readHedge)).toEqual([
      0,
      2_000,
      0,
      null,
      null,
      null,
    ]);
    expect(readNames(" eu , ,gpu,")).toEqual(["eu", "gpu"]);
  });
});

describe("the form of a key", () => {
  const key = {
    id: "key_1",
    name: "harbour",
    expires_at: Math.floor(Date.now() / 1000) + 36 * 3_600,
    monthly_cap_nanos: 2_500_000_000,
    server_tags: ["eu"],
  } as KeyBody;
  const path = "/api/organisation/projects/p/api_keys";

  it("changes the tags and leaves the end where it is", async () => {
    const user = userEvent.setup();
    const done = vi.fn();
    const sent = show(<KeyForm project="p" before={key} onDone={done} />);
    expect((screen.getByLabelText("Days until it expires") as HTMLInputElement).value).toBe("2");
    await user.clear(screen.getByLabelText("Only servers with these tags"));
    await user.click(screen.getByRole("button", { name: "Save" }));
    await vi.waitFor(() => expect(done).toHaveBeenCalledOnce());
    const body = { name: "harbour", monthly_cap_nanos: 2_500_000_000, server_tags: [] };
    expect(sent).toEqual([{ path: `${path}/key_1`, body }]);
  });

  it("of a new key sends its tags", async () => {
    const user = userEvent.setup();
    const done = vi.fn();
    const sent = show(<KeyForm project="p" before={null} onDone={done} />);
    await user.type(screen.getByLabelText("Name"), "boat");
    await user.type(screen.getByLabelText("Only servers with these tags"), "eu, gpu");
    await user.click(screen.getByRole("button", { name: "Make the key" }));
    await vi.waitFor(() => expect(done).toHaveBeenCalledOnce());
    const body = { name: "boat", monthly_cap_nanos: null, server_tags: ["eu", "gpu"] };
    expect(sent).toEqual([{ path, body }]);
  });
});
