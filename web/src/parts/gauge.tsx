// Hairlines that fill: the context in use, the month's budget.
import { t } from "../language/t";

export function Hairline({ part, label }: { part: number; label: string }) {
  const percent = Math.min(100, Math.max(0, part * 100));
  const color = percent >= 95 ? "bg-red" : percent >= 80 ? "bg-amber" : "bg-accent";
  return (
    // biome-ignore lint/a11y/useSemanticElements: a <meter> cannot be drawn as a hairline in every browser.
    <div
      role="meter"
      aria-label={label}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={Math.round(percent)}
      className="h-[3px] w-full bg-line"
    >
      {/* A sliver is shown as soon as anything is used. */}
      <div
        className={`h-full ${color}`}
        style={{ width: percent === 0 ? "0" : `max(3px, ${percent}%)` }}
      />
    </div>
  );
}

export interface ContextUse {
  tokens: number;
  exact: boolean;
  window: number | null;
}

export function ContextGauge({ use }: { use: ContextUse }) {
  const part = use.window === null ? 0 : use.tokens / use.window;
  const tone = part >= 0.95 ? "text-red" : part >= 0.8 ? "text-amber" : "text-soft";
  const key =
    use.window === null ? "context.unknown" : use.exact ? "context.exact" : "context.about";
  return (
    <div className={`flex min-w-0 items-center gap-3 text-xs ${tone}`}>
      <span>{t(key, { used: use.tokens, window: use.window ?? 0 })}</span>
      {use.window !== null && (
        <div className="w-24 max-sm:hidden">
          <Hairline part={part} label={t("context.label")} />
        </div>
      )}
    </div>
  );
}
