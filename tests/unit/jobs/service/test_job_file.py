"""Job files: what they say, and the line of what is wrong with them."""

from pathlib import Path

import jsonschema
import msgspec
import pytest

from tokenyard.jobs.spec import job_file_schema, read_job_file
from tokenyard.protocol.jobs import JobSpec, RoleSpec
from tokenyard.vocabulary.errors import InvalidRequest

YAML = """\
name: pretrain
type: training
command: [python, train.py]
roles:
  - name: worker
    replicas: 4
    gpus: 8
    gpu_models: [h200]
  - name: evaluator
time_limit_seconds: 3600
retries:
  node_lost: 3
not_before: 2026-11-24T08:00:00Z
labels: {team: a}
"""
TOML = """\
name = "pretrain"
type = "training"
command = ["python", "train.py"]
time_limit_seconds = 3600
not_before = 2026-11-24T08:00:00Z

[[roles]]
name = "worker"
replicas = 4
gpus = 8
gpu_models = ["h200"]

[[roles]]
name = "evaluator"

[retries]
node_lost = 3

[labels]
team = "a"
"""


def fault(text: str, name: str) -> str:
    with pytest.raises(InvalidRequest) as caught:
        read_job_file(text, name)
    return caught.value.message


def test_the_three_formats_say_the_same() -> None:
    spec = read_job_file(YAML, "job.yaml")
    assert spec == read_job_file(TOML, "job.toml")
    assert spec.roles[0] == RoleSpec(name="worker", replicas=4, gpus=8, gpu_models=("h200",))
    again = msgspec.json.encode(spec)
    assert msgspec.json.decode(again, type=JobSpec) == spec
    assert read_job_file(again.decode(), "job.json") == spec


def test_the_published_schema_holds_for_the_example() -> None:
    schema = job_file_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    told = msgspec.json.decode(msgspec.json.encode(read_job_file(YAML, "job.yaml")))
    jsonschema.validate({k: v for k, v in told.items() if v is not None}, schema)


def test_the_committed_schema_is_that_of_the_code() -> None:
    page = Path(__file__).parents[4] / "docs/reference/job-file.schema.json"
    assert msgspec.json.decode(page.read_bytes()) == msgspec.json.decode(
        msgspec.json.encode(job_file_schema())
    )


@pytest.mark.parametrize(
    ("text", "name", "line", "word"),
    [
        (YAML.replace("gpus: 8", "gpus: many"), "j.yaml", 7, "gpus"),
        (YAML.replace("    gpus: 8", "    gpsu: 8"), "j.yaml", 7, "gpsu"),
        (YAML.replace("node_lost: 3", "node_lost: -1"), "j.yaml", 12, "node_lost"),
        (YAML.replace("type: training", "type: gaming"), "j.yaml", 2, "type"),
        (YAML + "name: twice\n", "j.yaml", 15, "twice"),
        (YAML.replace("[python, train.py]", "[python"), "j.yaml", 4, "expected"),
        ("a: &x [1]\nb: *x\n", "j.yaml", 2, "aliases"),
        ("- 1\n", "j.yaml", 1, "object"),
        ("", "j.yaml", 1, "object"),
        ("type: other\n", "j.yaml", 1, "name"),
        (TOML.replace("gpus = 8", 'gpus = "many"'), "j.toml", 10, "gpus"),
        (TOML.replace('"evaluator"', '"evaluator"\ngpu = 1'), "j.toml", 15, "gpu"),
        (TOML.replace("node_lost = 3", "node_lost = -1"), "j.toml", 17, "node_lost"),
        (TOML.replace("gpus = 8", "gpus = "), "j.toml", 10, "Invalid"),
        (YAML.replace("2026-11-24T08:00:00Z", "soon"), "j.yaml", 13, "not_before"),
    ],
)
def test_a_mistake_names_its_line(text: str, name: str, line: int, word: str) -> None:
    told = fault(text, name)
    assert told.startswith(f"{name}:{line}: ")
    assert word in told


def test_paths_out_of_the_working_folder_are_refused() -> None:
    for path in ("/etc/x", "../x", "a/../../x"):
        assert "files" in fault(f"name: x\nfiles: {{'{path}': y}}\n", "j.yaml")


def test_the_example_of_the_guide_is_a_job_file() -> None:
    guide = (Path(__file__).parents[4] / "docs/howto/jobs.md").read_text()
    spec = read_job_file(guide.split("```yaml\n")[1].split("```")[0], "train.yaml")
    assert spec.checkpoint.on_signal
