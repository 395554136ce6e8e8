// A column that scrolls, follows what grows at its end, and offers the way back to it.
import { type ReactNode, useImperativeHandle, useRef } from "react";
import { t } from "../language/t";
import { Button } from "./button";
import { useFollowScroll } from "./follow-scroll";

export interface ScrollHandle {
  toEnd(): void;
}

export function ScrollArea({
  label,
  handle,
  children,
}: {
  label: string;
  handle?: React.Ref<ScrollHandle>;
  children: ReactNode;
}) {
  const scroller = useRef<HTMLElement>(null);
  const content = useRef<HTMLDivElement>(null);
  const { behind, toEnd } = useFollowScroll(scroller, content);
  useImperativeHandle(handle, () => ({ toEnd }), [toEnd]);
  return (
    <div className="relative min-h-0 grow">
      <section
        ref={scroller}
        aria-label={label}
        data-scroller=""
        // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, so the keyboard must reach it.
        tabIndex={0}
        className="h-full overflow-y-auto overscroll-contain px-5 -outline-offset-2 max-md:px-4"
      >
        <div ref={content} className="mx-auto max-w-[52rem]">
          {children}
        </div>
      </section>
      {behind && (
        <Button
          kind="plain"
          onClick={toEnd}
          className="absolute bottom-3 left-1/2 -translate-x-1/2 bg-paper"
        >
          {t("chat.new_text")}
        </Button>
      )}
    </div>
  );
}
