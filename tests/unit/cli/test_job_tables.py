"""What people read about jobs."""

from pathlib import Path

import pytest

from tokenyard.cli.job_tables import say_explanation
from tokenyard.cli.jobs import read_spec
from tokenyard.protocol.jobs import ChangeBody, EvidenceBody, ExplanationBody
from tokenyard.vocabulary.errors import InvalidRequest


def test_an_explanation_is_a_column_of_names_beside_one_of_values() -> None:
    told = say_explanation(
        ExplanationBody(
            job="job_1",
            state="queued",
            reason="insufficient_resources",
            sentence="Too little is free.",
            evidence=EvidenceBody(members_possible=0, gpus_free=1.0, planned_start=1_796_073_895.4),
            ahead_count=1,
            ahead=["job_0"],
            predicted_start=1_796_073_895.4,
            prediction="reckoned",
            resumes_at_step=1200,
            what_if=["with 1 fewer GPU per node it would start now"],
            changes=[ChangeBody(kind="fewer_gpus", count=1, name="worker")],
        )
    )
    first, *rest = told.splitlines()
    assert first == "Too little is free."
    assert {line[16] for line in rest} == {" "}
    assert [line[17:] for line in rest] == [
        "insufficient_resources",
        "0",
        "1.0",
        "2026-11-30 21:24:55 UTC",
        "1 job: job_0",
        "about 2026-11-30 21:24:55 UTC",
        "step 1200",
        "with 1 fewer GPU per node it would start now",
    ]


def test_a_job_file_that_cannot_be_read_is_told_in_words(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"none\.yaml cannot be read: No such file") as missing:
        read_spec(str(tmp_path / "none.yaml"))
    assert "Errno" not in missing.value.message
    (tmp_path / "latin.yaml").write_bytes(b"name: caf\xe9")
    with pytest.raises(InvalidRequest, match="it is not UTF-8 text"):
        read_spec(str(tmp_path / "latin.yaml"))
