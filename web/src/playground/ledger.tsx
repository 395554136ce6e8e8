// The parameters as a ledger: name at the left, value at the right, a track where a range makes
// sense, and the meaning of the one that is being changed.
import { useId } from "react";
import { chooseModel, useModel } from "../frame/model";
import type { Key } from "../language/en";
import { count, money } from "../language/format";
import { t } from "../language/t";
import { Button } from "../parts/button";
import { useBench, useBenchState, useDesk } from "./bench";
import { ExtraRows } from "./extra-rows";
import { fits, type NumberName, RANGES, STOP_TEXTS_MAX } from "./parameters";
import { usePrices } from "./prices";
import { namesIn } from "./variables";

const USUAL: readonly NumberName[] = [
  "temperature",
  "top_p",
  "top_k",
  "max_completion_tokens",
  "seed",
];
const MORE: readonly NumberName[] = [
  "min_p",
  "min_tokens",
  "frequency_penalty",
  "presence_penalty",
  "repetition_penalty",
];
const LABELS: Record<NumberName, readonly [Key, Key]> = {
  temperature: ["param.temperature", "param.temperature_hint"],
  top_p: ["param.top_p", "param.top_p_hint"],
  top_k: ["param.top_k", "param.top_k_hint"],
  max_completion_tokens: ["param.max_tokens", "param.max_tokens_hint"],
  seed: ["param.seed", "param.seed_hint"],
  min_p: ["param.min_p", "param.min_p_hint"],
  min_tokens: ["param.min_tokens", "param.min_tokens_hint"],
  frequency_penalty: ["param.frequency", "param.frequency_hint"],
  presence_penalty: ["param.presence", "param.presence_hint"],
  repetition_penalty: ["param.repetition", "param.repetition_hint"],
};
const UNSET: Partial<Record<NumberName, Key>> = {
  top_k: "param.all",
  max_completion_tokens: "param.no_limit",
  seed: "param.random",
};

export function Ledger() {
  const bench = useBench();
  return (
    <div>
      <ModelChoice />
      <VariableRows />
      {USUAL.map((name) => (
        <NumberRow key={name} name={name} />
      ))}
      <StopRow />
      <ExtraRows />
      <details className="border-b border-line py-2.5">
        <summary className="text-soft">{t("param.more")}</summary>
        <div className="mt-2">
          {MORE.map((name) => (
            <NumberRow key={name} name={name} />
          ))}
        </div>
      </details>
      <Button className="mt-2 text-xs" onClick={() => bench.reset()}>
        {t("param.defaults")}
      </Button>
    </div>
  );
}

/** The model of this bench: its own, else the page's. */
export function useBenchModel() {
  const { model: own } = useBenchState();
  const { model, models, asked } = useModel();
  return { model: models.find((each) => each.id === own) ?? model, models, asked };
}

export function ModelSelect({ id, className = "" }: { id?: string; className?: string }) {
  const bench = useBench();
  const { columns } = useDesk();
  const { model, models, asked } = useBenchModel();
  if (models.length === 0) {
    return <p className="min-h-6 text-amber">{asked && t("play.no_model")}</p>;
  }
  const choose = (chosen: string) =>
    columns === 1 ? chooseModel(chosen) : bench.set({ model: chosen });
  return (
    <select
      id={id}
      aria-label={id ? undefined : t("param.model")}
      value={model?.id}
      onChange={(event) => choose(event.target.value)}
      className={`-ms-1 min-w-0 truncate bg-transparent max-md:min-h-11 ${className}`}
    >
      {models.map((each) => (
        <option key={each.id}>{each.id}</option>
      ))}
    </select>
  );
}

function ModelChoice() {
  const { model } = useBenchModel();
  const id = useId();
  const price = usePrices(model?.id ?? null);
  return (
    <div className="border-b border-line pb-2.5">
      <label htmlFor={id} className="block text-soft">
        {t("param.model")}
      </label>
      <ModelSelect id={id} className="w-full" />
      {price && (
        <p className="text-xs text-soft">
          {t("param.price", {
            input: money(price.input, price.currency),
            output: money(price.output, price.currency),
          })}
        </p>
      )}
    </div>
  );
}

function VariableRows() {
  const bench = useBench();
  const { script, variables } = useBenchState();
  const { draft } = useDesk();
  const names = namesIn(script, draft);
  const id = useId();
  if (names.length === 0) return null;
  return (
    <div className="space-y-1 border-b border-line py-2.5">
      <p className="text-xs text-soft">{t("param.variables")}</p>
      {names.map((name) => (
        <div key={name} className="flex items-baseline justify-between gap-3">
          <label htmlFor={`${id}${name}`} className="min-w-0 truncate text-soft">
            {name}
          </label>
          <input
            id={`${id}${name}`}
            value={variables[name] ?? ""}
            placeholder={t("param.variable_empty")}
            autoComplete="off"
            onChange={(event) =>
              bench.set({ variables: { ...variables, [name]: event.target.value } })
            }
            className="w-36 min-w-0 bg-transparent text-end"
          />
        </div>
      ))}
    </div>
  );
}

function NumberRow({ name }: { name: NumberName }) {
  const bench = useBench();
  const { parameters } = useBenchState();
  const id = useId();
  const typed = parameters[name];
  const range = RANGES[name];
  const [labelKey, hintKey] = LABELS[name];
  const label = t(labelKey);
  const good = fits(name, typed);
  const change = (value: string) => bench.set({ parameters: { ...parameters, [name]: value } });
  const unset = UNSET[name];
  return (
    <div className="group border-b border-line py-2.5">
      <div className="flex items-baseline justify-between gap-3">
        <label htmlFor={id} className="text-soft">
          {label}
        </label>
        <input
          id={id}
          inputMode={range.whole ? "numeric" : "decimal"}
          autoComplete="off"
          value={typed}
          placeholder={unset === undefined ? String(range.unset ?? range.low) : t(unset)}
          onChange={(event) => change(event.target.value)}
          aria-invalid={!good}
          aria-describedby={`${id}-hint`}
          className={`w-24 min-w-0 bg-transparent text-end ${good ? "" : "text-red"}`}
        />
      </div>
      {range.step !== undefined && (
        <Slider name={label} typed={typed} range={range} onChange={change} />
      )}
      {good ? (
        <p id={`${id}-hint`} className="hidden pt-1 text-xs text-soft group-focus-within:block">
          {t(hintKey)}
        </p>
      ) : (
        <p id={`${id}-hint`} role="alert" className="pt-1 text-xs text-red">
          {t("param.out_of_range", {
            name: label,
            low: count(range.low),
            high: count(range.high),
          })}
        </p>
      )}
    </div>
  );
}

function Slider({
  name,
  typed,
  range: { low, high, step, unset = low },
  onChange,
}: {
  name: string;
  typed: string;
  range: (typeof RANGES)[NumberName];
  onChange: (value: string) => void;
}) {
  const number = typed.trim() === "" ? unset : Number(typed);
  const value = Number.isFinite(number) ? Math.min(high, Math.max(low, number)) : unset;
  const filled = { "--filled": `${((value - low) / (high - low)) * 100}%` } as React.CSSProperties;
  return (
    <input
      type="range"
      aria-label={t("param.slider", { name })}
      min={low}
      max={high}
      step={step}
      value={value}
      onChange={(event) => onChange(String(Number(event.target.value)))}
      style={filled}
      className="track mt-1 block"
    />
  );
}

function StopRow() {
  const bench = useBench();
  const { parameters } = useBenchState();
  const id = useId();
  const filled = parameters.stop.filter((text) => text !== "");
  // One empty field waits below the filled ones until there are as many as the API takes.
  const shown = filled.length < STOP_TEXTS_MAX ? [...filled, ""] : filled;
  const change = (place: number, text: string) => {
    const stop = shown
      .map((each, at) => (at === place ? text : each))
      .filter((each) => each !== "");
    bench.set({ parameters: { ...parameters, stop } });
  };
  return (
    <div className="group border-b border-line py-2.5">
      <div className="flex items-baseline justify-between gap-3">
        <span className="text-soft">{t("param.stop")}</span>
        <div className="w-28 min-w-0">
          {shown.map((text, place) => (
            <input
              key={place}
              aria-label={t("param.stop_label", { number: place + 1 })}
              aria-describedby={`${id}-hint`}
              autoComplete="off"
              spellCheck={false}
              value={text}
              placeholder={place === 0 ? t("common.none") : ""}
              onChange={(event) => change(place, event.target.value)}
              className="w-full min-w-0 bg-transparent text-end"
            />
          ))}
        </div>
      </div>
      <p id={`${id}-hint`} className="hidden pt-1 text-xs text-soft group-focus-within:block">
        {t("param.stop_hint")}
      </p>
    </div>
  );
}
