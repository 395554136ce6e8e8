// One turn of the script: its role in the margin, its text edited in place.
import { type ReactNode, useState } from "react";
import type { ScriptRole } from "../api/wire";
import { t } from "../language/t";
import type { Run } from "../live/run";
import { Button } from "../parts/button";
import { CopyButton } from "../parts/copy";
import { GrowingText } from "../parts/grow";
import { MeterLine, RunMeter } from "../parts/meter";
import { AnswerBody } from "./answer";
import { useDesk } from "./bench";
import type { Turn } from "./script";

const TEXT = "quiet-focus w-full max-w-[68ch] bg-transparent rounded focus:bg-wash";

/** The row that every turn shares: margin, text, and actions that show on hover and focus. */
export function TurnRow({
  margin,
  actions,
  children,
}: {
  margin: ReactNode;
  actions?: ReactNode;
  children: ReactNode;
}) {
  const narrow = useDesk().columns > 1;
  return (
    <div
      className={`group/turn grid gap-x-5 border-b border-line py-4 last:border-b-0 ${narrow ? "" : "md:grid-cols-[5.5rem_minmax(0,1fr)_auto]"}`}
    >
      <div className="flex items-baseline justify-between text-xs leading-[1.375rem] text-soft">
        {margin}
        <div className={`flex gap-3 ${narrow ? "" : "md:hidden"}`}>{actions}</div>
      </div>
      <div className="min-w-0">{children}</div>
      {!narrow && (
        <div className="flex w-28 items-start justify-end gap-3 text-xs opacity-0 focus-within:opacity-100 group-hover/turn:opacity-100 max-md:hidden pointer-coarse:opacity-100">
          {actions}
        </div>
      )}
    </div>
  );
}

export function SystemTurn({
  text,
  locked,
  onChange,
}: {
  text: string;
  locked: boolean;
  onChange: (text: string) => void;
}) {
  return (
    <TurnRow margin={t("role.system")}>
      <GrowingText
        aria-label={t("role.system")}
        placeholder={t("play.system_placeholder")}
        value={text}
        readOnly={locked}
        onChange={(event) => onChange(event.target.value)}
        className={TEXT}
      />
    </TurnRow>
  );
}

export function ScriptTurn({
  turn,
  number,
  locked,
  run,
  onEdit,
  onRemove,
}: {
  turn: Turn;
  number: number;
  locked: boolean;
  /** The run that is writing this turn, if one is. */
  run: Run | undefined;
  onEdit: (change: Partial<Pick<Turn, "role" | "content">>) => void;
  onRemove: () => void;
}) {
  const [editing, setEditing] = useState(false);
  const answer = turn.role === "assistant" && !editing;
  const actions = run ? null : (
    <>
      {turn.role === "assistant" && (
        <Button
          inline
          disabled={locked}
          aria-label={editing ? t("play.done") : t("play.edit_label", { number })}
          onClick={() => setEditing(!editing)}
        >
          {editing ? t("play.done") : t("play.edit")}
        </Button>
      )}
      <CopyButton text={turn.content} label={t("play.copy_label", { number })} inline />
      <Button
        inline
        disabled={locked}
        aria-label={t("play.remove_label", { number })}
        onClick={onRemove}
      >
        {t("play.remove")}
      </Button>
    </>
  );
  return (
    <TurnRow
      margin={
        <RoleChoice
          role={turn.role}
          number={number}
          locked={locked}
          onChange={(role) => onEdit({ role })}
        />
      }
      actions={actions}
    >
      {answer ? (
        <>
          <AnswerBody
            id={turn.id}
            text={run ? run.text : turn.content}
            run={run}
            calls={turn.calls ?? []}
          />
          {run && <RunMeter run={run} />}
          {!run && turn.record && (
            <MeterLine meter={turn.record.meter} finish={turn.record.finish} />
          )}
        </>
      ) : (
        <GrowingText
          aria-label={t("play.text_label", { number })}
          placeholder={t("play.turn_placeholder")}
          value={turn.content}
          readOnly={locked}
          onChange={(event) => onEdit({ content: event.target.value })}
          className={TEXT}
        />
      )}
    </TurnRow>
  );
}

function RoleChoice({
  role,
  number,
  locked,
  onChange,
}: {
  role: ScriptRole;
  number: number;
  locked: boolean;
  onChange: (role: ScriptRole) => void;
}) {
  if (locked) return <span>{t(`role.${role}`)}</span>;
  return (
    <select
      aria-label={t("play.role_label", { number })}
      value={role}
      onChange={(event) => onChange(event.target.value as ScriptRole)}
      className="-ms-1 min-h-6 appearance-none bg-transparent px-1 hover:text-ink max-md:text-xs"
    >
      <option value="user">{t("role.user")}</option>
      <option value="assistant">{t("role.assistant")}</option>
      {role === "tool" && <option value="tool">{t("role.tool")}</option>}
    </select>
  );
}
