// Names in one field, divided by commas. Pure.

export const writeNames = (names: readonly string[] | undefined): string =>
  (names ?? []).join(", ");

export const readNames = (typed: string): string[] =>
  typed.split(",").flatMap((each) => each.trim() || []);
