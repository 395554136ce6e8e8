// Markdown tokens as React elements. There is no HTML on this path: a tag in the text is shown as
// the text that it is, a link opens only http, https or mailto, and an image stays a link, because
// the page loads nothing from other hosts.
import type { Token, Tokens } from "marked";
import { createContext, type ReactNode, useContext } from "react";
import { CopyButton } from "../parts/copy";
import { lexer } from "./blocks";
import { type Kind, partsOf } from "./code";
import { plainText } from "./entities";

const SAFE_LINK = /^(https?:|mailto:)/i;

/** Depth of nested quotes and lists that is drawn; deeper text is shown as it was written. */
const DEPTH_MAX = 24;

/** A block; its code has colours once it is settled, and not while it is written. */
export function renderBlock(source: string, settled: boolean): ReactNode {
  return <Settled value={settled}>{renderAll(lexer().lex(source), 0)}</Settled>;
}

const Settled = createContext(true);

function renderAll(tokens: Token[] | undefined, depth: number): ReactNode {
  if (tokens === undefined) return null;
  if (depth > DEPTH_MAX) return tokens.map((token) => token.raw).join("");
  // Tokens have no identity but their place, and a block is always drawn anew as a whole.
  return tokens.map((token, place) => <Piece key={place} token={token} depth={depth} />);
}

function Piece({ token, depth }: { token: Token; depth: number }): ReactNode {
  return block(token as Tokens.Generic, depth) ?? inline(token as Tokens.Generic, depth);
}

function block(token: Tokens.Generic, depth: number): ReactNode | undefined {
  switch (token.type) {
    case "space":
    case "def":
      return "";
    case "heading":
      // One level below the page's own, whatever the model skips; the look shows the difference.
      return <h2 className={`depth-${token.depth}`}>{renderAll(token.tokens, depth + 1)}</h2>;
    case "paragraph":
      return <p>{renderAll(token.tokens, depth + 1)}</p>;
    case "blockquote":
      return <blockquote>{renderAll(token.tokens, depth + 1)}</blockquote>;
    case "hr":
      return <hr />;
    case "html":
      return token.block ? <p>{token.raw}</p> : undefined;
    case "code":
      return (
        <Code text={(token as Tokens.Code).text} language={(token as Tokens.Code).lang ?? ""} />
      );
    case "list":
      return <List list={token as Tokens.List} depth={depth} />;
    case "table":
      return <Table table={token as Tokens.Table} depth={depth} />;
    default:
      return undefined;
  }
}

function inline(token: Tokens.Generic, depth: number): ReactNode {
  switch (token.type) {
    case "strong":
      return <strong>{renderAll(token.tokens, depth + 1)}</strong>;
    case "em":
      return <em>{renderAll(token.tokens, depth + 1)}</em>;
    case "del":
      return <del>{renderAll(token.tokens, depth + 1)}</del>;
    case "codespan":
      return <code>{(token as Tokens.Codespan).text}</code>;
    case "br":
      return <br />;
    case "checkbox":
      return (token as Tokens.Checkbox).checked ? "☑ " : "☐ ";
    case "link":
      return <Link href={token.href}>{renderAll(token.tokens, depth + 1)}</Link>;
    case "image":
      return <Link href={token.href}>{plainText(token.text || token.href)}</Link>;
    case "escape":
      return token.text;
    case "text":
      return token.tokens ? renderAll(token.tokens, depth + 1) : plainText(token.text);
    default:
      return token.raw;
  }
}

function Link({ href, children }: { href: string; children: ReactNode }) {
  if (!SAFE_LINK.test(href)) return <>{children}</>;
  return (
    <a href={href} target="_blank" rel="noopener noreferrer nofollow">
      {children}
    </a>
  );
}

const LOOKS: Partial<Record<Kind, string>> = {
  comment: "text-soft",
  text: "text-soft",
  keyword: "text-accent",
};

function Code({ text, language }: { text: string; language: string }) {
  const settled = useContext(Settled);
  const parts = settled ? partsOf(text, language) : [];
  return (
    <div className="code group relative">
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: long lines are scrolled by keyboard too. */}
      <pre tabIndex={0}>
        <code>
          {settled
            ? parts.map((part, place) =>
                LOOKS[part.kind] ? (
                  <span key={place} className={LOOKS[part.kind]}>
                    {part.text}
                  </span>
                ) : (
                  part.text
                ),
              )
            : text}
        </code>
      </pre>
      <CopyButton
        text={text}
        className="absolute top-1 right-1 rounded bg-wash px-2 text-xs opacity-0 focus-visible:opacity-100 group-hover:opacity-100 pointer-coarse:opacity-100"
      />
    </div>
  );
}

function List({ list, depth }: { list: Tokens.List; depth: number }) {
  const items = list.items.map((item, place) => (
    <li key={place}>{renderAll(item.tokens, depth + 1)}</li>
  ));
  return list.ordered ? <ol start={Number(list.start) || 1}>{items}</ol> : <ul>{items}</ul>;
}

function Table({ table, depth }: { table: Tokens.Table; depth: number }) {
  const cells = (row: Tokens.TableCell[], Tag: "th" | "td") =>
    row.map((cell, place) => (
      <Tag key={place} style={cell.align ? { textAlign: cell.align } : undefined}>
        {renderAll(cell.tokens, depth + 1)}
      </Tag>
    ));
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: a wide table is scrolled by keyboard too.
    <div className="scroll" tabIndex={0}>
      <table>
        <thead>
          <tr>{cells(table.header, "th")}</tr>
        </thead>
        <tbody>
          {table.rows.map((row, place) => (
            <tr key={place}>{cells(row, "td")}</tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
