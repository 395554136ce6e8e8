// A text field as high as its text. A hidden twin in the same grid cell sets the height, so no
// script measures anything while a person types.
import type { ComponentProps, Ref } from "react";

export function GrowingText({
  value,
  ref,
  className = "",
  ...rest
}: ComponentProps<"textarea"> & { value: string; ref?: Ref<HTMLTextAreaElement> }) {
  return (
    <div className="growing">
      <div aria-hidden="true" className={`twin ${className}`}>
        {/* The last character gives a trailing new line its height. */}
        {`${value || rest.placeholder || ""}\u200b`}
      </div>
      <textarea ref={ref} rows={1} value={value} className={className} {...rest} />
    </div>
  );
}
