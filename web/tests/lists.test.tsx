// What keeps long lists small: joined pages of a thread, boxes that are drawn only when near.
import { act, cleanup, render, screen } from "@testing-library/react";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Item, Page } from "../src/api/wire";
import { joined } from "../src/chat/queries";
import { heightOf, TurnList, WHOLE_TURNS_MAX } from "../src/chat/turn-list";
import { nameCells } from "../src/parts/table";

const item = (id: string): Item => ({
  type: "message",
  id,
  role: "user",
  status: "completed",
  content: [],
});
const page = (ids: string, more = true): Page<Item> => {
  const data = [...ids].map(item);
  return { data, has_more: more, last_id: data.at(-1)?.id ?? null };
};
const ids = (pages: readonly Page<Item>[]) =>
  pages.flatMap((each) => each.data.map(({ id }) => id)).join("");

describe("the newest page", () => {
  const known = { pages: [page("fed"), page("cba", false)], pageParams: [null, "d"] };

  it("takes the place of what it covers, and the older ones stay", () => {
    const found = joined(known, page("hgfe"));
    expect(ids(found?.pages ?? [])).toBe("hgfedcba");
    expect(found?.pageParams).toEqual([null, "e"]);
    expect(found?.pages.at(-1)?.has_more).toBe(false);
  });

  it("does not meet another branch, or a thread of which one page is known", () => {
    expect(joined(known, page("zyx"))).toBeNull();
    expect(joined({ pages: [page("fed")], pageParams: [null] }, page("gfed"))).toBeNull();
    expect(joined(known, page(""))).toBeNull();
  });
});

describe("a long thread", () => {
  let observed: Element[] = [];
  let tell: (entries: unknown[]) => void = () => undefined;
  beforeEach(() => {
    observed = [];
    vi.stubGlobal(
      "IntersectionObserver",
      class {
        constructor(heard: (entries: unknown[]) => void) {
          tell = heard;
        }
        observe(element: Element) {
          observed.push(element);
        }
        unobserve() {}
        disconnect() {}
      },
    );
  });
  afterEach(() => {
    cleanup();
    vi.unstubAllGlobals();
  });

  const turns = (count: number) =>
    Array.from({ length: count }, (_, place) => ({ key: String(place), text: `turn ${place}` }));
  const show = (count: number) =>
    render(
      <div data-scroller="">
        <TurnList turns={turns(count)} drawOne={(turn) => <p>{turn.text}</p>} />
      </div>,
    );
  const entry = (target: Element | undefined, isIntersecting: boolean) => ({
    target,
    isIntersecting,
    boundingClientRect: { height: 321 },
  });

  it("is drawn whole while it is short", () => {
    show(WHOLE_TURNS_MAX);
    expect(screen.getAllByText(/^turn/)).toHaveLength(WHOLE_TURNS_MAX);
  });

  it("draws its end, and more when that comes near; what leaves keeps its height", () => {
    show(WHOLE_TURNS_MAX + 100);
    expect(screen.getAllByText(/^turn/).length).toBeLessThan(40);
    expect(screen.queryByText("turn 5")).toBeNull();
    const fifth = observed[5] as HTMLElement;
    expect(fifth.style.height).toBe(`${heightOf("turn 5")}px`);
    act(() => tell([entry(fifth, true)]));
    expect(screen.getByText("turn 5")).toBeTruthy();
    act(() => tell([entry(fifth, false)]));
    expect(screen.queryByText("turn 5")).toBeNull();
    expect(fifth.style.height).toBe("321px");
  });

  it("keeps what somebody writes in", () => {
    render(
      <div data-scroller="">
        <TurnList
          turns={turns(WHOLE_TURNS_MAX + 1)}
          drawOne={(turn) => <textarea aria-label={turn.text} />}
        />
      </div>,
    );
    act(() => tell([entry(observed.at(-1), false)]));
    expect(screen.getByLabelText(`turn ${WHOLE_TURNS_MAX}`)).toBeTruthy();
  });

  it("has higher boxes for longer texts", () => {
    expect(heightOf("one")).toBeLessThan(heightOf("one\ntwo"));
    expect(heightOf("x".repeat(300))).toBe(heightOf("a\nb\nc\nd\ne"));
  });
});

describe("a table on a phone", () => {
  it("tells each cell the name of its column, but for what is only spoken", () => {
    const { container } = render(
      <table>
        <thead>
          <tr>
            <th>Name</th>
            <th>Cost</th>
            <th>
              <span className="sr-only">Actions</span>
            </th>
          </tr>
        </thead>
        <tbody>
          <tr>
            <td>a</td>
            <td>1</td>
            <td>Remove</td>
          </tr>
        </tbody>
      </table>,
    );
    nameCells(container.querySelector("table") as HTMLTableElement);
    const names = [...container.querySelectorAll("td")].map((cell) => cell.dataset.column);
    expect(names).toEqual([undefined, "Cost", ""]);
    cleanup();
  });
});
