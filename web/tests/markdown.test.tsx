import { render } from "@testing-library/react";
import { describe, expect, it } from "vitest";
import { BlockSplitter } from "../src/markdown/blocks";
import { partsOf } from "../src/markdown/code";
import { plainText } from "../src/markdown/entities";
import { Reply } from "../src/markdown/reply";

const DOCUMENT = `# Title

A paragraph with **bold**, *slanted*, \`code\` and a
second line.

- one
- two

  with a paragraph
- three
    1. deep

1. a

2. b

> quoted
> twice

\`\`\`python
def f():

    return "**not bold**"
\`\`\`

| a | b |
| - | -: |
| 1 | 2 |

Setext
------

---
last line`;

describe("BlockSplitter", () => {
  it("gives the same blocks while growing as all at once, at every length", () => {
    const growing = new BlockSplitter();
    const points = Array.from(DOCUMENT);
    for (let length = 0; length <= points.length; length += 1) {
      const text = points.slice(0, length).join("");
      expect(growing.split(text), `at ${length}`).toEqual(new BlockSplitter().split(text));
    }
  });

  it("keeps settled blocks as the very same text", () => {
    const splitter = new BlockSplitter();
    const [first] = splitter.split("one\n\ntwo");
    expect(splitter.split("one\n\ntwo and more\n\nthree")[0]).toBe(first);
  });

  it("begins anew when the text is another one", () => {
    const splitter = new BlockSplitter();
    splitter.split("one\n\ntwo\n\nthree");
    expect(splitter.split("other")).toEqual(["other"]);
  });

  it("reads lines that end as on Windows", () => {
    expect(new BlockSplitter().split("one\r\n\r\ntwo")).toEqual(["one", "two"]);
  });
});

const draw = (text: string, writing = false) =>
  render(<Reply text={text} writing={writing} />).container;

describe("Reply", () => {
  it("draws blocks and marks", () => {
    const drawn = draw(DOCUMENT);
    expect(drawn.querySelector("h2")?.textContent).toBe("Title");
    expect(drawn.querySelector("strong")?.textContent).toBe("bold");
    expect(drawn.querySelector("pre")?.textContent).toContain('"**not bold**"');
    expect(drawn.querySelectorAll("td")).toHaveLength(2);
    expect(drawn.querySelectorAll("hr")).toHaveLength(1);
  });

  it.each([
    '<img src=x onerror="alert(1)">',
    "<script>alert(1)</script>",
    "<a href='javascript:alert(1)'>x</a>",
    "text <iframe src=//example.org></iframe> text",
    "> <style>*{display:none}</style>",
  ])("shows a tag as the text that it is: %s", (text) => {
    const drawn = draw(text);
    expect(drawn.querySelector("img, script, iframe, style, a")).toBeNull();
    expect(drawn.textContent).toContain("<");
  });

  it.each([
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](&#106;avascript:alert(1))",
    "[x](data:text/html,hi)",
    "[x](vbscript:x)",
    "[x](/sign-in?token=y)",
    "![x](javascript:alert(1))",
  ])("makes no link of %s", (text) => {
    const drawn = draw(text);
    expect(drawn.querySelector("a, img")).toBeNull();
    expect(drawn.textContent).toContain("x");
  });

  it("opens an outside link without a way back, and loads no picture", () => {
    const drawn = draw("[x](https://example.org) ![pic](https://example.org/p.png)");
    const links = [...drawn.querySelectorAll("a")];
    expect(links.map((link) => link.getAttribute("href"))).toEqual([
      "https://example.org",
      "https://example.org/p.png",
    ]);
    for (const link of links) expect(link.rel).toContain("noopener");
    expect(drawn.querySelector("img")).toBeNull();
  });

  it("closes marks that are still being written, only for the eye", () => {
    expect(draw("some **bold te", true).querySelector("strong")?.textContent).toBe("bold te");
    expect(draw("some **bold te", false).querySelector("strong")).toBeNull();
  });

  it("survives deep nesting", () => {
    expect(draw(`${">".repeat(400)} deep`).textContent).toContain("deep");
  });
});

describe("plainText", () => {
  it.each([
    ["a &lt; b &amp;&amp; c", "a < b && c"],
    ["&#65;&#x1F600;", "A😀"],
    ["&unknown; &", "&unknown; &"],
    ["&#0;&#x110000;", "\ufffd\ufffd"],
  ])("%s", (text, meant) => expect(plainText(text)).toBe(meant));
});

describe("code", () => {
  const kinds = (code: string, language: string) =>
    partsOf(code, language).map(({ kind, text }) => `${kind}:${text}`);

  it("is cut into what it is made of", () => {
    expect(kinds('def f(): # "no"\n  return "a # b" + 12', "python")).toEqual([
      "keyword:def",
      "plain: f(): ",
      'comment:# "no"',
      "plain:\n  ",
      "keyword:return",
      "plain: ",
      'text:"a # b"',
      "plain: + ",
      "number:12",
    ]);
    expect(kinds("a # b", "text")).toEqual(["plain:a # b"]);
    expect(kinds("x // y", "ts").at(-1)).toBe("comment:// y");
  });

  it.each(["python", "js", "sql", "unknown"])("of %s is whole, whatever it holds", (language) => {
    const codes = ['"open', "/* open", "'''", "\\", "`a`\n#", "1e9.x", "\ud83d\ude00 def"];
    for (const code of codes) {
      const parts = partsOf(code, language).map((part) => part.text);
      expect(parts.join("")).toBe(code);
    }
  });

  it("has its colours once it is settled, and is text until then", () => {
    const text = "```python\nreturn 1\n```";
    const { container, rerender } = render(<Reply text={text} writing={true} />);
    expect(container.querySelector("code span")).toBeNull();
    rerender(<Reply text={text} writing={false} />);
    expect(container.querySelector("code span")?.textContent).toBe("return");
    expect(container.querySelector("code")?.textContent).toBe("return 1");
  });
});
