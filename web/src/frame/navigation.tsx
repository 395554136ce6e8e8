// The areas as words, the month's spend at the foot.
import { useQueryClient } from "@tanstack/react-query";
import { Link, useLocation } from "wouter";
import { server } from "../api/server";
import type { Session } from "../api/wire";
import { money } from "../language/format";
import { chooseLanguage, LANGUAGES, type Language, t, useLanguage } from "../language/t";
import { Button } from "../parts/button";
import { isMac } from "../parts/composer";
import { Hairline } from "../parts/gauge";
import { forgetAll } from "../parts/memory";
import { AREAS } from "./areas";
import { closeMenu } from "./menu";
import { openPalette } from "./palette";
import { chooseTheme, THEMES, type Theme, useTheme } from "./theme";

export function Navigation({ session }: { session: Session }) {
  const [path] = useLocation();
  return (
    <nav aria-label={t("nav.label")} className="flex h-full flex-col">
      <p className="px-4 pt-5 pb-6 text-[0.9375rem] font-semibold tracking-tight max-md:hidden">
        {t("app.name")}
      </p>
      <ul className="space-y-0.5 px-4 max-md:px-0">
        {AREAS.map((area) => {
          const here = path === area.path || path.startsWith(`${area.path}/`);
          return (
            <li key={area.path}>
              <Link
                href={area.path}
                onClick={closeMenu}
                aria-current={here ? "page" : undefined}
                className={`block rounded px-2 py-1 max-md:py-2.5 ${
                  here ? "bg-wash text-ink" : "text-soft hover:text-ink"
                }`}
              >
                {t(area.label)}
              </Link>
            </li>
          );
        })}
      </ul>
      <div className="mt-auto space-y-1 p-4 text-xs text-soft max-md:px-0">
        <Button className="w-full justify-between! text-xs" onClick={openPalette}>
          {t("palette.title")} <kbd className="font-sans">{isMac() ? "⌘ K" : "Ctrl K"}</kbd>
        </Button>
        <div className="flex flex-wrap items-center gap-x-3">
          <ThemeChoice />
          <LanguageChoice />
        </div>
        <SignOut />
        <Month session={session} />
      </div>
    </nav>
  );
}

function Month({ session }: { session: Session }) {
  const { cost_nanos: spent, budget_nanos: budget } = session.month;
  const cost = money(spent, session.currency);
  if (budget === null) return <p className="pt-1">{t("month.spent", { cost })}</p>;
  return (
    <div className="space-y-1.5 pt-1">
      <p>{t("month.spent_of", { cost, budget: money(budget, session.currency) })}</p>
      <Hairline part={budget === 0 ? 1 : spent / budget} label={t("month.budget")} />
    </div>
  );
}

function ThemeChoice() {
  const { theme } = useTheme();
  return (
    <select
      aria-label={t("theme.label")}
      value={theme}
      onChange={(event) => chooseTheme(event.target.value as Theme)}
      className="-ms-1 min-h-8 min-w-0 shrink bg-transparent hover:text-ink"
    >
      {THEMES.map((each) => (
        <option key={each} value={each}>
          {t(`theme.${each}`)}
        </option>
      ))}
    </select>
  );
}

function LanguageChoice() {
  const { language } = useLanguage();
  return (
    <select
      aria-label={t("language.label")}
      value={language}
      onChange={(event) => void chooseLanguage(event.target.value as Language)}
      className="-ms-1 min-h-8 min-w-0 shrink bg-transparent hover:text-ink"
    >
      {(Object.keys(LANGUAGES) as Language[]).map((each) => (
        <option key={each} value={each} lang={each}>
          {LANGUAGES[each]}
        </option>
      ))}
    </select>
  );
}

function SignOut() {
  const queries = useQueryClient();
  const signOut = async () => {
    await server.signOut();
    forgetAll();
    closeMenu();
    queries.clear();
    // A fresh page: nothing of the person who left stays in memory.
    window.location.assign("/");
  };
  return (
    <Button className="text-xs" onClick={signOut}>
      {t("nav.sign_out")}
    </Button>
  );
}
