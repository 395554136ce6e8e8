// The browsers that are signed in as this person, and the password.
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { ask } from "../api/routes";
import { Part } from "../frame/page";
import { useSession } from "../frame/session";
import { moment } from "../language/format";
import { t } from "../language/t";
import { useAct } from "../parts/act";
import { announce } from "../parts/announcer";
import { Button } from "../parts/button";
import { TextField } from "../parts/field";
import { Failed, Form } from "../parts/form";
import { Notice } from "../parts/notice";
import { ActionsCell, ActionsHead, Table } from "../parts/table";

export function Sessions() {
  const { data, error, refetch } = useQuery({
    queryKey: ["people", "sessions"],
    queryFn: ({ signal }) => ask("GET /api/sessions", {}, signal),
  });
  const { act, ...acted } = useAct();
  return (
    <div className="space-y-6">
      {error && !data && <Notice error={error} onRetry={() => void refetch()} />}
      <Failed acted={acted} />
      <Table>
        <caption className="sr-only">{t("people.sessions")}</caption>
        <thead>
          <tr>
            <th>{t("sessions.browser")}</th>
            <th>{t("sessions.since")}</th>
            <th>{t("keys_page.used")}</th>
            <th>{t("keys_page.expires")}</th>
            <ActionsHead />
          </tr>
        </thead>
        <tbody>
          {data?.data.map((each) => (
            <tr key={each.id} data-row="">
              <td className="max-w-md">{each.current ? t("sessions.this") : each.agent || "—"}</td>
              <td className="whitespace-nowrap">{moment(each.created_at)}</td>
              <td className="whitespace-nowrap">
                {each.last_used_at === null ? "—" : moment(each.last_used_at)}
              </td>
              <td className="whitespace-nowrap">{moment(each.expires_at)}</td>
              <ActionsCell>
                {!each.current && (
                  <Button
                    inline
                    onClick={() => {
                      const path = { session_id: each.id };
                      void act(() => ask("DELETE /api/sessions/{session_id}", { path }));
                    }}
                  >
                    {t("sessions.end")}
                  </Button>
                )}
              </ActionsCell>
            </tr>
          ))}
        </tbody>
      </Table>
      <Password />
    </div>
  );
}

function Password() {
  const session = useSession().data;
  const [current, setCurrent] = useState("");
  const [next, setNext] = useState("");
  const { act, ...acted } = useAct(["session"]);
  if (session === undefined || session.email === null) return null;
  const change = async () => {
    const body = session.has_password ? { new: next, current } : { new: next };
    const made = await act(() => ask("POST /api/session/password", { body }));
    if (made === null) return;
    setCurrent("");
    setNext("");
    announce(t("sessions.password_set"));
  };
  return (
    <Part title={t("sessions.password")}>
      <Form inLine onSend={() => void change()}>
        {session.has_password && (
          <TextField
            type="password"
            label={t("sessions.password_now")}
            value={current}
            onChange={setCurrent}
          />
        )}
        <TextField
          type="password"
          label={t("sessions.password_new")}
          value={next}
          onChange={setNext}
        />
        <Button kind="plain" type="submit" disabled={next.length < 8}>
          {t("common.save")}
        </Button>
        <Failed acted={acted} />
      </Form>
    </Part>
  );
}
