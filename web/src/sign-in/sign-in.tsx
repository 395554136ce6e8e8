// The page for someone who is not signed in: one sentence that says how, one field.
import { type FormEvent, useState } from "react";
import { t } from "../language/t";
import { Button } from "../parts/button";
import { readToken } from "./link";
import { Invitation, invitationIn, OtherWays } from "./ways";

export function SignIn() {
  const [pasted, setPasted] = useState("");
  const [refused, setRefused] = useState(false);
  const invalid = new URLSearchParams(window.location.search).get("sign_in") === "invalid";

  const submit = (event: FormEvent) => {
    event.preventDefault();
    const token = readToken(pasted);
    setRefused(token === null);
    if (token !== null) window.location.assign(`/sign-in?token=${encodeURIComponent(token)}`);
  };

  const invitation = invitationIn(window.location.hash);
  const [before, between, after] = t("sign_in.how").split(/\{\w+\}/);
  return (
    <main className="mx-auto flex min-h-dvh w-[min(28rem,calc(100vw-2.5rem))] flex-col justify-center gap-5 pb-24">
      <p className="text-[0.9375rem] font-semibold tracking-tight">{t("app.name")}</p>
      <h1 className="text-lg">{t("sign_in.title")}</h1>
      {invitation !== null && <Invitation token={invitation} />}
      {invalid && (
        <p role="alert" className="text-amber">
          {t("sign_in.invalid")}
        </p>
      )}
      <p className="reply text-soft">
        {before}
        <code>make up</code>
        {between}
        <code>tokenyard sign-in-link</code>
        {after}
      </p>
      <OtherWays />
      <form onSubmit={submit} className="space-y-2 border-t border-line pt-5">
        <label htmlFor="link" className="block text-soft">
          {t("sign_in.paste")}
        </label>
        <div className="flex gap-3">
          <input
            id="link"
            value={pasted}
            onChange={(event) => setPasted(event.target.value)}
            autoComplete="off"
            spellCheck={false}
            aria-invalid={refused}
            aria-describedby={refused ? "refused" : undefined}
            className="field min-w-0 grow px-2 py-1"
          />
          <Button kind="primary" type="submit">
            {t("sign_in.open")}
          </Button>
        </div>
        {refused && (
          <p id="refused" role="alert" className="text-xs text-red">
            {t("sign_in.not_a_link")}
          </p>
        )}
      </form>
    </main>
  );
}
