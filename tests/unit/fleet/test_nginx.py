"""What the configuration of nginx says for which plan; nginx itself is asked elsewhere."""

import re
from pathlib import Path

from tokenyard.fleet.services.nginx import NginxPlan, render


def test_every_gateway_is_named_and_those_that_rest_get_nothing() -> None:
    told = render(NginxPlan("0.0.0.0:80", ("a:1", "b:2"), resting=frozenset({"b:2"})))
    lines = [line.strip() for line in told.splitlines()]
    assert "listen 0.0.0.0:80;" in lines
    assert "server a:1 max_fails=1 fail_timeout=1s;" in lines
    assert "server b:2 max_fails=1 fail_timeout=1s down;" in lines
    assert "proxy_buffering off;" in lines


def test_all_files_lie_in_the_folder() -> None:
    told = render(NginxPlan("80", ("a:1",), Path("/home/my yard")))
    assert 'pid "/home/my yard/nginx.pid";' in told
    assert len(re.findall(r'_temp_path "/home/my yard/', told)) == 5
    bare = render(NginxPlan("80", ("a:1",)))
    assert "/home" not in bare
    assert "@" not in told + bare


def test_requests_about_one_thing_are_sent_to_one_gateway() -> None:
    told = render(NginxPlan("80", ("a:1",)))
    found = re.search(r'"~(\^[^"]+)"\s+\$subject;', told)
    assert found is not None
    pattern = re.compile(found[1].replace("(?<", "(?P<"))
    for path, subject in {
        "/v1/responses/resp_1": "resp_1",
        "/v1/responses/resp_1/cancel": "resp_1",
        "/v1/conversations/conv_2/items": "conv_2",
        "/api/conversations/conv_2": "conv_2",
    }.items():
        match = pattern.match(path)
        assert match is not None, path
        assert match["subject"] == subject
    for path in ("/v1/responses", "/v1/chat/completions", "/"):
        assert pattern.match(path) is None
