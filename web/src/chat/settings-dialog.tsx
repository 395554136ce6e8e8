// The settings of one conversation: model, instructions, sampling.
import { useState } from "react";
import { ask } from "../api/routes";
import { queries } from "../frame/client";
import { useModel } from "../frame/model";
import { t } from "../language/t";
import { Button } from "../parts/button";
import { Choice, TextArea, TextField } from "../parts/field";
import { Modal } from "../parts/modal";
import { Notice } from "../parts/notice";
import { rememberConversation, useConversation } from "./queries";
import {
  fitsSetting,
  INSTRUCTIONS_CHARACTERS_MAX,
  NUMBERS,
  readSettings,
  type Settings,
  USUAL,
  writeSettings,
} from "./settings";
import { tellTabs } from "./tabs";

export function SettingsDialog({
  conversation,
  open,
  onClose,
}: {
  conversation: string;
  open: boolean;
  onClose: () => void;
}) {
  return (
    <Modal open={open} onClose={onClose} title={t("settings.title")} place="right">
      {open && <Form conversation={conversation} onDone={onClose} />}
    </Modal>
  );
}

const LABELS = {
  temperature: "param.temperature",
  top_p: "param.top_p",
  max_output_tokens: "param.max_tokens",
} as const;

function Form({ conversation, onDone }: { conversation: string; onDone: () => void }) {
  const { data } = useConversation(conversation);
  const { models } = useModel();
  const [settings, setSettings] = useState<Settings>(() => readSettings(data));
  const [error, setError] = useState<unknown>(null);
  const set = (name: keyof Settings) => (value: string) =>
    setSettings({ ...settings, [name]: value });
  const long = settings.instructions.length > INSTRUCTIONS_CHARACTERS_MAX;
  const good = NUMBERS.every((name) => fitsSetting(name, settings[name])) && !long;
  const save = async () => {
    try {
      const made = await ask("POST /v1/conversations/{conversation_id}", {
        path: { conversation_id: conversation },
        body: { metadata: writeSettings(data?.metadata ?? {}, settings) },
      });
      rememberConversation(queries, made);
      tellTabs(conversation);
      onDone();
    } catch (failure) {
      setError(failure);
    }
  };
  return (
    <div className="space-y-4">
      <Choice
        label={t("param.model")}
        value={settings.model}
        onChange={set("model")}
        options={[
          ["", t("settings.usual_model")],
          ...models.map((each) => [each.id, each.id] as const),
        ]}
      />
      <TextArea
        label={t("settings.instructions")}
        hint={t("settings.instructions_hint")}
        fault={long ? t("settings.too_long", { most: INSTRUCTIONS_CHARACTERS_MAX }) : null}
        mono={false}
        rows={6}
        value={settings.instructions}
        onChange={set("instructions")}
      />
      {NUMBERS.map((name) => (
        <TextField
          key={name}
          label={t(LABELS[name])}
          value={settings[name]}
          fault={fitsSetting(name, settings[name]) ? null : t("settings.out_of_range")}
          onChange={set(name)}
        />
      ))}
      {error !== null && <Notice error={error} onDismiss={() => setError(null)} />}
      <div className="flex justify-end gap-3">
        <Button onClick={() => setSettings(USUAL)}>{t("param.defaults")}</Button>
        <Button kind="primary" disabled={!good} onClick={() => void save()}>
          {t("common.save")}
        </Button>
      </div>
    </div>
  );
}
