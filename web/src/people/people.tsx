// Keys and people: who may do what here, with which key, up to which cost; and who did what.
import type { ReactNode } from "react";
import { Link } from "wouter";
import { useMay } from "../frame/names";
import { Page } from "../frame/page";
import { useSession } from "../frame/session";
import type { Key } from "../language/en";
import { t } from "../language/t";
import { Audit } from "./audit";
import { Budgets } from "./budgets";
import { Keys } from "./keys";
import { Limits } from "./limits";
import { Members } from "./members";
import { Sessions } from "./sessions";

interface Place {
  path: string;
  label: Key;
  needs: string;
  show: () => ReactNode;
}

const PLACES: readonly Place[] = [
  { path: "keys", label: "people.keys", needs: "keys.read", show: () => <Keys /> },
  { path: "members", label: "people.members", needs: "people.read", show: () => <Members /> },
  { path: "budgets", label: "people.budgets", needs: "limits.read", show: () => <Bounds /> },
  { path: "audit", label: "people.audit", needs: "audit.read", show: () => <Audit /> },
  { path: "sessions", label: "people.sessions", needs: "account", show: () => <Sessions /> },
];

export function People({ place }: { place: string | null }) {
  const may = useMay();
  const { data: session } = useSession();
  const places = PLACES.filter((each) => may(each.needs));
  const here = places.find((each) => each.path === place) ?? places[0];
  return (
    <Page
      title={t("nav.people")}
      sentence={
        session &&
        t("people.sentence", {
          user: session.user.name || session.user.id,
          role: t(`role_of.${session.role as "owner"}`),
          project: session.project.name || session.project.id,
        })
      }
    >
      <nav aria-label={t("nav.people")} className="flex flex-wrap gap-x-5">
        {places.map((each) => (
          <Link
            key={each.path}
            href={`/people/${each.path}`}
            aria-current={each === here ? "page" : undefined}
            className={`py-1 max-md:py-2.5 ${each === here ? "text-ink underline decoration-accent underline-offset-4" : "text-soft hover:text-ink"}`}
          >
            {t(each.label)}
          </Link>
        ))}
      </nav>
      {here?.show()}
    </Page>
  );
}

function Bounds() {
  return (
    <div className="space-y-8">
      <Budgets />
      <Limits />
    </div>
  );
}
