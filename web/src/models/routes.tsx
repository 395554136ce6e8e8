// Names that stand for models: an alias, a share of the calls for a new model, and who steps in when
// none of them answers.
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import type { RouteBody } from "../../../docs/reference/openapi";
import { ask } from "../api/routes";
import { useModel } from "../frame/model";
import { useMay } from "../frame/names";
import { Part } from "../frame/page";
import { duration } from "../language/format";
import { t } from "../language/t";
import { useAct } from "../parts/act";
import { Button } from "../parts/button";
import { TextArea, TextField } from "../parts/field";
import { Form, FormEnd } from "../parts/form";
import { Modal } from "../parts/modal";
import { readNames, writeNames } from "../parts/names";
import { ActionsCell, ActionsHead, Table } from "../parts/table";

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
              <th>{t("aliases.hedge_head")}</th>
              <ActionsHead />
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
        {subject !== null && (
          <RouteForm route={subject === "new" ? null : subject} onDone={close} />
        )}
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

/** Of how long a silence a second server is asked; the API has it in milliseconds. */
const MS = 1000;
const HEDGE_SECONDS_MAX = 600;

/** Typed seconds as milliseconds; empty for never, null for what is no such time. */
export function readHedge(typed: string): number | null {
  const seconds = Number(typed.trim());
  return seconds >= 0 && seconds <= HEDGE_SECONDS_MAX ? Math.round(seconds * MS) : null;
}

const writeHedge = (milliseconds = 0): string =>
  milliseconds === 0 ? "" : String(milliseconds / MS);

function Row({ route, write, onEdit }: { route: RouteBody; write: boolean; onEdit: () => void }) {
  const { act, ...acted } = useAct(ROUTES_KEY);
  const { name, tags = [], hedge_milliseconds: hedge = 0 } = route;
  const remove = () => void act(() => ask("DELETE /api/model-routes/{name}", { path: { name } }));
  return (
    <tr data-row="">
      <td>
        {name}
        {tags.length > 0 && (
          <span className="block text-xs text-soft">
            {t("tags.only", { tags: writeNames(tags) })}
          </span>
        )}
      </td>
      <td>{writeTargets(route) || "—"}</td>
      <td>{writeNames(route.fallbacks) || "—"}</td>
      <td>{hedge === 0 ? "—" : duration(hedge)}</td>
      <ActionsCell acted={acted}>
        {write && (
          <>
            <Button inline onClick={onEdit}>
              {t("play.edit")}
            </Button>
            <Button inline className="text-red!" onClick={remove}>
              {t("play.remove")}
            </Button>
          </>
        )}
      </ActionsCell>
    </tr>
  );
}

export function RouteForm({ route, onDone }: { route: RouteBody | null; onDone: () => void }) {
  const { models } = useModel();
  const [name, setName] = useState(route?.name ?? "");
  const [typed, setTyped] = useState(route ? writeTargets(route) : "");
  const [others, setOthers] = useState(writeNames(route?.fallbacks));
  const [silence, setSilence] = useState(writeHedge(route?.hedge_milliseconds));
  const [tags, setTags] = useState(writeNames(route?.tags));
  const { act, ...acted } = useAct(ROUTES_KEY);
  const targets = readTargets(typed);
  const hedge = readHedge(silence);
  const store = async () => {
    if (targets === null || hedge === null) return;
    const body: RouteBody = {
      name: name.trim(),
      targets,
      fallbacks: readNames(others),
      hedge_milliseconds: hedge,
      tags: readNames(tags),
    };
    if ((await act(() => ask("POST /api/model-routes", { body }))) !== null) onDone();
  };
  return (
    <Form onSend={() => void store()}>
      {route === null && <TextField label={t("jobs.name")} value={name} onChange={setName} />}
      <TextArea
        label={t("aliases.targets")}
        hint={t("aliases.targets_hint")}
        fault={typed.trim() !== "" && targets === null ? t("aliases.wrong") : null}
        placeholder={writeNames(models.map((each) => each.id))}
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
      <TextField
        label={t("aliases.hedge")}
        hint={t("aliases.hedge_hint")}
        fault={hedge === null ? t("aliases.hedge_wrong", { most: HEDGE_SECONDS_MAX }) : null}
        value={silence}
        onChange={setSilence}
      />
      <TextField
        label={t("upstreams.tags")}
        hint={t("aliases.tags_hint")}
        value={tags}
        onChange={setTags}
      />
      <FormEnd acted={acted} ready={name.trim() !== "" && targets !== null && hedge !== null}>
        {t("common.save")}
      </FormEnd>
    </Form>
  );
}
