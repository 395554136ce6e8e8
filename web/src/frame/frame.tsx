// The frame around every area: navigation at the left, a sheet instead of it on narrow screens.
import type { ReactNode } from "react";
import type { Session } from "../api/wire";
import { t } from "../language/t";
import { Modal } from "../parts/modal";
import { closeMenu, useMenu } from "./menu";
import { Navigation } from "./navigation";

export function Frame({ session, children }: { session: Session; children: ReactNode }) {
  const { open } = useMenu();
  return (
    <div className="grid h-dvh md:grid-cols-[11rem_minmax(0,1fr)]">
      <a
        href="#content"
        className="sr-only z-10 bg-paper p-3 focus:not-sr-only focus:absolute focus:top-2 focus:start-2"
      >
        {t("app.skip")}
      </a>
      <div className="min-h-0 border-e border-line max-md:hidden">
        <Navigation session={session} />
      </div>
      <Modal open={open} onClose={closeMenu} title={t("app.name")} place="left">
        <Navigation session={session} />
      </Modal>
      <main id="content" tabIndex={-1} className="quiet-focus min-h-0 min-w-0">
        {children}
      </main>
    </div>
  );
}
