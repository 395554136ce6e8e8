// Buttons are words. One of them per view is filled: the one that acts.
import type { ComponentProps } from "react";

type Kind = "primary" | "plain" | "text" | "link" | "danger";

const SHAPES: Record<Kind, string> = {
  primary: "rounded bg-accent px-3 text-on-accent disabled:bg-wash disabled:text-soft",
  plain: "rounded border border-line px-3 hover:border-edge",
  text: "text-soft hover:text-ink disabled:text-soft",
  link: "underline decoration-line underline-offset-4 hover:decoration-accent disabled:text-soft",
  danger: "rounded border border-red px-3 text-red",
};

/** `inline` sits in a line of text: no height of its own, but for fingers. */
export function Button({
  kind = "text",
  inline = false,
  className = "",
  ...rest
}: ComponentProps<"button"> & { kind?: Kind; inline?: boolean }) {
  const size = inline
    ? "text-xs leading-[1.375rem] pointer-coarse:min-h-8"
    : "min-h-8 max-md:min-h-11";
  return (
    <button
      type="button"
      className={`inline-flex items-center justify-center whitespace-nowrap ${size} ${SHAPES[kind]} ${className}`}
      {...rest}
    />
  );
}
