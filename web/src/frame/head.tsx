// The line at the top of a page: its name, what it is about, and its actions as words.
import { type ReactNode, useEffect } from "react";
import { t } from "../language/t";
import { Button } from "../parts/button";
import { openMenu } from "./menu";

export function PageHead({
  title,
  about,
  children,
}: {
  title: string;
  about?: ReactNode;
  children?: ReactNode;
}) {
  useEffect(() => {
    document.title = `${title} · ${t("app.name")}`;
  }, [title]);
  return (
    <header className="flex min-h-12 items-center gap-4 border-b border-line px-5 max-md:px-4">
      <Button className="md:hidden" onClick={openMenu}>
        {t("nav.menu")}
      </Button>
      <h1 className="min-w-0 truncate">{title}</h1>
      {about}
      <div className="ms-auto flex items-center gap-4">{children}</div>
    </header>
  );
}
