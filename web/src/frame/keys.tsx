// What the keyboard does: `g` and a letter go to an area, Ctrl K opens the palette, `?` this map.
import { useEffect, useState } from "react";
import { useLocation } from "wouter";
import type { Key } from "../language/en";
import { t } from "../language/t";
import { isMac } from "../parts/composer";
import { Modal } from "../parts/modal";
import { AREAS } from "./areas";
import { openPalette, Palette } from "./palette";

/** `g` waits this long for its letter. */
const LETTER_MS = 1_500;

const typing = (target: EventTarget | null): boolean =>
  target instanceof HTMLElement &&
  (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName));

export function Keys() {
  const [map, setMap] = useState(false);
  const [, go] = useLocation();
  useEffect(() => {
    let until = 0;
    const pressed = (event: KeyboardEvent) => {
      if (event.isComposing) return;
      if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
        event.preventDefault();
        openPalette();
        return;
      }
      const plain = !event.ctrlKey && !event.metaKey && !event.altKey;
      if (
        !plain ||
        typing(event.composedPath()[0] ?? null) ||
        document.querySelector("dialog[open]")
      )
        return;
      if (event.key === "?") setMap(true);
      const area = AREAS.find((each) => each.letter === event.key);
      if (area && performance.now() < until) go(area.path);
      until = event.key === "g" ? performance.now() + LETTER_MS : 0;
    };
    window.addEventListener("keydown", pressed);
    return () => window.removeEventListener("keydown", pressed);
  }, [go]);
  return (
    <>
      <Palette onMap={() => setMap(true)} />
      <Modal open={map} onClose={() => setMap(false)} title={t("keys.title")}>
        <KeyMap />
      </Modal>
    </>
  );
}

const command = () => (isMac() ? "⌘" : "Ctrl");

const PLACES: readonly { keys: () => string; does: Key }[] = [
  { keys: () => `${command()} K`, does: "keys.palette" },
  { keys: () => "?", does: "keys.map" },
  { keys: () => "Esc", does: "keys.escape" },
  { keys: () => `${command()} Enter`, does: "keys.run" },
  { keys: () => "Enter", does: "keys.send" },
  { keys: () => "Shift Enter", does: "keys.line" },
  { keys: () => "↑ ↓", does: "keys.rows" },
];

function KeyMap() {
  return (
    <table className="ledger">
      <tbody>
        {PLACES.map(({ keys, does }) => (
          <Line key={does} keys={keys()} does={t(does)} />
        ))}
        {AREAS.map(({ path, label, letter }) => (
          <Line key={path} keys={`g ${letter}`} does={t("keys.go", { area: t(label) })} />
        ))}
      </tbody>
    </table>
  );
}

function Line({ keys, does }: { keys: string; does: string }) {
  return (
    <tr>
      <th scope="row" className="w-32">
        <kbd className="font-mono text-[0.8125rem] text-ink">{keys}</kbd>
      </th>
      <td>{does}</td>
    </tr>
  );
}
