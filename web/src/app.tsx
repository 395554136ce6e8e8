// The page: sign-in, or the frame with the area that the address names.
import { QueryClientProvider } from "@tanstack/react-query";
import { Component, lazy, type ReactNode, Suspense } from "react";
import { Link, Redirect, Route, Switch } from "wouter";
import { ApiError } from "./api/errors";
import { queries } from "./frame/client";
import { Frame } from "./frame/frame";
import { Keys } from "./frame/keys";
import { useSession } from "./frame/session";
import { t, useLanguage } from "./language/t";
import { Announcer } from "./parts/announcer";
import { Button } from "./parts/button";
import { Notice } from "./parts/notice";
import { SignIn } from "./sign-in/sign-in";

// Each area is a part of its own, loaded when it is first opened.
const Playground = lazy(async () => {
  const { keepOnLeaving } = await import("./playground/bench");
  keepOnLeaving();
  return { default: (await import("./playground/playground")).Playground };
});
const Chat = lazy(async () => {
  const { keepQueuesOnLeaving } = await import("./chat/queue");
  keepQueuesOnLeaving();
  return { default: (await import("./chat/chat")).Chat };
});
const Jobs = lazy(async () => ({ default: (await import("./jobs/jobs")).Jobs }));
const Batches = lazy(async () => ({ default: (await import("./batches/batches")).Batches }));
const Prompts = lazy(async () => ({ default: (await import("./prompts/prompts")).Prompts }));
const Usage = lazy(async () => ({ default: (await import("./usage/usage")).Usage }));
const Models = lazy(async () => ({ default: (await import("./models/models")).Models }));
const People = lazy(async () => ({ default: (await import("./people/people")).People }));
const SharedPage = lazy(async () => ({
  default: (await import("./shared/shared")).SharedPage,
}));
const Cluster = lazy(async () => ({ default: (await import("./cluster/cluster")).Cluster }));

export function App() {
  const { language } = useLanguage();
  return (
    <Broken>
      <QueryClientProvider client={queries}>
        <Announcer />
        <Suspense fallback={null}>
          <Switch>
            <Route path="/shared">
              <SharedPage key={language} />
            </Route>
            <Route>
              <Door key={language} />
            </Route>
          </Switch>
        </Suspense>
      </QueryClientProvider>
    </Broken>
  );
}

function Door() {
  const { data: session, error, refetch } = useSession();
  if (error instanceof ApiError && error.status === 401) return <SignIn />;
  if (session === undefined) {
    return (
      <main className="p-5">
        <h1 className="sr-only">{t("app.name")}</h1>
        {error && <Notice error={error} onRetry={() => void refetch()} />}
      </main>
    );
  }
  return (
    <Frame session={session}>
      <Keys />
      <Suspense fallback={<h1 className="sr-only">{t("app.name")}</h1>}>
        <Areas />
      </Suspense>
    </Frame>
  );
}

function Areas() {
  return (
    <Switch>
      <Route path="/">
        <Redirect to="/playground" replace />
      </Route>
      <Route path="/playground">
        <Playground />
      </Route>
      <Route path="/chat/:conversation?">
        {({ conversation }) => <Chat conversation={conversation ?? null} />}
      </Route>
      <Route path="/jobs/:job?">{({ job }) => <Jobs job={job ?? null} />}</Route>
      <Route path="/batches/:batch?">{({ batch }) => <Batches batch={batch ?? null} />}</Route>
      <Route path="/prompts/:prompt?">{({ prompt }) => <Prompts prompt={prompt ?? null} />}</Route>
      <Route path="/usage">
        <Usage />
      </Route>
      <Route path="/models">
        <Models />
      </Route>
      <Route path="/people/:place?">{({ place }) => <People place={place ?? null} />}</Route>
      <Route path="/cluster">
        <Cluster />
      </Route>
      <Route>
        <div className="space-y-3 p-5">
          <h1>{t("page.not_found")}</h1>
          <Link href="/playground" className="text-accent underline underline-offset-2">
            {t("page.not_found_go")}
          </Link>
        </div>
      </Route>
    </Switch>
  );
}

/** The last resort: a fault of the page itself becomes a sentence and a way out. */
class Broken extends Component<{ children: ReactNode }, { broken: boolean }> {
  override state = { broken: false };

  static getDerivedStateFromError() {
    return { broken: true };
  }

  override render() {
    if (!this.state.broken) return this.props.children;
    return (
      <main className="space-y-3 p-5">
        <h1>{t("page.broken")}</h1>
        <Button kind="plain" onClick={() => window.location.reload()}>
          {t("page.reload")}
        </Button>
      </main>
    );
  }
}
