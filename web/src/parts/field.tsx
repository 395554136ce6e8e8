// Fields of forms: a label, what is typed, and a sentence under it.
import { type ReactNode, useId } from "react";

const BOX = "field w-full min-w-0 px-2 py-1 min-h-8 max-md:min-h-11";

interface Frame {
  label: string;
  hint?: ReactNode;
  /** What is wrong with the value; replaces the hint. */
  fault?: string | null;
  className?: string;
}

function Framed({
  id,
  label,
  hint,
  fault,
  className = "",
  children,
}: Frame & { id: string; children: ReactNode }) {
  return (
    <div className={`space-y-1 ${className}`}>
      <label htmlFor={id} className="block text-xs text-soft">
        {label}
      </label>
      {children}
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

export function TextField({
  value,
  onChange,
  type = "text",
  placeholder,
  mono = false,
  list,
  ...frame
}: Frame & {
  value: string;
  onChange: (value: string) => void;
  type?: "text" | "search" | "password" | "number" | "date" | "email";
  placeholder?: string;
  mono?: boolean;
  list?: string[];
}) {
  const id = useId();
  return (
    <Framed id={id} {...frame}>
      <input
        id={id}
        type={type}
        value={value}
        placeholder={placeholder}
        autoComplete="off"
        spellCheck={false}
        list={list ? `${id}-list` : undefined}
        aria-invalid={Boolean(frame.fault)}
        aria-describedby={frame.hint || frame.fault ? `${id}-hint` : undefined}
        onChange={(event) => onChange(event.target.value)}
        className={`${BOX} ${mono ? "font-mono md:text-[0.8125rem]" : ""}`}
      />
      {list && (
        <datalist id={`${id}-list`}>
          {list.map((each) => (
            <option key={each} value={each} />
          ))}
        </datalist>
      )}
    </Framed>
  );
}

export function TextArea({
  value,
  onChange,
  rows = 8,
  placeholder,
  mono = true,
  ...frame
}: Frame & {
  value: string;
  onChange: (value: string) => void;
  rows?: number;
  placeholder?: string;
  mono?: boolean;
}) {
  const id = useId();
  return (
    <Framed id={id} {...frame}>
      <textarea
        id={id}
        rows={rows}
        value={value}
        placeholder={placeholder}
        spellCheck={!mono}
        aria-invalid={Boolean(frame.fault)}
        aria-describedby={frame.hint || frame.fault ? `${id}-hint` : undefined}
        onChange={(event) => onChange(event.target.value)}
        className={`${BOX} block resize-y ${mono ? "font-mono leading-5 whitespace-pre max-md:leading-6 md:text-[0.8125rem]" : ""}`}
      />
    </Framed>
  );
}

export function Choice<V extends string>({
  value,
  onChange,
  options,
  ...frame
}: Frame & {
  value: V;
  onChange: (value: V) => void;
  options: readonly (readonly [V, string])[];
}) {
  const id = useId();
  return (
    <Framed id={id} {...frame}>
      <select
        id={id}
        value={value}
        onChange={(event) => onChange(event.target.value as V)}
        className={`${BOX} truncate`}
      >
        {options.map(([each, name]) => (
          <option key={each} value={each}>
            {name}
          </option>
        ))}
      </select>
    </Framed>
  );
}
