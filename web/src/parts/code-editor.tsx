// The editor behind a code field: CodeMirror, loaded when the first such field is shown.
//
// It stands in a shadow root of its own. There CodeMirror puts its rules into a constructed style
// sheet; in the page it would write a <style> element, which the content policy refuses.
import { defaultKeymap, history, historyKeymap, indentWithTab } from "@codemirror/commands";
import {
  bracketMatching,
  HighlightStyle,
  indentUnit,
  LRLanguage,
  syntaxHighlighting,
} from "@codemirror/language";
import {
  Compartment,
  EditorState,
  type Extension,
  RangeSet,
  StateEffect,
  StateField,
} from "@codemirror/state";
import {
  Decoration,
  EditorView,
  GutterMarker,
  gutterLineClass,
  keymap,
  lineNumbers,
} from "@codemirror/view";
import { tags } from "@lezer/highlight";
import { parser as json } from "@lezer/json";
import { parser as yaml } from "@lezer/yaml";
import { useEffect, useLayoutEffect, useRef } from "react";

export type CodeLanguage = "json" | "yaml" | "plain";

export interface CodeEditorProps {
  label: string;
  value: string;
  onChange: (value: string) => void;
  language: CodeLanguage;
  /** Whether the text is wrong, and the line that is at fault, counted from 1. */
  wrong: boolean;
  line: number | null;
}

const LANGUAGES: Record<CodeLanguage, Extension> = {
  json: LRLanguage.define({ parser: json }),
  yaml: LRLanguage.define({ parser: yaml }),
  plain: [],
};

/** The page's own colours; they follow the theme by themselves. */
const COLOURS = HighlightStyle.define([
  { tag: [tags.string, tags.special(tags.string)], color: "var(--accent)" },
  { tag: [tags.number, tags.bool, tags.null, tags.keyword], color: "var(--amber)" },
  { tag: tags.comment, color: "var(--soft)", fontStyle: "italic" },
  { tag: [tags.punctuation, tags.meta], color: "var(--soft)" },
]);

const LOOK = EditorView.theme({
  "&": { color: "var(--ink)", height: "100%" },
  "&.cm-focused": { outline: "none" },
  ".cm-scroller": { font: "inherit", lineHeight: "inherit", overflow: "auto" },
  ".cm-content": { padding: "4px 0", caretColor: "var(--ink)" },
  ".cm-content ::selection": { background: "color-mix(in srgb, var(--accent) 25%, transparent)" },
  ".cm-line": { padding: "0 8px" },
  ".cm-gutters": { background: "var(--paper)", color: "var(--soft)", border: "0" },
  ".cm-lineNumbers .cm-gutterElement": { padding: "0 4px 0 8px", minWidth: "3ch" },
  ".fault": { background: "color-mix(in srgb, var(--red) 14%, transparent)" },
  ".cm-gutterElement.fault": { color: "var(--red)" },
  "&.cm-focused .cm-matchingBracket": {
    background: "var(--wash)",
    outline: "1px solid var(--edge)",
  },
  "&.cm-focused .cm-nonmatchingBracket": { background: "transparent", color: "var(--red)" },
});

const setFault = StateEffect.define<number | null>();
const FAULT = Decoration.line({ class: "fault" });
const FAULT_NUMBER = new (class extends GutterMarker {
  override elementClass = "fault";
})();

/** Where the line at fault begins; it moves with the text until it is said anew. */
const faultField = StateField.define<number | null>({
  create: () => null,
  update(at, change) {
    for (const effect of change.effects) {
      if (!effect.is(setFault)) continue;
      const { doc } = change.state;
      return effect.value === null || effect.value > doc.lines ? null : doc.line(effect.value).from;
    }
    return at === null ? null : change.state.doc.lineAt(change.changes.mapPos(at)).from;
  },
  provide: (field) => [
    EditorView.decorations.from(field, (at) =>
      at === null ? Decoration.none : Decoration.set(FAULT.range(at)),
    ),
    gutterLineClass.compute([field], (state) => {
      const at = state.field(field);
      return at === null ? RangeSet.empty : RangeSet.of(FAULT_NUMBER.range(at));
    }),
  ],
});

/** Escape sets Tab free to leave the field, until something else is pressed or the field is left. */
function freeTab(): Extension {
  let free = false;
  const set = (view: EditorView, to: boolean) => {
    free = to;
    view.setTabFocusMode(to);
  };
  return EditorView.domEventHandlers({
    keydown(event, view) {
      if (event.key === "Escape" && !free) {
        set(view, true);
        // What stands around the field hears only the second one.
        event.stopPropagation();
        return true;
      }
      if (free && !["Escape", "Tab", "Shift"].includes(event.key)) set(view, false);
      return false;
    },
    blur: (_, view) => set(view, false),
  });
}

function open(host: HTMLElement, props: CodeEditorProps, language: Compartment, told: Extension) {
  const root = host.shadowRoot ?? host.attachShadow({ mode: "open" });
  return new EditorView({
    root,
    parent: root,
    state: EditorState.create({
      doc: props.value,
      extensions: [
        freeTab(),
        lineNumbers(),
        history(),
        bracketMatching(),
        indentUnit.of("  "),
        keymap.of([...defaultKeymap, ...historyKeymap, indentWithTab]),
        language.of(LANGUAGES[props.language]),
        syntaxHighlighting(COLOURS),
        faultField,
        LOOK,
        told,
      ],
    }),
  });
}

export default function CodeEditor(props: CodeEditorProps) {
  const { label, value, onChange, language, wrong, line } = props;
  const host = useRef<HTMLDivElement>(null);
  const view = useRef<EditorView | null>(null);
  const compartments = useRef({ language: new Compartment(), said: new Compartment() }).current;
  const changed = useRef(onChange);
  changed.current = onChange;

  // biome-ignore lint/correctness/useExhaustiveDependencies: opened once; what changes is told below.
  useLayoutEffect(() => {
    if (host.current === null) return;
    const opened = open(host.current, props, compartments.language, [
      compartments.said.of([]),
      EditorView.updateListener.of((update) => {
        if (update.docChanged) changed.current(update.state.doc.toString());
      }),
    ]);
    view.current = opened;
    return () => opened.destroy();
  }, []);

  useEffect(() => {
    const { doc } = view.current?.state ?? {};
    if (doc === undefined || doc.toString() === value) return;
    view.current?.dispatch({ changes: { from: 0, to: doc.length, insert: value } });
  }, [value]);

  useEffect(() => {
    view.current?.dispatch({ effects: compartments.language.reconfigure(LANGUAGES[language]) });
  }, [language, compartments]);

  useEffect(() => {
    const attributes = {
      "aria-label": label,
      "aria-invalid": String(wrong),
      "aria-keyshortcuts": "Escape",
      autocapitalize: "off",
      spellcheck: "false",
    };
    view.current?.dispatch({
      effects: [
        compartments.said.reconfigure(EditorView.contentAttributes.of(attributes)),
        setFault.of(wrong ? line : null),
      ],
    });
  }, [label, wrong, line, compartments]);

  return <div ref={host} className="h-full" />;
}
