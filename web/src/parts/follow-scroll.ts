// Keeps the end of a growing text in view until the person scrolls away, and never after that: only
// a gesture unlocks, because a layout that jumps also moves the scroll position.
import { type RefObject, useCallback, useEffect, useRef, useState } from "react";

/** Closer to the end than this counts as being there. */
const END_PX = 8;
/** A scroll event belongs to a gesture that was this recent. */
const GESTURE_MS = 1_000;
const UPWARD_KEYS = new Set(["ArrowUp", "PageUp", "Home", "ArrowDown", "PageDown", "End", " "]);

export interface FollowScroll {
  /** True when text grows below what is seen and is not followed. */
  behind: boolean;
  /** Go to the end and follow again. */
  toEnd(): void;
}

export function useFollowScroll(
  scroller: RefObject<HTMLElement | null>,
  content: RefObject<HTMLElement | null>,
): FollowScroll {
  const following = useRef(true);
  const [behind, setBehind] = useState(false);

  const toEnd = useCallback(() => {
    following.current = true;
    setBehind(false);
    const element = scroller.current;
    if (element !== null) element.scrollTop = element.scrollHeight;
  }, [scroller]);

  useEffect(() => {
    const element = scroller.current;
    const inner = content.current;
    if (element === null || inner === null) return;
    let gestureAt = Number.NEGATIVE_INFINITY;
    let dragging = false;
    const distance = () => element.scrollHeight - element.scrollTop - element.clientHeight;

    const gesture = () => {
      gestureAt = performance.now();
    };
    const key = (event: KeyboardEvent) => {
      if (UPWARD_KEYS.has(event.key)) gesture();
    };
    // A drag of the scroll bar lasts from the press to the release.
    const press = () => {
      dragging = true;
    };
    const release = () => {
      if (dragging) gesture();
      dragging = false;
    };
    const scrolled = () => {
      if (!dragging && performance.now() - gestureAt > GESTURE_MS) return;
      following.current = distance() <= END_PX;
      if (following.current) setBehind(false);
    };
    const grown = new ResizeObserver(() => {
      if (following.current) element.scrollTop = element.scrollHeight;
      else if (distance() > END_PX) setBehind(true);
      else setBehind(false);
    });

    grown.observe(inner);
    grown.observe(element);
    element.addEventListener("wheel", gesture, { passive: true });
    element.addEventListener("touchmove", gesture, { passive: true });
    element.addEventListener("keydown", key);
    element.addEventListener("pointerdown", press);
    window.addEventListener("pointerup", release);
    element.addEventListener("scroll", scrolled, { passive: true });
    return () => {
      grown.disconnect();
      element.removeEventListener("wheel", gesture);
      element.removeEventListener("touchmove", gesture);
      element.removeEventListener("keydown", key);
      element.removeEventListener("pointerdown", press);
      window.removeEventListener("pointerup", release);
      element.removeEventListener("scroll", scrolled);
    };
  }, [scroller, content]);

  return { behind, toEnd };
}
