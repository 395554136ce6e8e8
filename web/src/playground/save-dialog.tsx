// The script as a stored prompt: a new one, or the next version of the one that it came from.
import { useState } from "react";
import { Link } from "wouter";
import { ask } from "../api/routes";
import { useMay } from "../frame/names";
import { t } from "../language/t";
import { useAct } from "../parts/act";
import { TextField } from "../parts/field";
import { Form, FormEnd } from "../parts/form";
import { Modal } from "../parts/modal";
import { Tabs } from "../parts/tabs";
import { PROMPTS_KEY } from "../prompts/queries";
import { useBench, useBenchState } from "./bench";
import { isEmpty } from "./script";
import { contentOf, fingerprint } from "./stored";

/** The name of the prompt that the script came from, its version, and whether it has changed. */
export function OriginLine() {
  const { origin, script, parameters } = useBenchState();
  if (origin === null) return null;
  const edited = fingerprint(contentOf(script, parameters)) !== origin.saved;
  const version = t("play.version", { version: origin.version });
  return (
    <span className="truncate text-soft">
      {edited ? t("play.edited", { version }) : version}
      <Link href={`/prompts/${origin.id}`} className="ms-4 hover:text-ink">
        {t("play.history")}
      </Link>
    </span>
  );
}

export function SaveDialog({ open, onClose }: { open: boolean; onClose: () => void }) {
  return (
    <Modal open={open} onClose={onClose} title={t("play.save_title")}>
      {open && <SaveForm onDone={onClose} />}
    </Modal>
  );
}

function SaveForm({ onDone }: { onDone: () => void }) {
  const bench = useBench();
  const { origin, script, parameters } = useBenchState();
  const [name, setName] = useState("");
  const [note, setNote] = useState("");
  const [way, setWay] = useState<"next" | "new">(origin === null ? "new" : "next");
  const { act, ...acted } = useAct(PROMPTS_KEY);
  const write = useMay()("prompts.write");
  const good = !isEmpty(script) && (way === "next" || name.trim() !== "");
  const store = async () => {
    const content = contentOf(script, parameters);
    const saved = fingerprint(content);
    if (way === "next" && origin !== null) {
      const path = { prompt_id: origin.id };
      const body = { content, note: note.trim() };
      const made = await act(() => ask("POST /api/prompts/{prompt_id}/versions", { path, body }));
      if (made === null) return;
      bench.set({ origin: { ...origin, version: made.version, saved } });
    } else {
      const body = { name: name.trim(), content, note: note.trim() };
      const made = await act(() => ask("POST /api/prompts", { body }));
      if (made === null) return;
      const { id, newest_version: version } = made;
      bench.set({ origin: { id, name: made.name, version, saved } });
    }
    onDone();
  };
  return (
    <Form onSend={() => void store()}>
      <p className="max-w-[68ch] text-soft">{t("play.save_about")}</p>
      {origin !== null && (
        <Tabs
          label={t("play.save_way")}
          value={way}
          options={[
            ["next", t("play.save_next", { name: origin.name })],
            ["new", t("prompts.new")],
          ]}
          onChange={setWay}
        />
      )}
      {way === "new" && <TextField label={t("jobs.name")} value={name} onChange={setName} />}
      <TextField label={t("prompts.note")} value={note} onChange={setNote} />
      {isEmpty(script) && <p className="text-amber">{t("play.save_empty")}</p>}
      <FormEnd acted={acted} ready={good && write}>
        {t("common.save")}
      </FormEnd>
    </Form>
  );
}
