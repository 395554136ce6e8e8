"""Why something was denied, delayed or failed: one word for API, metrics, logs, page and docs.

A reason is stable: clients match on it (`error.code`), dashboards group by it. The sentence that
goes with it may change at any time.
"""

from enum import StrEnum


class Reason(StrEnum):
    """The one list of named reasons; `docs/reference/reasons.md` is generated from it."""

    # The request cannot be understood (400, 404, 405, 413).
    INVALID_JSON = "invalid_json"
    INVALID_VALUE = "invalid_value"
    UNKNOWN_PARAMETER = "unknown_parameter"
    UNSUPPORTED_PARAMETER = "unsupported_parameter"
    CONTEXT_LENGTH_EXCEEDED = "context_length_exceeded"
    TEMPLATE_FAILED = "template_failed"
    PROMPT_VARIABLE = "prompt_variable"
    BODY_TOO_LARGE = "body_too_large"
    NOT_FOUND = "not_found"
    MODEL_NOT_FOUND = "model_not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    INVALID_CURSOR = "invalid_cursor"

    # The caller may not (401, 403).
    MISSING_CREDENTIALS = "missing_credentials"
    INVALID_API_KEY = "invalid_api_key"
    REVOKED_API_KEY = "revoked_api_key"
    EXPIRED_SESSION = "expired_session"
    INVALID_SIGN_IN_LINK = "invalid_sign_in_link"
    INVALID_INVITATION = "invalid_invitation"
    WRONG_PASSWORD = "wrong_password"
    SIGN_IN_FAILED = "sign_in_failed"
    NOT_INVITED = "not_invited"
    ROLE_TOO_LOW = "role_too_low"
    FOREIGN_ORIGIN = "foreign_origin"
    EXPIRED_API_KEY = "expired_api_key"
    ACCESS_WITHDRAWN = "access_withdrawn"
    PERMISSION_DENIED = "permission_denied"
    MODEL_NOT_ALLOWED = "model_not_allowed"

    # Not now (409, 429, 503).
    EMAIL_TAKEN = "email_taken"
    LAST_OWNER = "last_owner"
    FIRST_PROJECT = "first_project"
    KEYS_LIMIT = "keys_limit"
    SIGN_IN_LIMIT = "sign_in_limit"
    CONVERSATION_BUSY = "conversation_busy"
    RESPONSE_IN_PROGRESS = "response_in_progress"
    PROMPT_EXISTS = "prompt_exists"
    PROMPT_CHANGED = "prompt_changed"
    PROMPTS_LIMIT = "prompts_limit"
    SHARES_LIMIT = "shares_limit"
    RATE_LIMIT_REQUESTS = "rate_limit_requests"
    RATE_LIMIT_INPUT_TOKENS = "rate_limit_input_tokens"
    RATE_LIMIT_OUTPUT_TOKENS = "rate_limit_output_tokens"
    RATE_LIMIT_SPEND = "rate_limit_spend"
    LIMITS_UNAVAILABLE = "limits_unavailable"
    CONCURRENCY_LIMIT = "concurrency_limit"
    INSUFFICIENT_BUDGET = "insufficient_quota"
    SYSTEM_OVERLOADED = "system_overloaded"
    QUEUE_FULL = "queue_full"
    MODEL_LOADING = "model_loading"
    UPSTREAM_UNAVAILABLE = "upstream_unavailable"
    STORAGE_UNAVAILABLE = "storage_unavailable"
    SHUTTING_DOWN = "shutting_down"

    # It broke (500, 502, 504).
    UPSTREAM_FAILED = "upstream_failed"
    UPSTREAM_TIMEOUT = "upstream_timeout"
    GENERATION_FAILED = "generation_failed"
    STEP_OUT_OF_MEMORY = "step_out_of_memory"
    PRODUCER_LOST = "producer_lost"
    INTERNAL_ERROR = "internal_error"

    # A job waits (jobs/rules): the one dominant reason of every job that is not running.
    QUEUE_QUOTA = "queue_quota"
    BORROW_LIMIT = "borrow_limit"
    QUEUE_CAP = "queue_cap"
    PRIORITY_CAP = "priority_cap"
    INSUFFICIENT_RESOURCES = "insufficient_resources"
    FRAGMENTED = "fragmented"
    TOPOLOGY = "topology"
    NODES_CLOSED = "nodes_closed"
    NEVER_FITS = "never_fits"
    RESERVED_FOR_OTHERS = "reserved_for_others"
    BEHIND_IN_QUEUE = "behind_in_queue"
    VICTIMS_STOPPING = "victims_stopping"
    NOT_BEFORE = "not_before"
    DEPENDENCY = "dependency"
    BACKING_OFF = "backing_off"
    CYCLE_LIMIT = "cycle_limit"

    # A waiting job was started (jobs/rules).
    IN_ORDER = "in_order"
    BACKFILLED = "backfilled"
    SEATS_WERE_HELD = "seats_were_held"

    # A running job was stopped (jobs/rules).
    PREEMPTED_BY_PRIORITY = "preempted_by_priority"
    QUOTA_RECLAIMED = "quota_reclaimed"
    PREEMPTED_FOR_FAIR_SHARE = "preempted_for_fair_share"
    PREEMPTED_BY_ORDER = "preempted_by_order"
    GANG_INCOMPLETE = "gang_incomplete"
    NODE_LOST = "node_lost"

    # A file or a batch was refused, or a line of it was not run (jobs/batches).
    FILE_TOO_LARGE = "file_too_large"
    FILE_STORAGE_LIMIT = "file_storage_limit"
    FILE_IN_USE = "file_in_use"
    FILE_LOST = "file_lost"
    UNREADABLE_FILE = "unreadable_file"
    EMPTY_FILE = "empty_file"
    TOO_MANY_LINES = "too_many_lines"
    LINE_TOO_LONG = "line_too_long"
    DUPLICATE_CUSTOM_ID = "duplicate_custom_id"
    MISMATCHED_URL = "mismatched_url"
    MISMATCHED_MODEL = "mismatched_model"
    OPEN_BATCHES_LIMIT = "open_batches_limit"
    BATCH_ENDED = "batch_ended"
    BATCH_EXPIRED = "batch_expired"
    BATCH_CANCELLED = "batch_cancelled"

    # A job failed, was refused or was stopped for its owner (jobs).
    USER_ERROR = "user_error"
    OUT_OF_MEMORY = "out_of_memory"
    PREEMPTED = "preempted"
    TIME_LIMIT = "time_limit"
    LAUNCH_FAILED = "launch_failed"
    DEPENDENCY_FAILED = "dependency_failed"
    DEADLINE_PASSED = "deadline_passed"
    CANCELLED_BY_USER = "cancelled_by_user"
    JOB_ENDED = "job_ended"
    JOB_CHANGED = "job_changed"
    QUEUED_JOBS_LIMIT = "queued_jobs_limit"
    LOCAL_EXECUTION_OFF = "local_execution_off"
