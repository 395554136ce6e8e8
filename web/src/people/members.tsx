// The people of the organisation and their roles; invitations by a link that works once.
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import type { InviteBody, UserBody } from "../../../docs/reference/openapi";
import { ask } from "../api/routes";
import { useMay } from "../frame/names";
import { Part } from "../frame/page";
import { useSession } from "../frame/session";
import { moment } from "../language/format";
import { t } from "../language/t";
import { useAct } from "../parts/act";
import { Button } from "../parts/button";
import { Choice, TextField } from "../parts/field";
import { Failed, Form } from "../parts/form";
import { Modal } from "../parts/modal";
import { Notice } from "../parts/notice";
import { ActionsCell, ActionsHead, Table } from "../parts/table";
import { Secret } from "./keys";

const ROLES = ["owner", "admin", "developer", "viewer"] as const;
type Role = (typeof ROLES)[number];
const roleOptions = () => ROLES.map((each) => [each, t(`role_of.${each}`)] as const);

export function Members() {
  const { data, error, refetch } = useQuery({
    queryKey: ["people", "users"],
    queryFn: ({ signal }) => ask("GET /api/organisation/users", { query: { limit: 100 } }, signal),
  });
  const write = useMay()("people.write");
  const [link, setLink] = useState<{ about: string; url: string } | null>(null);
  return (
    <div className="space-y-6">
      {error && !data && <Notice error={error} onRetry={() => void refetch()} />}
      <Table>
        <caption className="sr-only">{t("people.members")}</caption>
        <thead>
          <tr>
            <th>{t("jobs.name")}</th>
            <th>{t("members.email")}</th>
            <th>{t("members.role")}</th>
            <th>{t("members.since")}</th>
            <ActionsHead />
          </tr>
        </thead>
        <tbody>
          {data?.data.map((user) => (
            <Row
              key={user.id}
              user={user}
              write={write}
              onLink={(url) => setLink({ about: t("members.link_about"), url })}
            />
          ))}
        </tbody>
      </Table>
      {write && (
        <Invitations onLink={(url) => setLink({ about: t("members.invite_about"), url })} />
      )}
      <Modal open={link !== null} onClose={() => setLink(null)} title={t("members.link")}>
        {link && <Secret about={link.about} value={link.url} />}
      </Modal>
    </div>
  );
}

function Row({
  user,
  write,
  onLink,
}: {
  user: UserBody;
  write: boolean;
  onLink: (url: string) => void;
}) {
  const own = useSession().data?.user.id === user.id;
  const { act, ...acted } = useAct();
  const path = { user_id: user.id };
  const setRole = (role: Role) =>
    act(() => ask("POST /api/organisation/users/{user_id}", { path, body: { role } }));
  const signIn = async () => {
    const made = await act(() =>
      ask("POST /api/organisation/users/{user_id}/sign_in_link", { path }),
    );
    if (made !== null) onLink(made.url);
  };
  return (
    <tr data-row="">
      <td>
        {user.name || user.id}
        {own && <span className="text-soft"> ({t("members.you")})</span>}
      </td>
      <td>{user.email ?? "—"}</td>
      <td>
        {write && !own ? (
          <select
            aria-label={t("members.role_of", { name: user.name || user.id })}
            value={user.role}
            onChange={(event) => void setRole(event.target.value as Role)}
            className="-ms-1 min-h-8 bg-transparent max-md:min-h-11"
          >
            {roleOptions().map(([role, name]) => (
              <option key={role} value={role}>
                {name}
              </option>
            ))}
          </select>
        ) : (
          t(`role_of.${user.role}`)
        )}
        {user.operator && <span className="text-soft"> · {t("members.operator")}</span>}
      </td>
      <td className="whitespace-nowrap">{moment(user.added_at)}</td>
      <ActionsCell acted={acted}>
        {write && !own && (
          <>
            <Button inline onClick={() => void signIn()}>
              {t("members.sign_in_link")}
            </Button>
            <Button
              inline
              className="text-red!"
              onClick={() =>
                void act(() => ask("DELETE /api/organisation/users/{user_id}", { path }))
              }
            >
              {t("play.remove")}
            </Button>
          </>
        )}
      </ActionsCell>
    </tr>
  );
}

function Invitations({ onLink }: { onLink: (url: string) => void }) {
  const { data } = useQuery({
    queryKey: ["people", "invites"],
    queryFn: ({ signal }) =>
      ask("GET /api/organisation/invites", { query: { limit: 100 } }, signal),
  });
  const project = useSession().data?.project.id;
  const [email, setEmail] = useState("");
  const [role, setRole] = useState<Role>("developer");
  const { act, ...acted } = useAct();
  const invite = async () => {
    // Without a project the person could sign in to nothing.
    const projects = project === undefined ? [] : [{ id: project, role }];
    const body = { email: email.trim(), role, projects };
    const made = await act(() => ask("POST /api/organisation/invites", { body }));
    if (made === null) return;
    setEmail("");
    if (made.url) onLink(made.url);
  };
  const pending = data?.data.filter((each) => each.status === "pending") ?? [];
  return (
    <Part title={t("members.invitations")}>
      <Form inLine onSend={() => void invite()}>
        <TextField
          className="w-64"
          type="email"
          label={t("members.email")}
          value={email}
          onChange={setEmail}
        />
        <Choice label={t("members.role")} value={role} onChange={setRole} options={roleOptions()} />
        <Button kind="plain" type="submit" disabled={!email.includes("@")}>
          {t("members.invite")}
        </Button>
      </Form>
      <Failed acted={acted} />
      {pending.length > 0 && (
        <ul>
          {pending.map((each) => (
            <Pending key={each.id} invite={each} />
          ))}
        </ul>
      )}
    </Part>
  );
}

function Pending({ invite }: { invite: InviteBody }) {
  const { act, error } = useAct();
  const path = { invite_id: invite.id };
  return (
    <li className="flex flex-wrap items-baseline gap-x-4 border-b border-line py-1.5">
      <span>{invite.email}</span>
      <span className="text-soft">{t(`role_of.${invite.role}`)}</span>
      <span className="text-soft">{t("members.until", { time: moment(invite.expires_at) })}</span>
      <Button
        inline
        onClick={() =>
          void act(() => ask("DELETE /api/organisation/invites/{invite_id}", { path }))
        }
      >
        {t("members.withdraw")}
      </Button>
      {error !== null && <Notice error={error} />}
    </li>
  );
}
