// A page that is read more than written: its head, one sentence, and what belongs to it, in one
// column that scrolls.
import type { ReactNode } from "react";
import { PageHead } from "./head";

export function Page({
  title,
  sentence,
  actions,
  children,
}: {
  title: string;
  /** The state of things in one sentence. */
  sentence?: ReactNode;
  actions?: ReactNode;
  children: ReactNode;
}) {
  return (
    <div className="flex h-full min-w-0 flex-col">
      <PageHead title={title}>{actions}</PageHead>
      <section
        aria-label={title}
        // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, so the keyboard must reach it.
        tabIndex={0}
        className="relative min-h-0 grow overflow-y-auto px-5 py-4 -outline-offset-2 max-md:px-4"
      >
        <div className="max-w-[96rem] space-y-5">
          {sentence && <p className="max-w-[80ch] text-soft">{sentence}</p>}
          {children}
        </div>
      </section>
    </div>
  );
}

/** A part of a page under a quiet heading. */
export function Part({
  title,
  actions,
  children,
}: {
  title: string;
  actions?: ReactNode;
  children: ReactNode;
}) {
  return (
    <div className="space-y-2">
      <div className="flex flex-wrap items-baseline gap-x-4">
        <h2 className="text-xs text-soft">{title}</h2>
        {actions}
      </div>
      {children}
    </div>
  );
}

/** What stands where nothing is yet: what belongs here, and how to make the first one. */
export function Empty({ title, children }: { title: string; children?: ReactNode }) {
  return (
    <div className="max-w-[68ch] space-y-3 py-4">
      <p>{title}</p>
      <div className="space-y-3 text-soft">{children}</div>
    </div>
  );
}
