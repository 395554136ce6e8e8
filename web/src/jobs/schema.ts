// What may stand in a job file, from the same schema that the server checks files by. Pure.
import schema from "../../../docs/reference/job-file.schema.json";

export interface Field {
  name: string;
  /** "number, 0 to 4096", "one of a, b", "list of text". */
  kind: string;
  /** As it would be written; null where there is none. */
  usual: string | null;
}

export interface Group {
  /** Where in the file: "" for its top. */
  place: string;
  about: string;
  fields: readonly Field[];
}

interface Node {
  type?: string;
  enum?: readonly string[];
  anyOf?: readonly Node[];
  items?: Node;
  $ref?: string;
  format?: string;
  minimum?: number;
  maximum?: number;
  default?: unknown;
  description?: string;
  properties?: Readonly<Record<string, Node>>;
}

const nodes = schema.$defs as unknown as Readonly<Record<string, Node>>;
const nameOf = (ref: string): string => ref.slice(ref.lastIndexOf("/") + 1);

/** The kind of a field in words of the file's own form. */
export function kindOf(node: Node): string {
  if (node.$ref !== undefined) return "{…}";
  if (node.enum !== undefined) return node.enum.join(" | ");
  if (node.anyOf !== undefined) {
    return node.anyOf.flatMap((each) => (each.type === "null" ? [] : kindOf(each))).join(" | ");
  }
  if (node.type === "array") return `[${node.items ? kindOf(node.items) : ""}]`;
  if (node.type === "object") return "{name: text}";
  if (node.type === "string") return node.format === "date-time" ? "time" : "text";
  const { minimum: low, maximum: high } = node;
  const range = low === undefined || high === undefined ? "" : ` ${low}…${high}`;
  return `${node.type ?? ""}${range}`;
}

const usualOf = ({ default: usual }: Node): string | null =>
  usual === undefined || usual === null || typeof usual === "object" ? null : String(usual);

function group(place: string, name: string): Group {
  const { properties = {}, description = "" } = nodes[name] ?? {};
  const fields = Object.entries(properties).map(([field, node]) => ({
    name: field,
    kind: kindOf(node),
    usual: usualOf(node),
  }));
  return { place, about: description, fields };
}

/** The fields of a job file: of its top, then of each part that has fields of its own. */
export function groups(): Group[] {
  const top = nameOf(schema.$ref);
  const inner = Object.entries(nodes[top]?.properties ?? {}).flatMap(([field, node]) => {
    const part = node.items ?? node.anyOf?.find((each) => each.$ref) ?? node;
    return part.$ref === undefined ? [] : [group(field, nameOf(part.$ref))];
  });
  return [group("", top), ...inner];
}
