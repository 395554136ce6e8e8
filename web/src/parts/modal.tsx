// A dialog in the middle or a sheet at an edge, on the browser's own <dialog>: it keeps the focus
// inside, closes on Escape, makes the rest inert and gives the focus back.
import { type ReactNode, useEffect, useId, useRef } from "react";
import { t } from "../language/t";
import { Button } from "./button";

const PLACES = {
  center:
    "m-auto w-[min(44rem,calc(100vw-2rem))] max-h-[calc(100dvh-2rem)] rounded border border-line",
  left: "me-auto ms-0 h-dvh w-[min(17rem,85vw)] border-e border-line",
  right: "ms-auto me-0 h-dvh w-[min(20rem,90vw)] border-s border-line",
  side: "ms-auto me-0 h-dvh w-[min(46rem,100vw)] border-s border-line",
};

export function Modal({
  open,
  onClose,
  title,
  place = "center",
  children,
}: {
  open: boolean;
  onClose: () => void;
  title: string;
  place?: keyof typeof PLACES;
  children: ReactNode;
}) {
  const dialog = useRef<HTMLDialogElement>(null);
  const heading = useId();
  useEffect(() => {
    const element = dialog.current;
    if (element === null) return;
    if (open && !element.open) element.showModal();
    if (!open && element.open) element.close();
  }, [open]);
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: Escape already closes a dialog; this is the click beside it.
    <dialog
      ref={dialog}
      aria-labelledby={heading}
      onClose={onClose}
      onClick={(event) => {
        if (event.target === dialog.current) onClose();
      }}
      className={`overflow-hidden p-0 ${PLACES[place]}`}
    >
      {open && (
        <div className="flex h-full max-h-[inherit] flex-col">
          <div className="flex items-center justify-between gap-4 border-b border-line px-4 py-2">
            <h2 id={heading}>{title}</h2>
            <Button onClick={onClose}>{t("common.close")}</Button>
          </div>
          <div className="min-h-0 grow overflow-y-auto p-4">{children}</div>
        </div>
      )}
    </dialog>
  );
}
