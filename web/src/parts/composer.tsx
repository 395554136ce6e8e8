// The field for the next message with its action, gauge and hint; used by Playground and Chat.
import type { ClipboardEvent, DragEvent, KeyboardEvent, ReactNode, Ref } from "react";
import { GrowingText } from "./grow";

export function Composer({
  label,
  value,
  onChange,
  onKeyDown,
  onFiles,
  field,
  notice,
  left,
  children,
}: {
  label: string;
  value: string;
  onChange: (text: string) => void;
  onKeyDown?: (event: KeyboardEvent<HTMLTextAreaElement>) => void;
  /** Files that are dropped or pasted here. */
  onFiles?: (files: File[]) => void;
  field?: Ref<HTMLTextAreaElement>;
  notice?: ReactNode;
  left: ReactNode;
  children: ReactNode;
}) {
  return (
    <div className="border-t border-line px-5 pt-3 pb-[max(0.75rem,env(safe-area-inset-bottom))] max-md:px-4">
      <div className="mx-auto max-w-[52rem] space-y-3">
        {notice}
        <div className="field max-h-[40dvh] overflow-y-auto border-line focus-within:border-accent focus-within:outline focus-within:outline-accent">
          <GrowingText
            {...(field ? { ref: field } : {})}
            aria-label={label}
            placeholder={label}
            value={value}
            onChange={(event) => onChange(event.target.value)}
            {...(onKeyDown ? { onKeyDown } : {})}
            {...(onFiles ? takesFiles(onFiles) : {})}
            className="quiet-focus min-h-16 w-full bg-transparent px-2.5 py-2 max-md:min-h-12"
          />
        </div>
        <div className="flex flex-wrap items-center gap-x-4 gap-y-2">
          {left}
          <div className="ms-auto flex items-center gap-3">{children}</div>
        </div>
      </div>
    </div>
  );
}

/** True where a person presses keys on a screen, so that Enter makes a new line. */
export const touchKeyboard = (): boolean => matchMedia("(pointer: coarse)").matches;

export const isMac = (): boolean => /mac|iphone|ipad/i.test(navigator.platform);

const takesFiles = (take: (files: File[]) => void) => ({
  onPaste: (event: ClipboardEvent) => {
    if (event.clipboardData.files.length === 0) return;
    event.preventDefault();
    take(Array.from(event.clipboardData.files));
  },
  onDrop: (event: DragEvent) => {
    if (event.dataTransfer.files.length === 0) return;
    event.preventDefault();
    take(Array.from(event.dataTransfer.files));
  },
});
