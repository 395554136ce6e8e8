// The script and its parameters as a program to copy.
import { useState } from "react";
import type { CompletionRequest } from "../api/wire";
import { t } from "../language/t";
import { CopyButton } from "../parts/copy";
import { Modal } from "../parts/modal";
import { LANGUAGES, type Language, writeCode } from "./code";

export function CodeDialog({
  request,
  onClose,
}: {
  /** Null while the dialog is closed. */
  request: CompletionRequest | null;
  onClose: () => void;
}) {
  const [language, setLanguage] = useState<Language>("curl");
  const code = request === null ? "" : writeCode(language, window.location.origin, request);
  return (
    <Modal open={request !== null} onClose={onClose} title={t("code.title")}>
      <div className="reply space-y-3">
        <div className="flex items-center justify-between">
          <fieldset className="flex gap-4">
            <legend className="sr-only">{t("code.language")}</legend>
            {LANGUAGES.map((each) => (
              <label
                key={each}
                className="relative cursor-pointer text-soft has-checked:text-ink has-checked:underline has-checked:underline-offset-4 has-focus-visible:outline-2 has-focus-visible:outline-offset-2 has-focus-visible:outline-accent"
              >
                <input
                  type="radio"
                  name="language"
                  className="absolute inset-0 cursor-pointer opacity-0"
                  checked={language === each}
                  onChange={() => setLanguage(each)}
                />
                {t(`code.${each}`)}
              </label>
            ))}
          </fieldset>
          <CopyButton text={code} />
        </div>
        {/* biome-ignore lint/a11y/noNoninteractiveTabindex: long lines are scrolled by keyboard too. */}
        <pre tabIndex={0}>
          <code>{code}</code>
        </pre>
        <p className="text-xs text-soft">{t("code.key")}</p>
      </div>
    </Modal>
  );
}
