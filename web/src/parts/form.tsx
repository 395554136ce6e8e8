// A form: Enter sends it as its button does, and what went wrong stands beside that button.
import type { ReactNode } from "react";
import type { Acted } from "./act";
import { Button } from "./button";
import { Notice } from "./notice";

/** In a column, or with `inLine` in one line that wraps. */
export function Form({
  onSend,
  inLine = false,
  className = inLine ? "flex flex-wrap items-end gap-3" : "space-y-4",
  children,
}: {
  onSend: () => void;
  inLine?: boolean;
  className?: string;
  children: ReactNode;
}) {
  return (
    <form
      className={className}
      onSubmit={(event) => {
        event.preventDefault();
        onSend();
      }}
    >
      {children}
    </form>
  );
}

/** The end of a form in a column: what went wrong, and the button that sends it. */
export function FormEnd({
  acted,
  ready,
  children,
}: {
  acted: Acted;
  ready: boolean;
  children: ReactNode;
}) {
  return (
    <div className="space-y-3 sm:col-span-full">
      <Failed acted={acted} />
      <div className="flex justify-end">
        <Button kind="primary" type="submit" disabled={!ready}>
          {children}
        </Button>
      </div>
    </div>
  );
}

/** What went wrong, until it is dismissed or the next step is done. */
export function Failed({ acted: { error, dismiss } }: { acted: Acted }) {
  return error === null ? null : <Notice error={error} onDismiss={dismiss} />;
}
