// All conversations as a file, and conversations from a file: of this server, ChatGPT or Open WebUI.
import { useState } from "react";
import { ApiError, ConnectionLost } from "../api/errors";
import { ask } from "../api/routes";
import { queries } from "../frame/client";
import { plural, t } from "../language/t";
import { Button } from "../parts/button";
import { Modal } from "../parts/modal";
import { Notice } from "../parts/notice";
import { readJson } from "../playground/checks";

const FORMS = ["openai", "openwebui"] as const;

export function Transfer({ open, onClose }: { open: boolean; onClose: () => void }) {
  return (
    <Modal open={open} onClose={onClose} title={t("transfer.title")}>
      {open && <Form />}
    </Modal>
  );
}

function Form() {
  const [error, setError] = useState<unknown>(null);
  const [said, setSaid] = useState("");
  const bring = async (file: File) => {
    setSaid("");
    setError(null);
    const { value } = readJson(await file.text());
    if (typeof value !== "object" || value === null) {
      setSaid(t("transfer.wrong"));
      return;
    }
    const body = (Array.isArray(value) ? value : [value]) as Record<string, unknown>[];
    try {
      const made = await ask("POST /api/import", { body });
      setSaid(plural("transfer.brought", made.conversation_ids.length));
      await queries.invalidateQueries({ queryKey: ["conversations"] });
    } catch (failure) {
      if (!(failure instanceof ApiError || failure instanceof ConnectionLost)) throw failure;
      setError(failure);
    }
  };
  return (
    <div className="space-y-5">
      <div className="space-y-1">
        <p className="text-xs text-soft">{t("transfer.out")}</p>
        <p className="flex flex-wrap gap-x-5">
          {FORMS.map((format) => (
            <a
              key={format}
              href={`/api/export?format=${format}`}
              download={`conversations-${format}.json`}
              className="underline decoration-line underline-offset-4 hover:decoration-accent"
            >
              {t(`transfer.as_${format}`)}
            </a>
          ))}
        </p>
      </div>
      <label className="block space-y-1">
        <span className="block text-xs text-soft">{t("transfer.in")}</span>
        <input
          type="file"
          accept=".json,application/json"
          onChange={(event) => {
            const [file] = event.target.files ?? [];
            if (file) void bring(file);
          }}
          className="w-full file:me-3 file:rounded file:border file:border-line file:bg-transparent file:px-3 file:py-1 file:text-ink"
        />
      </label>
      {said !== "" && <p role="status">{said}</p>}
      {error !== null && <Notice error={error} onDismiss={() => setError(null)} />}
    </div>
  );
}

/** The way to it, under the list. */
export function TransferButton() {
  const [open, setOpen] = useState(false);
  return (
    <>
      <Button className="px-2 text-xs" onClick={() => setOpen(true)}>
        {t("transfer.open")}
      </Button>
      <Transfer open={open} onClose={() => setOpen(false)} />
    </>
  );
}
