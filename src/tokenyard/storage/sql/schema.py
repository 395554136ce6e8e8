"""The tables, as the newest migration leaves them; a test compares the two.

Times are Unix seconds in double precision and come back exactly as they went in. Money is an
integer of nano-units. Nothing here is SQLite's alone.
"""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    false,
    text,
    true,
)

# Its tables hang on the same catalogue.
import tokenyard.storage.sql.chat_tables
import tokenyard.storage.sql.identity_tables
import tokenyard.storage.sql.ledger_tables
import tokenyard.storage.sql.operating_tables
import tokenyard.storage.sql.signatures  # noqa: F401
from tokenyard.storage.sql.metadata import metadata as metadata  # noqa: PLC0414

_OPEN = text("status = 'in_progress'")
_OPEN_BATCH = text("status IN ('validating', 'in_progress', 'finalizing', 'cancelling')")
_OPEN_JOB = text("state NOT IN ('succeeded', 'failed', 'cancelled', 'dead')")
_UNBILLED = text("unbilled")

conversations = Table(
    "conversations",
    metadata,
    Column("id", String, primary_key=True),
    Column("project_id", String, nullable=False),
    Column("user_id", String, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    Column("metadata", JSON, nullable=False),
    Column("title", String, nullable=False, server_default=""),
    Column("title_by", String, nullable=False, server_default="nobody"),
    Column("folder", String, nullable=False, server_default=""),
    Column("pinned", Boolean, nullable=False, server_default=false()),
    Column("archived", Boolean, nullable=False, server_default=false()),
    # The end of the branch in use. No foreign key: items refer to conversations already.
    Column("leaf_id", String),
    Index("ix_conversations_recent", "project_id", "user_id", "updated_at", "id"),
)

items = Table(
    "items",
    metadata,
    # The order in which items were added.
    Column(
        "place", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True
    ),
    Column("id", String, nullable=False, unique=True),
    Column("conversation_id", ForeignKey("conversations.id", ondelete="CASCADE")),
    # No foreign key: a copied item may name a response of the conversation it was copied from.
    Column("response_id", String, index=True),
    Column("role", String, nullable=False),
    Column("text", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("complete", Boolean, nullable=False),
    # The item before it; children of a deleted item become its parent's.
    Column("parent_id", String, index=True),
    Column("kind", String, nullable=False, server_default="message"),
    # Attachments, the call that is made or answered, the end of what a summary stands for.
    Column("detail", JSON(none_as_null=True)),
    Index(None, "conversation_id", "place"),
)

responses = Table(
    "responses",
    metadata,
    Column("id", String, primary_key=True),
    Column("project_id", String, nullable=False),
    Column("user_id", String, nullable=False),
    Column("key_id", String),
    Column("model", String, nullable=False),
    Column("status", String, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("finished_at", Double),
    Column("sampling", JSON, nullable=False),
    Column("conversation_id", ForeignKey("conversations.id", ondelete="CASCADE"), index=True),
    Column("instructions", Text),
    Column("metadata", JSON, nullable=False),
    # The four counts are there together or not at all.
    Column("prompt_tokens", BigInteger),
    Column("completion_tokens", BigInteger),
    Column("cached_tokens", BigInteger),
    Column("reasoning_tokens", BigInteger),
    Column("cost_nanos", BigInteger),
    Column("incomplete_reason", String),
    Column("error_reason", String),
    Column("error_message", Text),
    # The id of the item that holds the answer.
    Column("output_id", String),
    Column("stored", Boolean, nullable=False, server_default=true()),
    # What else it was asked with, to be told again.
    Column("options", JSON(none_as_null=True)),
    # The first two are there together or not at all.
    Column("first_token_ms", Double),
    Column("total_ms", Double),
    Column("queue_ms", Double),
    # Few responses are in progress at a time, however many have ended.
    Index("ix_responses_in_progress", "status", sqlite_where=_OPEN, postgresql_where=_OPEN),
)

usage_rows = Table(
    "usage_rows",
    metadata,
    # The completion's or response's id: what makes a bill unique.
    Column("id", String, primary_key=True),
    Column("at", Double, nullable=False),
    # Days since the Unix epoch, in UTC; follows from `at`.
    Column("day", Integer, nullable=False),
    Column("user_id", String, nullable=False),
    Column("project_id", String, nullable=False),
    Column("key_id", String),
    Column("model", String, nullable=False),
    Column("prompt_tokens", BigInteger, nullable=False),
    Column("completion_tokens", BigInteger, nullable=False),
    Column("cached_tokens", BigInteger, nullable=False),
    Column("reasoning_tokens", BigInteger, nullable=False),
    Column("cost_nanos", BigInteger, nullable=False),
    Column("currency", String, nullable=False),
    Column("finish", String, nullable=False),
    # Minutes since the Unix epoch; follows from `at`.
    Column("minute", BigInteger, nullable=False, server_default="0"),
    Column("organisation_id", String, nullable=False, server_default="org_default"),
    Column("tier", String, nullable=False, server_default="default"),
    Column("upstream", String, nullable=False, server_default=""),
    Column("job_id", String),
    # Thousandths of GPU-seconds, of work that is billed by time.
    Column("gpu_millis", BigInteger, nullable=False, server_default="0"),
    # What the prefix cache saved.
    Column("saved_nanos", BigInteger, nullable=False, server_default="0"),
    Index(None, "project_id", "at"),
    Index(None, "organisation_id", "at"),
    Index(None, "at"),
)

files = Table(
    "files",
    metadata,
    Column("id", String, primary_key=True),
    Column("project_id", String, nullable=False),
    Column("user_id", String, nullable=False),
    Column("filename", String, nullable=False),
    Column("purpose", String, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double, index=True),
    Index(None, "project_id", "created_at", "id"),
)

batches = Table(
    "batches",
    metadata,
    Column("id", String, primary_key=True),
    Column("project_id", String, nullable=False),
    Column("user_id", String, nullable=False),
    Column("key_id", String),
    Column("organisation_id", String, nullable=False, server_default="org_default"),
    # What the key that made it is held to.
    Column("key_models", JSON(none_as_null=True)),
    Column("server_tags", JSON(none_as_null=True)),
    Column("key_cap_nanos", BigInteger),
    Column("endpoint", String, nullable=False),
    # No foreign key: the file may be deleted once the batch has ended.
    Column("input_file_id", String, nullable=False),
    Column("status", String, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
    Column("metadata", JSON, nullable=False),
    Column("output_seconds", Integer),
    Column("model", String),
    Column("total", Integer, nullable=False),
    # Changed only together with `batch_results`.
    Column("completed", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    Column("prompt_tokens", BigInteger, nullable=False),
    Column("completion_tokens", BigInteger, nullable=False),
    Column("cached_tokens", BigInteger, nullable=False),
    Column("reasoning_tokens", BigInteger, nullable=False),
    # Statuses and when they were reached.
    Column("stamps", JSON, nullable=False),
    Column("faults", JSON, nullable=False),
    Column("stopped", String),
    Column("output_file_id", String),
    Column("error_file_id", String),
    Index(None, "project_id", "created_at", "id"),
    # Few batches are open at a time, however many have ended.
    Index("ix_batches_open", "status", sqlite_where=_OPEN_BATCH, postgresql_where=_OPEN_BATCH),
)

# Results of lines, until the batch ends and they are in its files.
batch_results = Table(
    "batch_results",
    metadata,
    Column("batch_id", ForeignKey("batches.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("custom_id", String, nullable=False),
    Column("request_id", String, nullable=False),
    Column("status", Integer, nullable=False),
    Column("body", Text, nullable=False),
    # The four counts are there together or not at all.
    Column("prompt_tokens", BigInteger),
    Column("completion_tokens", BigInteger),
    Column("cached_tokens", BigInteger),
    Column("reasoning_tokens", BigInteger),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", String, primary_key=True),
    Column("project_id", String, nullable=False),
    Column("queue", String, nullable=False),
    Column("type", String, nullable=False),
    Column("name", String, nullable=False),
    Column("state", String, nullable=False),
    Column("submitted_at", Double, nullable=False),
    Column("ended_at", Double),
    Column("version", BigInteger, nullable=False),
    # Rises with every change of any job; the leader reads what is newer than it knows.
    Column("revision", BigInteger, nullable=False, unique=True),
    # The whole record as JSON; the columns above are for finding it.
    Column("body", Text, nullable=False),
    Index(None, "project_id", "submitted_at", "id"),
    Index("ix_jobs_open", "project_id", sqlite_where=_OPEN_JOB, postgresql_where=_OPEN_JOB),
    Index(None, "ended_at"),
)

job_attempts = Table(
    "job_attempts",
    metadata,
    Column("job_id", ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("body", Text, nullable=False),
    # It has ended and is not in the ledger yet; few are, at any time.
    Column("unbilled", Boolean, nullable=False, server_default=false()),
    Index("ix_job_attempts_unbilled", "job_id", sqlite_where=_UNBILLED, postgresql_where=_UNBILLED),
)

job_events = Table(
    "job_events",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("job_id", ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    Column("body", Text, nullable=False),
    Index(None, "job_id", "number"),
)

job_nodes = Table(
    "job_nodes",
    metadata,
    Column("name", String, primary_key=True),
    Column("wanted", String, nullable=False),
    Column("body", Text, nullable=False),
)

# One row: who leads, and the last cycle that was written.
job_lease = Table(
    "job_lease",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("holder", String, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("until", Double, nullable=False),
    Column("applied_epoch", BigInteger, nullable=False),
    Column("applied_sequence", BigInteger, nullable=False),
)

job_samples = Table(
    "job_samples",
    metadata,
    Column("at", Double, primary_key=True),
    Column("body", Text, nullable=False),
)
