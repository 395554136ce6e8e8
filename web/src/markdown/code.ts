// Code in parts to draw: comments, texts, numbers and keywords, by rules that common languages share.
// It decides looks only, so a word that a language does not reserve may be drawn as a keyword. Pure.

export type Kind = "plain" | "comment" | "text" | "number" | "keyword";

export interface CodePart {
  kind: Kind;
  text: string;
}

/** Longer code is drawn plain. */
const CHARACTERS_MAX = 20_000;

const KEYWORDS = new Set(
  (
    "and as assert async await break case catch class const continue def default del do elif else " +
    "end enum export extends False final finally fn for from func function global if impl import in " +
    "interface is lambda let match mod module mut new nil None not null or package pass private " +
    "protected pub public raise return self static struct super switch this throw throws trait True " +
    "try type typeof union unless until use using var void when where while with yield true false " +
    "SELECT FROM WHERE INSERT INTO UPDATE SET DELETE CREATE TABLE JOIN LEFT ON GROUP BY ORDER LIMIT " +
    "AND OR NOT NULL AS VALUES select insert update delete create table join where group order limit"
  ).split(" "),
);

const HASH = new Set([
  "python",
  "py",
  "sh",
  "bash",
  "shell",
  "yaml",
  "yml",
  "toml",
  "ruby",
  "rb",
  "r",
]);
const DASH = new Set(["sql", "lua", "haskell"]);
/** Nothing in these is code. */
const PLAIN = new Set(["", "text", "txt", "plain", "console", "output", "markdown", "md", "diff"]);

function grammar(language: string): RegExp {
  const line = HASH.has(language) ? "#" : DASH.has(language) ? "--" : "//";
  const comment = `${line}[^\\n]*|/\\*[\\s\\S]*?(?:\\*/|$)`;
  const long = HASH.has(language) ? `"""[\\s\\S]*?(?:"""|$)|'''[\\s\\S]*?(?:'''|$)|` : "";
  const text = `${long}"(?:\\\\.|[^"\\\\\\n])*"?|'(?:\\\\.|[^'\\\\\\n])*'?|\`(?:\\\\.|[^\`\\\\])*\`?`;
  return new RegExp(
    `(?<comment>${comment})|(?<text>${text})|(?<number>\\b\\d[\\w.]*)|(?<word>[A-Za-z_]\\w*)`,
    "g",
  );
}

/** The parts of a code; together they are exactly the code. */
export function partsOf(code: string, language: string): CodePart[] {
  const name = language.toLowerCase().split(/\s/, 1)[0] ?? "";
  if (PLAIN.has(name) || code.length > CHARACTERS_MAX) return [{ kind: "plain", text: code }];
  const parts: CodePart[] = [];
  const add = (kind: Kind, text: string) => {
    const last = parts.at(-1);
    if (text === "") return;
    if (last?.kind === kind) last.text += text;
    else parts.push({ kind, text });
  };
  let end = 0;
  for (const match of code.matchAll(grammar(name))) {
    add("plain", code.slice(end, match.index));
    const [whole] = match;
    const { comment, text, number } = match.groups ?? {};
    if (comment !== undefined) add("comment", whole);
    else if (text !== undefined) add("text", whole);
    else if (number !== undefined) add("number", whole);
    else add(KEYWORDS.has(whole) ? "keyword" : "plain", whole);
    end = match.index + whole.length;
  }
  add("plain", code.slice(end));
  return parts;
}
