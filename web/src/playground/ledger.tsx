// The parameters as a ledger: name at the left, value at the right, a track where a range makes
// sense, and the meaning of the one that is being changed.
import { useId } from "react";
import { chooseModel, useModel } from "../frame/model";
import { count, money } from "../language/format";
import { t } from "../language/t";
import { Button } from "../parts/button";
import { fits, type NumberName, RANGES, STOP_TEXTS_MAX } from "./parameters";
import { usePrices } from "./prices";
import { resetParameters, setParameters, usePlayground } from "./store";

const ORDER: readonly NumberName[] = [
  "temperature",
  "top_p",
  "top_k",
  "max_completion_tokens",
  "seed",
];
const LABELS = {
  temperature: ["param.temperature", "param.temperature_hint"],
  top_p: ["param.top_p", "param.top_p_hint"],
  top_k: ["param.top_k", "param.top_k_hint"],
  max_completion_tokens: ["param.max_tokens", "param.max_tokens_hint"],
  seed: ["param.seed", "param.seed_hint"],
} as const;
const UNSET = {
  temperature: "1",
  top_p: "1",
  top_k: "param.all",
  max_completion_tokens: "param.no_limit",
  seed: "param.random",
} as const;

export function Ledger() {
  return (
    <div>
      <ModelChoice />
      {ORDER.map((name) => (
        <NumberRow key={name} name={name} />
      ))}
      <StopRow />
      <Button className="mt-2 text-xs" onClick={resetParameters}>
        {t("param.defaults")}
      </Button>
    </div>
  );
}

function ModelChoice() {
  const { model, models } = useModel();
  const id = useId();
  const price = usePrices(model?.id ?? null);
  return (
    <div className="border-b border-line pb-2.5">
      <label htmlFor={id} className="block text-soft">
        {t("param.model")}
      </label>
      {models.length === 0 ? (
        <p className="text-amber">{t("play.no_model")}</p>
      ) : (
        <select
          id={id}
          value={model?.id}
          onChange={(event) => chooseModel(event.target.value)}
          className="-ms-1 w-full min-w-0 truncate bg-transparent max-md:min-h-11"
        >
          {models.map((each) => (
            <option key={each.id}>{each.id}</option>
          ))}
        </select>
      )}
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

function NumberRow({ name }: { name: NumberName }) {
  const parameters = usePlayground((state) => state.parameters);
  const id = useId();
  const typed = parameters[name];
  const range = RANGES[name];
  const [labelKey, hintKey] = LABELS[name];
  const label = t(labelKey);
  const good = fits(name, typed);
  const change = (value: string) => setParameters({ ...parameters, [name]: value });
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
          placeholder={unset.includes(".") ? t(unset as "param.all") : unset}
          onChange={(event) => change(event.target.value)}
          aria-invalid={!good}
          aria-describedby={`${id}-hint`}
          className={`w-28 min-w-0 bg-transparent text-end ${good ? "" : "text-red"}`}
        />
      </div>
      {range.step !== undefined && (
        <Slider
          name={label}
          typed={typed}
          low={range.low}
          high={range.high}
          step={range.step}
          unset={range.unset ?? range.low}
          onChange={change}
        />
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
  low,
  high,
  step,
  unset,
  onChange,
}: {
  name: string;
  typed: string;
  low: number;
  high: number;
  step: number;
  unset: number;
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
  const parameters = usePlayground((state) => state.parameters);
  const id = useId();
  const filled = parameters.stop.filter((text) => text !== "");
  // One empty field waits below the filled ones until there are as many as the API takes.
  const shown = filled.length < STOP_TEXTS_MAX ? [...filled, ""] : filled;
  const change = (place: number, text: string) => {
    const stop = shown
      .map((each, at) => (at === place ? text : each))
      .filter((each) => each !== "");
    setParameters({ ...parameters, stop });
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
