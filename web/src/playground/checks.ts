// JSON that a person writes: where it breaks, and whether it has the shape that the API asks for.
// Pure.

export interface Mistake {
  /** Counts from 1; null when the text is JSON but not what is wanted. */
  line: number | null;
  message: string;
}

export type Read<T> = { value: T; mistake: null } | { value: null; mistake: Mistake };

const broken = <T>(line: number | null, message: string): Read<T> => ({
  value: null,
  mistake: { line, message },
});

/** JSON, or the line that it stops making sense at. */
export function readJson(text: string): Read<unknown> {
  try {
    return { value: JSON.parse(text) as unknown, mistake: null };
  } catch (error) {
    const said = error instanceof Error ? error.message : "";
    const position = /position (\d+)/.exec(said)?.[1];
    const named = /line (\d+)/.exec(said)?.[1];
    const line =
      position === undefined
        ? Number(named ?? text.split("\n").length)
        : text.slice(0, Number(position)).split("\n").length;
    return broken(line, said.replace(/ in JSON.*$| at position.*$/, ""));
  }
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const NAME = /^[\w-]{1,64}$/;
const TYPES = new Set(["object", "array", "string", "number", "integer", "boolean", "null"]);

/** The first place of a JSON schema that no schema has; null when there is none. */
function schemaMistake(schema: unknown, at: string): string | null {
  if (typeof schema === "boolean") return null;
  if (!isObject(schema)) return `${at}: {}`;
  const types = Array.isArray(schema.type) ? schema.type : [schema.type];
  const strange = types.find((type) => type !== undefined && !TYPES.has(String(type)));
  if (strange !== undefined) return `${at}.type: ${JSON.stringify(strange)}`;
  if (schema.required !== undefined && !Array.isArray(schema.required)) return `${at}.required: []`;
  if (schema.properties !== undefined && !isObject(schema.properties)) {
    return `${at}.properties: {}`;
  }
  for (const [name, inner] of Object.entries((schema.properties as object | undefined) ?? {})) {
    const found = schemaMistake(inner, `${at}.properties.${name}`);
    if (found !== null) return found;
  }
  return schema.items === undefined ? null : schemaMistake(schema.items, `${at}.items`);
}

/** A JSON schema for answers. */
export function readSchema(text: string): Read<Record<string, unknown>> {
  const read = readJson(text);
  if (read.mistake !== null) return read;
  const found = schemaMistake(read.value, "schema");
  if (found !== null || !isObject(read.value)) return broken(null, found ?? "{}");
  return { value: read.value, mistake: null };
}

/** The tools of a request: functions with a name and, perhaps, a schema of their arguments. */
export function readTools(text: string): Read<unknown[]> {
  const read = readJson(text);
  if (read.mistake !== null) return read;
  if (!Array.isArray(read.value)) return broken(null, "[…]");
  for (const [place, tool] of read.value.entries()) {
    const at = `tools[${place}]`;
    if (!isObject(tool) || tool.type !== "function") return broken(null, `${at}.type: "function"`);
    const it = tool.function;
    if (!isObject(it) || typeof it.name !== "string" || !NAME.test(it.name)) {
      return broken(null, `${at}.function.name`);
    }
    const found =
      it.parameters === undefined
        ? null
        : schemaMistake(it.parameters, `${at}.function.parameters`);
    if (found !== null) return broken(null, found);
  }
  return { value: read.value, mistake: null };
}

/** Token ids with a bias each. */
export function readBias(text: string): Read<Record<string, number>> {
  const read = readJson(text);
  if (read.mistake !== null) return read;
  if (!isObject(read.value)) return broken(null, "{}");
  for (const [id, bias] of Object.entries(read.value)) {
    if (!/^\d+$/.test(id)) return broken(null, JSON.stringify(id));
    if (typeof bias !== "number" || Math.abs(bias) > 100) return broken(null, `"${id}": -100…100`);
  }
  return { value: read.value as Record<string, number>, mistake: null };
}
