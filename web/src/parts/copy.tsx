// A button that copies a text and says so.
import { useEffect, useState } from "react";
import { t } from "../language/t";
import { announce } from "./announcer";
import { Button } from "./button";

const SAID_MS = 1600;

export function CopyButton({
  text,
  label,
  className = "",
  inline = false,
}: {
  text: string;
  label?: string;
  className?: string;
  inline?: boolean;
}) {
  const [done, setDone] = useState(false);
  useEffect(() => {
    if (!done) return;
    const timer = setTimeout(() => setDone(false), SAID_MS);
    return () => clearTimeout(timer);
  }, [done]);
  const copy = async () => {
    try {
      // Missing over plain HTTP from another machine; the text can then still be selected.
      await navigator.clipboard.writeText(text);
      setDone(true);
      announce(t("common.copied"));
    } catch {
      announce(t("common.copy_failed"));
    }
  };
  return (
    <Button
      className={className}
      inline={inline}
      onClick={copy}
      {...(label ? { "aria-label": label } : {})}
    >
      {done ? t("common.copied") : t("common.copy")}
    </Button>
  );
}
