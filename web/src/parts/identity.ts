// Names for things that only this page knows. Not crypto.randomUUID: that one is missing when the
// page is reached over plain HTTP from another machine.
let made = 0;

export function newId(): string {
  made += 1;
  return `${Date.now().toString(36)}-${made.toString(36)}-${Math.random().toString(36).slice(2, 8)}`;
}
