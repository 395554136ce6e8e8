// A reply: Markdown by settled blocks, with a caret while it is still being written.
import { memo, useState } from "react";
import remend from "remend";
import { BlockSplitter } from "./blocks";
import { renderBlock } from "./render";

/** Only marks that are drawn here are closed; tags and formulas are shown as they are written. */
const UNFINISHED = { katex: false, htmlTags: false, linkMode: "text-only" } as const;

const Block = memo(function Block({ source, settled }: { source: string; settled: boolean }) {
  return renderBlock(source, settled);
});

export const Reply = memo(function Reply({ text, writing }: { text: string; writing: boolean }) {
  const [splitter] = useState(() => new BlockSplitter());
  const blocks = splitter.split(text);
  const last = blocks.length - 1;
  return (
    <div className={`reply max-w-[68ch] ${writing ? "writing" : ""}`}>
      {blocks.map((source, place) => (
        // A block keeps its place for as long as the text only grows.
        // Marks that are still open are closed for the eye, so that nothing jumps when they end.
        <Block
          key={place}
          source={writing && place === last ? remend(source, UNFINISHED) : source}
          settled={!writing || place < last}
        />
      ))}
      {writing && last === -1 && <p aria-hidden="true" />}
    </div>
  );
});
