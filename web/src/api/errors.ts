// What can go wrong between the page and the server, in one shape that the page can put into words.

/** An answer with an error status, or an error event inside a stream. */
export class ApiError extends Error {
  override name = "ApiError";
  /** When it came, in milliseconds of the page's clock; a wait counts from here. */
  readonly at = performance.now();

  constructor(
    message: string,
    /** The HTTP status; 0 for an error that came inside a stream. */
    readonly status: number,
    /** The named reason, the same word as in the server's metrics and logs. */
    readonly code: string | null,
    readonly param: string | null,
    readonly requestId: string | null,
    readonly retryAfterSeconds: number | null,
  ) {
    super(message);
  }
}

/** The connection could not be made, or ended before its answer did. */
export class ConnectionLost extends Error {
  override name = "ConnectionLost";
}

interface ErrorBody {
  message?: unknown;
  param?: unknown;
  code?: unknown;
}

const word = (value: unknown): string | null =>
  typeof value === "string" && value !== "" ? value : null;

/** Read an OpenAI error body, wherever it was found. */
export function errorFromBody(
  body: unknown,
  status: number,
  requestId: string | null,
  retryAfterSeconds: number | null,
): ApiError {
  const error = (body as { error?: ErrorBody } | null)?.error ?? {};
  return new ApiError(
    word(error.message) ?? "",
    status,
    word(error.code),
    word(error.param),
    requestId,
    retryAfterSeconds,
  );
}

/** Seconds from a retry-after header: a number of seconds or a date; null when neither. */
export function readRetryAfter(header: string | null, now: number): number | null {
  if (header === null || header.trim() === "") return null;
  const seconds = Number(header);
  if (Number.isFinite(seconds)) return Math.max(0, seconds);
  const date = Date.parse(header);
  return Number.isNaN(date) ? null : Math.max(0, (date - now) / 1000);
}

/** The error that an answer with an error status carries; its body is read here. */
export async function errorFromResponse(response: Response): Promise<ApiError> {
  let body: unknown = null;
  try {
    body = await response.json();
  } catch {
    // A proxy in between may answer something that is not JSON; the status still says enough.
  }
  return errorFromBody(
    body,
    response.status,
    response.headers.get("x-request-id"),
    readRetryAfter(response.headers.get("retry-after"), Date.now()),
  );
}

/** True for the error that fetch throws when its signal was aborted. */
export function isAbort(error: unknown): boolean {
  return error instanceof DOMException && error.name === "AbortError";
}
