// What the table shows: groups of states as words, a search, queue and type, and views by name.
import { useState } from "react";
import { Link, useSearchParams } from "wouter";
import { t } from "../language/t";
import { Button } from "../parts/button";
import { GROUPS, type Group, groupOf, TYPES, withPart } from "./filter";
import { useQueues } from "./queries";
import { forgetView, saveView, useViews } from "./views";

export function Filters() {
  const [address, setAddress] = useSearchParams();
  const queues = useQueues().data?.data ?? [];
  const set = (name: string, value: string) =>
    setAddress(withPart(address, name, value), { replace: true });
  return (
    <div className="space-y-2">
      <div className="flex flex-wrap items-center gap-x-5 gap-y-2">
        <nav aria-label={t("jobs.show")} className="flex flex-wrap gap-x-4">
          {(Object.keys(GROUPS) as Group[]).map((group) => (
            <Link
              key={group}
              href={`/jobs?${withPart(address, "show", group)}`}
              aria-current={groupOf(address) === group ? "true" : undefined}
              className={`py-1 max-md:py-2.5 ${groupOf(address) === group ? "text-ink underline decoration-accent underline-offset-4" : "text-soft hover:text-ink"}`}
            >
              {t(`jobs.show_${group}`)}
            </Link>
          ))}
        </nav>
        <input
          type="search"
          aria-label={t("jobs.search")}
          placeholder={t("jobs.search")}
          value={address.get("search") ?? ""}
          onChange={(event) => set("search", event.target.value)}
          className="field min-h-8 w-48 px-2 max-md:min-h-11"
        />
        <Select
          label={t("jobs.col_queue")}
          value={address.get("queue") ?? ""}
          every={t("jobs.every_queue")}
          options={queues.map((queue) => queue.name)}
          onChange={(value) => set("queue", value)}
        />
        <Select
          label={t("jobs.type")}
          value={address.get("type") ?? ""}
          every={t("jobs.every_type")}
          options={TYPES}
          onChange={(value) => set("type", value)}
        />
      </div>
      <Views address={address} />
    </div>
  );
}

function Select({
  label,
  value,
  every,
  options,
  onChange,
}: {
  label: string;
  value: string;
  every: string;
  options: readonly string[];
  onChange: (value: string) => void;
}) {
  return (
    <select
      aria-label={label}
      value={value}
      onChange={(event) => onChange(event.target.value)}
      className="min-h-8 bg-transparent text-soft hover:text-ink max-md:min-h-11"
    >
      <option value="">{every}</option>
      {options.map((each) => (
        <option key={each}>{each}</option>
      ))}
    </select>
  );
}

function Views({ address }: { address: URLSearchParams }) {
  const { views } = useViews();
  const [name, setName] = useState<string | null>(null);
  if (views.length === 0 && address.size === 0) return null;
  const save = () => {
    if (name?.trim()) saveView(name.trim(), String(address));
    setName(null);
  };
  return (
    <div className="flex flex-wrap items-baseline gap-x-4 text-xs text-soft">
      {views.map((view) => (
        <span key={view.name} className="group inline-flex items-baseline gap-1.5">
          <Link href={`/jobs?${view.search}`} className="hover:text-ink">
            {view.name}
          </Link>
          <Button
            inline
            aria-label={t("jobs.view_forget", { name: view.name })}
            onClick={() => forgetView(view.name)}
            className="opacity-0 focus-visible:opacity-100 group-hover:opacity-100 pointer-coarse:opacity-100"
          >
            ×
          </Button>
        </span>
      ))}
      {address.size > 0 &&
        (name === null ? (
          <Button inline kind="link" onClick={() => setName("")}>
            {t("jobs.view_save")}
          </Button>
        ) : (
          <form
            onSubmit={(event) => {
              event.preventDefault();
              save();
            }}
            className="inline-flex items-baseline gap-2"
          >
            <input
              // biome-ignore lint/a11y/noAutofocus: the person has just asked for this field.
              autoFocus
              aria-label={t("jobs.view_name")}
              placeholder={t("jobs.view_name")}
              value={name}
              onChange={(event) => setName(event.target.value)}
              className="field w-36 px-2"
            />
            <Button inline type="submit" kind="link">
              {t("common.save")}
            </Button>
          </form>
        ))}
    </div>
  );
}
