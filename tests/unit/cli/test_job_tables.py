"""What people read about jobs."""

from tokenyard.cli.job_tables import say_explanation
from tokenyard.protocol.jobs import ChangeBody, EvidenceBody, ExplanationBody


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
        "2026-11-30 21:24:55",
        "1 job: job_0",
        "about 2026-11-30 21:24:55",
        "step 1200",
        "with 1 fewer GPU per node it would start now",
    ]
