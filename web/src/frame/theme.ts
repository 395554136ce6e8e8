// Light, dark, or as the system says. public/theme.js does the same before the first paint.
import { create } from "zustand";
import { recall, remember } from "../parts/memory";

export const THEMES = ["system", "light", "dark"] as const;
export type Theme = (typeof THEMES)[number];

const stored = recall("theme");
export const useTheme = create<{ theme: Theme }>(() => ({
  theme: THEMES.find((each) => each === stored) ?? "system",
}));

const systemDark = () => matchMedia("(prefers-color-scheme: dark)");

function apply(): void {
  const { theme } = useTheme.getState();
  const dark = theme === "dark" || (theme === "system" && systemDark().matches);
  document.documentElement.dataset.theme = dark ? "dark" : "light";
}

export function chooseTheme(theme: Theme): void {
  remember("theme", theme === "system" ? null : theme);
  useTheme.setState({ theme });
  apply();
}

/** Follow the system's setting while that is the choice. */
export function watchTheme(): void {
  apply();
  systemDark().addEventListener("change", apply);
}
