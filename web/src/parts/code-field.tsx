// A text in the form of a program reads: with colours, line numbers and the line at fault marked. The
// editor itself comes when the first such field is shown.
import { lazy, Suspense } from "react";
import { t } from "../language/t";
import type { CodeEditorProps } from "./code-editor";

const CodeEditor = lazy(() => import("./code-editor"));

export function CodeField({
  rows,
  hint,
  fault = null,
  ...editor
}: Omit<CodeEditorProps, "wrong"> & {
  rows: number;
  hint?: string;
  /** What is wrong; replaces the hint. */
  fault?: string | null;
}) {
  return (
    <div className="space-y-1">
      {/* The editor carries the name itself. */}
      <p aria-hidden="true" className="text-xs text-soft">
        {editor.label}
      </p>
      <div
        className="field h-[calc(var(--rows)*1lh+0.625rem)] max-h-[60dvh] overflow-hidden font-mono text-base leading-6 focus-within:outline-2 focus-within:outline-offset-2 focus-within:outline-accent md:text-[0.8125rem] md:leading-5"
        style={{ "--rows": rows } as React.CSSProperties}
      >
        <Suspense>
          <CodeEditor {...editor} wrong={fault !== null} />
        </Suspense>
      </div>
      {fault ? (
        <p role="alert" className="text-xs text-red">
          {fault}
        </p>
      ) : (
        <p className="text-xs text-soft">
          {hint} <span className="pointer-coarse:hidden">{t("code.keys")}</span>
        </p>
      )}
    </div>
  );
}
