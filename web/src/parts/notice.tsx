// What went wrong, in sentences: what happened, what was kept, what to do, and the request's id.
import { ApiError, ConnectionLost } from "../api/errors";
import { wait } from "../language/format";
import { refusal } from "../language/reasons";
import { t } from "../language/t";
import { Button } from "./button";
import { CopyButton } from "./copy";
import { useSecondsUntil } from "./countdown";

/** The sentence for an error: the named reason first, then the server's own words. */
export function sentence(error: unknown): string {
  if (error instanceof ApiError) {
    return refusal(error.code, error.message.trim()) || t("error.unknown");
  }
  if (error instanceof ConnectionLost) return t("error.connection");
  return t("error.unknown");
}

export function Notice({
  error,
  kept,
  onRetry,
  onDismiss,
}: {
  error: unknown;
  /** A sentence that says what was kept. */
  kept?: string;
  onRetry?: () => void;
  onDismiss?: () => void;
}) {
  const api = error instanceof ApiError ? error : null;
  const seconds = api?.retryAfterSeconds ?? null;
  const left = useSecondsUntil(seconds === null ? null : (api?.at ?? 0) + seconds * 1000);
  return (
    <div className="border-s-2 border-red py-1 ps-3">
      {/* Only the sentences are spoken; a countdown would be read out every second. */}
      <p role="alert">
        {sentence(error)} {kept}
      </p>
      <div className="flex flex-wrap items-center gap-x-4 text-xs text-soft">
        {seconds !== null && (
          <span className="text-amber">
            {left > 0 ? t("error.wait", { time: wait(left) }) : t("error.wait_over")}
          </span>
        )}
        {onRetry && (
          <Button onClick={onRetry} disabled={left > 0} kind="link" inline>
            {t("common.try_again")}
          </Button>
        )}
        {api?.requestId && (
          <span className="inline-flex flex-wrap items-center gap-x-2">
            <span className="break-all">{t("error.request_id", { id: api.requestId })}</span>
            <CopyButton text={api.requestId} inline />
          </span>
        )}
        {onDismiss && (
          <Button inline onClick={onDismiss}>
            {t("common.dismiss")}
          </Button>
        )}
      </div>
    </div>
  );
}
