// A table of the page: hairlines and quiet heads. On a phone each row becomes a few lines, and every
// cell then carries the name of its column, which is taken from the head.
import { type ReactNode, useLayoutEffect, useRef } from "react";
import { t } from "../language/t";
import type { Acted } from "./act";
import { Failed } from "./form";

/** Write the name of its column to every cell; cells of the first column need none. */
export function nameCells(table: HTMLTableElement): void {
  const heads = Array.from(table.tHead?.rows[0]?.cells ?? [], (cell) =>
    // A head that is only spoken is no name to show.
    cell.querySelector(".sr-only") ? "" : cell.textContent.trim(),
  );
  for (const row of table.tBodies[0]?.rows ?? []) {
    for (const cell of Array.from(row.cells).slice(1)) {
      const name = heads[cell.cellIndex] ?? "";
      if (cell.dataset.column !== name) cell.dataset.column = name;
    }
  }
}

export function Table({ children }: { children: ReactNode }) {
  const table = useRef<HTMLTableElement>(null);
  // Rows come with the children, so there is nothing to watch between renders.
  useLayoutEffect(() => {
    if (table.current !== null) nameCells(table.current);
  });
  return (
    <div className="wide">
      <table ref={table} className="ledger cards">
        {children}
      </table>
    </div>
  );
}

/** The head of the column of what may be done with a row; it is only spoken. */
export function ActionsHead() {
  return (
    <th>
      <span className="sr-only">{t("cluster.actions")}</span>
    </th>
  );
}

/** The last cell of a row: what may be done with it, and why the last step could not be done. */
export function ActionsCell({ acted, children }: { acted?: Acted; children: ReactNode }) {
  return (
    <td className="text-end">
      {children && <span className="inline-flex gap-4">{children}</span>}
      {acted && <Failed acted={acted} />}
    </td>
  );
}
