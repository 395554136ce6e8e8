// A conversation as a link shows it, to whoever has the link: to be read, and nothing else. The
// secret stands after `#`, so that no server between sees it.
import { useQuery } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { ask } from "../api/routes";
import { itemFiles, itemText } from "../api/wire";
import { moment } from "../language/format";
import { t } from "../language/t";
import { Reply } from "../markdown/reply";
import { Notice } from "../parts/notice";

export function SharedPage() {
  const [secret, setSecret] = useState(() => window.location.hash.slice(1));
  useEffect(() => {
    const heard = () => setSecret(window.location.hash.slice(1));
    window.addEventListener("hashchange", heard);
    return () => window.removeEventListener("hashchange", heard);
  }, []);
  const { data, error } = useQuery({
    queryKey: ["shared", secret],
    queryFn: ({ signal }) => ask("GET /api/shared/{secret}", { path: { secret } }, signal),
    enabled: secret !== "",
    retry: false,
  });
  return (
    <main
      // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, so the keyboard must reach it.
      tabIndex={0}
      className="h-dvh overflow-y-auto px-5 -outline-offset-2"
    >
      <div className="mx-auto max-w-[52rem] space-y-4 py-8">
        <h1 className="text-lg">{data?.title || t("shared.title")}</h1>
        {error && <Notice error={error} />}
        {data && (
          <p className="text-xs text-soft">{t("shared.since", { time: moment(data.shared_at) })}</p>
        )}
        {data?.items.map((item) => (
          <Turn
            key={item.id}
            role={item.role === "user" ? "user" : "assistant"}
            text={itemText(item as Parameters<typeof itemText>[0])}
            files={itemFiles(item as Parameters<typeof itemFiles>[0])}
          />
        ))}
      </div>
    </main>
  );
}

function Turn({
  role,
  text,
  files,
}: {
  role: "user" | "assistant";
  text: string;
  files: readonly string[];
}) {
  return (
    <article
      aria-label={t(`role.${role}`)}
      className={`-mx-3 grid gap-x-5 px-3 py-3 md:grid-cols-[5.5rem_minmax(0,1fr)] ${role === "user" ? "rounded bg-wash" : ""}`}
    >
      <p className="text-xs leading-[1.375rem] text-soft">{t(`role.${role}`)}</p>
      <div className="min-w-0">
        {files.length > 0 && <p className="text-xs text-soft">{files.join(", ")}</p>}
        {role === "user" ? (
          <p className="max-w-[68ch] whitespace-pre-wrap [overflow-wrap:anywhere]">{text}</p>
        ) : (
          <Reply text={text} writing={false} />
        )}
      </div>
    </article>
  );
}
