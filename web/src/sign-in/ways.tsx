// The other ways in: a password, a provider of the organisation, an invitation.
import { useQuery } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { ask } from "../api/routes";
import { t } from "../language/t";
import { Button } from "../parts/button";
import { TextField } from "../parts/field";
import { Notice } from "../parts/notice";

/** A form that sends something and then loads the page anew, signed in. */
function useEntering() {
  const [error, setError] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);
  const enter = async (step: () => Promise<unknown>) => {
    setBusy(true);
    try {
      await step();
      window.location.assign("/");
    } catch (failure) {
      setError(failure);
      setBusy(false);
    }
  };
  return { enter, error, busy };
}

export function OtherWays() {
  const { data } = useQuery({
    queryKey: ["sign-in"],
    queryFn: ({ signal }) => ask("GET /api/sign-in", {}, signal),
    staleTime: Number.POSITIVE_INFINITY,
  });
  if (data === undefined) return null;
  return (
    <>
      {data.providers.map((provider) => (
        <a
          key={provider}
          href={`/api/sign-in/openid/${encodeURIComponent(provider)}`}
          className="flex min-h-9 items-center justify-center rounded border border-line px-3 hover:border-edge"
        >
          {t("sign_in.with", { provider })}
        </a>
      ))}
      {data.password && <Password />}
    </>
  );
}

function Password() {
  const [email, setEmail] = useState("");
  const [password, setPassword] = useState("");
  const { enter, error, busy } = useEntering();
  const submit = (event: FormEvent) => {
    event.preventDefault();
    void enter(() => ask("POST /api/sign-in", { body: { email: email.trim(), password } }));
  };
  return (
    <form onSubmit={submit} className="space-y-3 border-t border-line pt-5">
      <TextField label={t("members.email")} type="email" value={email} onChange={setEmail} />
      <TextField
        label={t("sessions.password")}
        type="password"
        value={password}
        onChange={setPassword}
      />
      {error !== null && <Notice error={error} />}
      <Button kind="plain" type="submit" disabled={busy || !email.includes("@") || password === ""}>
        {t("sign_in.enter")}
      </Button>
    </form>
  );
}

/** The invitation that the address carries after `#`, which no server and no log sees. */
export const invitationIn = (hash: string): string | null =>
  /^#invitation=([\w~.-]{8,512})$/.exec(hash)?.[1] ?? null;

export function Invitation({ token }: { token: string }) {
  const { data, error } = useQuery({
    queryKey: ["invitation", token],
    queryFn: ({ signal }) => ask("POST /api/invitations/look-up", { body: { token } }, signal),
    retry: false,
  });
  const [name, setName] = useState("");
  const [password, setPassword] = useState("");
  const { enter, error: refused, busy } = useEntering();
  const submit = (event: FormEvent) => {
    event.preventDefault();
    const body = { token, name: name.trim(), password };
    void enter(() => ask("POST /api/invitations/accept", { body }));
  };
  if (error) return <Notice error={error} />;
  if (data === undefined) return null;
  return (
    <form onSubmit={submit} className="space-y-3">
      <p>
        {t("sign_in.invited", {
          organisation: data.organisation,
          role: t(`role_of.${data.role as "viewer"}`),
          email: data.email,
        })}
      </p>
      <TextField label={t("jobs.name")} value={name} onChange={setName} />
      <TextField
        label={t("sessions.password")}
        type="password"
        value={password}
        onChange={setPassword}
      />
      {refused !== null && <Notice error={refused} />}
      <Button
        kind="primary"
        type="submit"
        disabled={busy || name.trim() === "" || password.length < 8}
      >
        {t("sign_in.accept")}
      </Button>
    </form>
  );
}
