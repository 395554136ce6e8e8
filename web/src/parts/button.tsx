// Buttons are words. One of them per view is filled: the one that acts.
import type { ComponentProps } from "react";

type Kind = "primary" | "plain" | "text" | "danger";

const SHAPES: Record<Kind, string> = {
  primary: "rounded bg-accent px-3 text-on-accent disabled:bg-wash disabled:text-soft",
  plain: "rounded border border-line px-3 hover:border-edge",
  text: "text-soft hover:text-ink disabled:text-soft",
  danger: "rounded border border-red px-3 text-red",
};

export function Button({
  kind = "text",
  className = "",
  ...rest
}: ComponentProps<"button"> & { kind?: Kind }) {
  return (
    <button
      type="button"
      className={`inline-flex min-h-8 items-center justify-center whitespace-nowrap max-md:min-h-11 ${SHAPES[kind]} ${className}`}
      {...rest}
    />
  );
}
