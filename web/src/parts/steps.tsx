// The steps on the way to a message: what the model thought, what it calls, what came of it.
import { t } from "../language/t";

export function Thoughts({ text, writing = false }: { text: string; writing?: boolean }) {
  return (
    <details className="mb-2">
      <summary className="text-xs text-soft">
        {t(writing ? "view.thinking" : "view.reasoning")}
      </summary>
      <p className="mt-1 max-w-[68ch] whitespace-pre-wrap text-soft [overflow-wrap:anywhere]">
        {text}
      </p>
    </details>
  );
}

/** Arguments as a person reads them; as they are while they are not whole yet. */
export function readable(json: string): string {
  try {
    return JSON.stringify(JSON.parse(json), null, 2);
  } catch {
    return json;
  }
}

export function Call({ name, given }: { name: string; given: string }) {
  return <Source label={t("view.call", { name })} text={`${name}(${readable(given)})`} />;
}

export function Outcome({ text }: { text: string }) {
  return <Source label={t("view.outcome")} text={readable(text)} />;
}

function Source({ label, text }: { label: string; text: string }) {
  return (
    // Not a region: several may have one name, and landmarks must be told apart.
    // biome-ignore lint/a11y/useSemanticElements: a fieldset is for what is filled in.
    <div
      role="group"
      aria-label={label}
      // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, so the keyboard must reach it.
      tabIndex={0}
      className="mt-2 max-h-80 max-w-[68ch] overflow-auto rounded bg-wash"
    >
      <pre className="p-3 font-mono text-[0.8125rem] leading-5">
        <code>{text}</code>
      </pre>
    </div>
  );
}
