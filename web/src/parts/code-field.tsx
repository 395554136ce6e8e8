// A text whose lines have numbers: what a mistake is about can be found. The line at fault is marked.
import { useId, useRef } from "react";

export function CodeField({
  label,
  value,
  onChange,
  rows,
  placeholder,
  hint,
  fault,
  line = null,
}: {
  label: string;
  value: string;
  onChange: (value: string) => void;
  rows: number;
  placeholder?: string;
  hint?: string;
  /** What is wrong; replaces the hint. */
  fault?: string | null;
  /** The line that it is about, counted from 1. */
  line?: number | null;
}) {
  const id = useId();
  const numbers = useRef<HTMLDivElement>(null);
  const count = value.split("\n").length;
  return (
    <div className="space-y-1">
      <label htmlFor={id} className="block text-xs text-soft">
        {label}
      </label>
      <div className="field flex font-mono leading-5 max-md:leading-6 md:text-[0.8125rem] focus-within:outline-2 focus-within:outline-offset-2 focus-within:outline-accent">
        <div
          ref={numbers}
          aria-hidden="true"
          // As high as the text beside it, whatever it holds.
          className="shrink-0 overflow-hidden py-1 text-end text-soft select-none [contain:size]"
          style={{ width: `${String(count).length + 1}ch` }}
        >
          {Array.from({ length: count }, (_, place) => (
            <div key={place} className={place + 1 === line ? "text-red" : ""}>
              {place + 1}
            </div>
          ))}
        </div>
        <textarea
          id={id}
          rows={rows}
          value={value}
          placeholder={placeholder}
          spellCheck={false}
          aria-invalid={Boolean(fault)}
          aria-describedby={hint || fault ? `${id}-hint` : undefined}
          onChange={(event) => onChange(event.target.value)}
          onScroll={(event) => {
            if (numbers.current) numbers.current.scrollTop = event.currentTarget.scrollTop;
          }}
          className="quiet-focus block min-w-0 grow resize-none bg-transparent px-2 py-1 leading-5 whitespace-pre max-md:leading-6 md:text-[0.8125rem]"
        />
      </div>
      {fault ? (
        <p id={`${id}-hint`} role="alert" className="text-xs text-red">
          {fault}
        </p>
      ) : (
        hint && (
          <p id={`${id}-hint`} className="text-xs text-soft">
            {hint}
          </p>
        )
      )}
    </div>
  );
}
