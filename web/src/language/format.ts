// Numbers, money and times as a reader writes them.
import { languageTag, t } from "./t";

const NANOS_PER_UNIT = 1_000_000_000;

/** Money from integer nanos: two decimals from one unit up, two significant digits below. */
export function money(nanos: number, currency: string): string {
  const amount = nanos / NANOS_PER_UNIT;
  const small = amount !== 0 && Math.abs(amount) < 1;
  const digits: Intl.NumberFormatOptions = small
    ? { minimumFractionDigits: 2, maximumFractionDigits: smallDigits(amount) }
    : { minimumFractionDigits: 2, maximumFractionDigits: 2 };
  return new Intl.NumberFormat(languageTag(), { style: "currency", currency, ...digits }).format(
    amount,
  );
}

/** Fraction digits that show two significant ones; a nano is the ninth. */
const smallDigits = (amount: number): number =>
  Math.min(9, Math.max(2, 1 - Math.floor(Math.log10(Math.abs(amount)))));

export const count = (value: number): string => value.toLocaleString(languageTag());

export const decimal = (value: number, digits: number): string =>
  value.toLocaleString(languageTag(), {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  });

/** Milliseconds below ten seconds, seconds above. */
export function duration(milliseconds: number): string {
  if (milliseconds < 10_000) return t("meter.ms", { value: count(Math.round(milliseconds)) });
  return t("meter.s", { value: decimal(milliseconds / 1000, 1) });
}

/** A wait as "12 s", "2 min 5 s" or "3 h 20 min"; whole seconds, rounded up. */
export function wait(seconds: number): string {
  const whole = Math.max(0, Math.ceil(seconds));
  const parts = {
    hours: Math.floor(whole / 3600),
    minutes: Math.floor((whole % 3600) / 60),
    seconds: whole % 60,
  };
  if (parts.hours > 0) return t("wait.hours", parts);
  return parts.minutes > 0 ? t("wait.minutes", parts) : t("wait.seconds", parts);
}

/** When something last happened: the time today, the weekday this week, else the date. */
export function when(unixSeconds: number, nowMs: number): string {
  const date = new Date(unixSeconds * 1000);
  const now = new Date(nowMs);
  const format = (options: Intl.DateTimeFormatOptions) =>
    new Intl.DateTimeFormat(languageTag(), options).format(date);
  if (date.toDateString() === now.toDateString()) {
    return format({ hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  }
  if (nowMs - date.getTime() < 6 * 24 * 3600 * 1000) return format({ weekday: "short" });
  const sameYear = date.getFullYear() === now.getFullYear();
  return format({ day: "numeric", month: "short", ...(sameYear ? {} : { year: "numeric" }) });
}

/** Rough number of words in any script, for the spoken status. */
export function wordCount(text: string): number {
  return text.split(/\s+/).filter((word) => word !== "").length;
}

/** A length of time in its one or two largest units: "40 s", "6 min", "1 h 4 min", "3 d 2 h". */
export function span(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return t("span.seconds", { seconds: whole });
  const minutes = Math.round(whole / 60);
  if (minutes < 60) return t("span.minutes", { minutes });
  const hours = Math.floor(minutes / 60);
  if (hours < 48) {
    return minutes % 60 === 0
      ? t("span.hours", { hours })
      : t("wait.hours", { hours, minutes: minutes % 60 });
  }
  return t("span.days", { days: Math.floor(hours / 24), hours: hours % 24 });
}

/** A moment: the time of day, with the date when it is not today. */
export function moment(unixSeconds: number): string {
  const date = new Date(unixSeconds * 1000);
  const today = date.toDateString() === new Date().toDateString();
  return new Intl.DateTimeFormat(languageTag(), {
    hour: "2-digit",
    minute: "2-digit",
    second: "2-digit",
    hourCycle: "h23",
    ...(today ? {} : { day: "numeric", month: "short" }),
  }).format(date);
}

/** Bytes in powers of 1,000. */
export function bytes(value: number): string {
  const units = ["byte", "kilobyte", "megabyte", "gigabyte"] as const;
  const power = Math.min(3, Math.max(0, Math.floor(Math.log10(Math.max(1, value)) / 3)));
  return new Intl.NumberFormat(languageTag(), {
    style: "unit",
    unit: units[power] ?? "byte",
    unitDisplay: "short",
    maximumFractionDigits: power === 0 ? 0 : 1,
  }).format(value / 1000 ** power);
}
