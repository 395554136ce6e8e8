// The areas of the page in the order of the navigation. An area is added here and in app.tsx.
import type { Key } from "../language/en";

export interface Area {
  path: string;
  label: Key;
}

export const AREAS: readonly Area[] = [
  { path: "/chat", label: "nav.chat" },
  { path: "/playground", label: "nav.playground" },
];
