// Names that stand for models: an alias, a share of the calls for a new model, and who steps in when
// none of them answers.
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import type { RouteBody } from "../../../docs/reference/openapi";
import { ask } from "../api/routes";
import { useModel } from "../frame/model";
import { useMay } from "../frame/names";
import { Part } from "../frame/page";
import { t } from "../language/t";
import { Button } from "../parts/button";
import { TextArea, TextField } from "../parts/field";
import { Modal } from "../parts/modal";
import { Notice } from "../parts/notice";
import { Table } from "../parts/table";
import { useAct } from "../people/act";

const ROUTES_KEY = ["model-routes"];

export function Routes() {
  const may = useMay();
  const write = may("upstreams.write");
  const { data } = useQuery({
    queryKey: ROUTES_KEY,
    queryFn: ({ signal }) => ask("GET /api/model-routes", {}, signal),
    enabled: may("upstreams.read"),
  });
  const [subject, setSubject] = useState<RouteBody | "new" | null>(null);
  const close = () => setSubject(null);
  if (data === undefined) return null;
  return (
    <Part
      title={t("aliases.title")}
      actions={
        write && (
          <Button inline kind="link" onClick={() => setSubject("new")}>
            {t("aliases.new")}
          </Button>
        )
      }
    >
      {data.data.length === 0 && <p className="max-w-[68ch] text-soft">{t("aliases.empty")}</p>}
      {data.data.length > 0 && (
        <Table>
          <caption className="sr-only">{t("aliases.title")}</caption>
          <thead>
            <tr>
              <th>{t("jobs.name")}</th>
              <th>{t("aliases.targets")}</th>
              <th>{t("aliases.fallbacks")}</th>
              <th>
                <span className="sr-only">{t("cluster.actions")}</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {data.data.map((each) => (
              <Row key={each.name} route={each} write={write} onEdit={() => setSubject(each)} />
            ))}
          </tbody>
        </Table>
      )}
      <Modal
        open={subject !== null}
        onClose={close}
        title={subject === null || subject === "new" ? t("aliases.new") : subject.name}
      >
        {subject !== null && <Form route={subject === "new" ? null : subject} onDone={close} />}
      </Modal>
    </Part>
  );
}

/** "model 90, other 10": targets with their weights; the weight of a single one says nothing. */
export function writeTargets(route: RouteBody): string {
  const targets = route.targets ?? [];
  return targets
    .map(({ model, weight }) => (targets.length === 1 ? model : `${model} ${weight}`))
    .join(", ");
}

/** The targets that such a text names; null when it names none, or a weight that is no number. */
export function readTargets(text: string): { model: string; weight: number }[] | null {
  const parts = text.split(/[,\n]/).flatMap((part) => (part.trim() === "" ? [] : [part.trim()]));
  const read = parts.map((part) => {
    const [model = "", weight = "1", ...more] = part.split(/\s+/);
    return { model, weight: more.length > 0 ? Number.NaN : Number(weight) };
  });
  const good = read.every(({ weight }) => Number.isInteger(weight) && weight > 0);
  return read.length > 0 && good ? read : null;
}

function Row({ route, write, onEdit }: { route: RouteBody; write: boolean; onEdit: () => void }) {
  const { act, error, dismiss } = useAct(ROUTES_KEY);
  const { name } = route;
  const remove = () => void act(() => ask("DELETE /api/model-routes/{name}", { path: { name } }));
  return (
    <tr data-row="">
      <td>{name}</td>
      <td>{writeTargets(route) || "—"}</td>
      <td>{route.fallbacks?.join(", ") || "—"}</td>
      <td className="text-end">
        {write && (
          <span className="inline-flex gap-4">
            <Button inline onClick={onEdit}>
              {t("play.edit")}
            </Button>
            <Button inline className="text-red!" onClick={remove}>
              {t("play.remove")}
            </Button>
          </span>
        )}
        {error !== null && <Notice error={error} onDismiss={dismiss} />}
      </td>
    </tr>
  );
}

function Form({ route, onDone }: { route: RouteBody | null; onDone: () => void }) {
  const { models } = useModel();
  const [name, setName] = useState(route?.name ?? "");
  const [typed, setTyped] = useState(route ? writeTargets(route) : "");
  const [others, setOthers] = useState(route?.fallbacks?.join(", ") ?? "");
  const { act, error, dismiss } = useAct(ROUTES_KEY);
  const targets = readTargets(typed);
  const store = async () => {
    if (targets === null) return;
    const fallbacks = others.split(",").flatMap((each) => each.trim() || []);
    // What this form does not show stays as it is.
    const body: RouteBody = { ...route, name: name.trim(), targets, fallbacks };
    if ((await act(() => ask("POST /api/model-routes", { body }))) !== null) onDone();
  };
  return (
    <form
      className="space-y-4"
      onSubmit={(event) => {
        event.preventDefault();
        void store();
      }}
    >
      {route === null && <TextField label={t("jobs.name")} value={name} onChange={setName} />}
      <TextArea
        label={t("aliases.targets")}
        hint={t("aliases.targets_hint")}
        fault={typed.trim() !== "" && targets === null ? t("aliases.wrong") : null}
        placeholder={models.map((each) => each.id).join(", ")}
        rows={3}
        value={typed}
        onChange={setTyped}
      />
      <TextField
        label={t("aliases.fallbacks")}
        hint={t("aliases.fallbacks_hint")}
        value={others}
        onChange={setOthers}
      />
      {error !== null && <Notice error={error} onDismiss={dismiss} />}
      <div className="flex justify-end">
        <Button kind="primary" type="submit" disabled={name.trim() === "" || targets === null}>
          {t("common.save")}
        </Button>
      </div>
    </form>
  );
}
