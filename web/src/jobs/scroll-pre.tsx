// Text that grows at its end, followed until the person scrolls away.
import { useRef } from "react";
import { useFollowScroll } from "../parts/follow-scroll";

export function ScrollPre({ label, text }: { label: string; text: string }) {
  const scroller = useRef<HTMLElement>(null);
  const content = useRef<HTMLPreElement>(null);
  useFollowScroll(scroller, content);
  return (
    <section
      ref={scroller}
      aria-label={label}
      // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, so the keyboard must reach it.
      tabIndex={0}
      className="max-h-72 overflow-auto bg-wash"
    >
      <pre ref={content} className="p-3 font-mono text-xs whitespace-pre-wrap">
        {text}
      </pre>
    </section>
  );
}
