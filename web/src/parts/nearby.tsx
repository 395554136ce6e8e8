// Keeps the page small however long a list is: what is far from the eye is an empty box of the same
// height. Short lists are drawn whole, so that the browser's own search finds everything in them.
import {
  createContext,
  type ReactNode,
  startTransition,
  useContext,
  useEffect,
  useRef,
  useState,
} from "react";

/** So many heights of the window above and below are drawn before they are reached. */
const MARGIN = "150% 0px";

type Heard = (near: boolean, height: number) => void;

/** One observer for all boxes of one scrolling element. */
class Watcher {
  private readonly heard = new WeakMap<Element, Heard>();
  private readonly observer: IntersectionObserver;

  constructor(root: Element) {
    this.observer = new IntersectionObserver(
      (entries) => {
        // Boxes that come near at once are drawn together, and typing goes before them.
        startTransition(() => {
          for (const { target, isIntersecting, boundingClientRect } of entries) {
            this.heard.get(target)?.(isIntersecting, boundingClientRect.height);
          }
        });
      },
      { root, rootMargin: MARGIN },
    );
  }

  watch(element: Element, heard: Heard): () => void {
    this.heard.set(element, heard);
    this.observer.observe(element);
    return () => this.observer.unobserve(element);
  }
}

const watchers = new WeakMap<Element, Watcher>();

function watcherOf(root: Element): Watcher {
  const known = watchers.get(root) ?? new Watcher(root);
  watchers.set(root, known);
  return known;
}

/** Whether boxes under it leave out what is far. */
const Sparse = createContext(false);
export const SparseProvider = Sparse.Provider;

/** Somebody writes or reads in there: it stays whatever is scrolled. */
const inUse = (element: Element): boolean =>
  element.contains(document.activeElement) ||
  element.querySelector("textarea, details[open]") !== null;

export function Nearby({
  estimate,
  drawn = false,
  children,
}: {
  /** Pixels that it will be high, about; the browser keeps the place when it turns out otherwise. */
  estimate: number;
  /** Drawn at first, before anything is known of where it is. */
  drawn?: boolean;
  children: ReactNode;
}) {
  const sparse = useContext(Sparse);
  const box = useRef<HTMLDivElement>(null);
  const [near, setNear] = useState(drawn || !sparse);
  const [height, setHeight] = useState(estimate);
  useEffect(() => {
    const element = box.current;
    const root = element?.closest("[data-scroller]");
    if (!sparse || element === null || !root) return;
    return watcherOf(root).watch(element, (seen, high) => {
      if (!seen && inUse(element)) return;
      if (!seen && high > 0) setHeight(high);
      setNear(seen);
    });
  }, [sparse]);
  const shown = near || !sparse;
  return (
    <div ref={box} style={shown ? undefined : { height }}>
      {shown && children}
    </div>
  );
}
