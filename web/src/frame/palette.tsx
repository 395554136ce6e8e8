// The palette: every place and every choice of the page by a few letters of its name.
import { type KeyboardEvent, useEffect, useId, useMemo, useRef, useState } from "react";
import { useLocation } from "wouter";
import { create } from "zustand";
import { chooseLanguage, LANGUAGES, type Language, t } from "../language/t";
import { Modal } from "../parts/modal";
import { AREAS } from "./areas";
import { chooseTheme, THEMES } from "./theme";

const usePalette = create<{ open: boolean }>(() => ({ open: false }));
export const openPalette = () => usePalette.setState({ open: true });
const closePalette = () => usePalette.setState({ open: false });

interface Command {
  name: string;
  act: () => void;
}

/** Commands whose names hold all the words that were written, in any order. Pure. */
export function matching<C extends { name: string }>(commands: readonly C[], wanted: string): C[] {
  const words = wanted.toLowerCase().split(/\s+/).filter(Boolean);
  return commands.filter(({ name }) => {
    const text = name.toLowerCase();
    return words.every((word) => text.includes(word));
  });
}

export function Palette({ onMap }: { onMap: () => void }) {
  const { open } = usePalette();
  return (
    <Modal open={open} onClose={closePalette} title={t("palette.title")}>
      <Commands onMap={onMap} />
    </Modal>
  );
}

function useCommands(onMap: () => void): Command[] {
  const [, go] = useLocation();
  return useMemo(
    () => [
      ...AREAS.map(({ path, label }) => ({
        name: t("palette.go", { area: t(label) }),
        act: () => go(path),
      })),
      { name: t("chat.new"), act: () => go("/chat") },
      { name: t("keys.title"), act: onMap },
      ...THEMES.map((theme) => ({ name: t(`theme.${theme}`), act: () => chooseTheme(theme) })),
      ...(Object.keys(LANGUAGES) as Language[]).map((each) => ({
        name: `${t("language.label")}: ${LANGUAGES[each]}`,
        act: () => void chooseLanguage(each),
      })),
    ],
    [go, onMap],
  );
}

function Commands({ onMap }: { onMap: () => void }) {
  const commands = useCommands(onMap);
  const [wanted, setWanted] = useState("");
  const [at, setAt] = useState(0);
  const list = useId();
  const field = useRef<HTMLInputElement>(null);
  useEffect(() => field.current?.focus(), []);
  const shown = matching(commands, wanted);
  const chosen = Math.min(at, shown.length - 1);
  const act = (command: Command | undefined) => {
    if (command === undefined) return;
    closePalette();
    command.act();
  };
  const pressed = (event: KeyboardEvent) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step !== undefined) {
      event.preventDefault();
      setAt((chosen + step + shown.length) % Math.max(1, shown.length));
    } else if (event.key === "Enter" && !event.nativeEvent.isComposing) {
      event.preventDefault();
      act(shown[chosen]);
    }
  };
  return (
    <div className="space-y-2">
      <input
        ref={field}
        role="combobox"
        aria-expanded="true"
        aria-controls={list}
        aria-activedescendant={shown.length > 0 ? `${list}-${chosen}` : undefined}
        aria-label={t("palette.label")}
        placeholder={t("palette.label")}
        autoComplete="off"
        value={wanted}
        onChange={(event) => {
          setWanted(event.target.value);
          setAt(0);
        }}
        onKeyDown={pressed}
        className="field w-full px-2.5 py-1.5"
      />
      <div id={list} role="listbox" aria-label={t("palette.title")} tabIndex={-1}>
        {shown.map((command, place) => (
          // biome-ignore lint/a11y/useKeyWithClickEvents: the field above has the keyboard.
          <div
            key={command.name}
            id={`${list}-${place}`}
            role="option"
            aria-selected={place === chosen}
            tabIndex={-1}
            onClick={() => act(command)}
            className={`cursor-pointer rounded px-2 py-1 max-md:py-2.5 ${place === chosen ? "bg-wash" : "text-soft hover:text-ink"}`}
          >
            {command.name}
          </div>
        ))}
      </div>
      {shown.length === 0 && <p className="px-2 text-soft">{t("palette.nothing")}</p>}
    </div>
  );
}
