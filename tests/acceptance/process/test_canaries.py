"""No prompt, answer, password or key is in anything that the processes write."""

import json

from acceptance.yard import MODEL, Yard, run

CANARIES = {
    "prompt": "canary-prompt-7f3a",
    "instructions": "canary-instructions-91bc",
    "file": "canary-file-aa02",
    "password": "canary-password-55e1",
    "metadata": "canary-metadata-0d0d",
    "broken": "canary-broken-json-c4c4",
    "wrong_key": "ty-canarykeycanarykeycanarykeycanarykeycana000000",
    "query": "canary-query-3b3b",
}


def test_what_is_secret_is_in_no_log(yard: Yard) -> None:
    key = run("keys", "create", "--name", "canary", home=yard.home).stdout.strip()
    signed = {"authorization": f"Bearer {key}"}
    turn = {"role": "user", "content": CANARIES["prompt"]}
    chat = {"model": MODEL, "messages": [turn], "max_tokens": 2}
    response = {
        "model": MODEL,
        "input": CANARIES["prompt"],
        "instructions": CANARIES["instructions"],
        "metadata": {"a": CANARIES["metadata"]},
        "max_output_tokens": 16,
    }
    said = yard.request("POST", "/v1/chat/completions", chat, headers=signed)
    assert said.status == 200, said.body
    assert yard.request("POST", "/v1/responses", response, headers=signed).status == 200
    refused = yard.request("POST", "/v1/chat/completions", {**chat, "n": 0, "user": 5})
    assert refused.status == 400
    broken = f'{{"messages": "{CANARIES["broken"]}'.encode()
    assert yard.request("POST", "/v1/chat/completions", raw=broken).status == 400
    told = {"email": "a@example.com", "password": CANARIES["password"]}
    assert yard.request("POST", "/api/sign-in", told, signed=False).status == 401
    wrong = {"authorization": f"Bearer {CANARIES['wrong_key']}"}
    assert yard.request("GET", "/v1/models", headers=wrong).status == 401
    yard.request("GET", f"/sign-in?token={CANARIES['query']}", signed=False)
    yard.request("GET", f"/v1/nothing?api_key={CANARIES['query']}")
    form = (
        '--b\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n--b\r\n'
        f'content-disposition: form-data; name="file"; filename="a"\r\n\r\n{CANARIES["file"]}'
        "\r\n--b--\r\n"
    )
    kind = {"content-type": "multipart/form-data; boundary=b"}
    assert yard.request("POST", "/v1/files", raw=form.encode(), headers=kind).status == 200

    written = yard.output()
    logs = sorted((yard.home / "run").rglob("*.log*"))
    assert logs
    for log in logs:
        written += log.read_text(encoding="utf-8", errors="replace")
    # They tell that something was done, by whom, and nothing of what.
    lines = [json.loads(line) for line in written.splitlines() if line.startswith("{")]
    assert any(line.get("route") == "/v1/responses" and line.get("user") for line in lines)
    answer = said.json()["choices"][0]["message"]["content"]
    secrets = [*CANARIES.values(), key, key.removeprefix("ty-")]
    assert [secret for secret in secrets if secret in written] == []
    assert len(answer) < 8 or answer not in written
