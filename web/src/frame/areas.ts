// The areas of the page in the order of the navigation. An area is added here and in app.tsx.
import type { Key } from "../language/en";

export interface Area {
  path: string;
  label: Key;
  /** The letter that goes there after `g`. */
  letter: string;
}

export const AREAS: readonly Area[] = [
  { path: "/chat", label: "nav.chat", letter: "c" },
  { path: "/playground", label: "nav.playground", letter: "p" },
  { path: "/prompts", label: "nav.prompts", letter: "o" },
  { path: "/jobs", label: "nav.jobs", letter: "j" },
  { path: "/batches", label: "nav.batches", letter: "b" },
  { path: "/cluster", label: "nav.cluster", letter: "l" },
  { path: "/usage", label: "nav.usage", letter: "u" },
  { path: "/models", label: "nav.models", letter: "m" },
  { path: "/people", label: "nav.people", letter: "k" },
];
