"""nginx before several gateways: its configuration, and where its program is.

Requests about one conversation or response go to the same gateway while it is there, by consistent
hashing; that spares work and is never needed to be right. Streams pass unbuffered, WebSockets are
handed through. A request that could not be sent is tried at the next gateway; one that was sent is
not, since it may have begun an answer. Does not start anything.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

# Longer than the longest silence of a stream, which heartbeats make short.
_STREAM_SECONDS = 3600
_CONNECT_SECONDS = 2


@dataclass(frozen=True, slots=True)
class NginxPlan:
    """What the configuration says.

    listen: `address:port`. gateways: `host:port` of each. folder: where nginx keeps its pid and
    what does not fit into memory; None leaves these to nginx, as in a container of its own.
    """

    listen: str
    gateways: tuple[str, ...]
    folder: Path | None = None
    # Gateways that get no new requests, as while they are started again.
    resting: frozenset[str] = frozenset()


def find_nginx() -> str | None:
    """Its program, if it is installed."""
    found = shutil.which("nginx", path=None) or shutil.which("nginx", path="/usr/sbin:/sbin")
    return None if found is None else str(Path(found).resolve())


def serve_command(program: str, configuration: Path) -> tuple[str, ...]:
    """Runs it in the foreground; SIGQUIT is its orderly stop, SIGHUP reads the file again."""
    return (program, "-p", str(configuration.parent), "-c", str(configuration))


def render(plan: NginxPlan) -> str:
    """The whole configuration file."""
    return (
        _HEAD.replace("@process@", _process_lines(plan.folder))
        .replace("@folders@\n", _folder_lines(plan.folder))
        .replace("@servers@", "\n".join(_server_line(plan, name) for name in plan.gateways))
        .replace("@listen@", plan.listen)
    )


def _process_lines(folder: Path | None) -> str:
    if folder is None:
        return "error_log stderr warn;"
    return f'daemon off;\npid "{folder}/nginx.pid";\nerror_log stderr warn;'


def _folder_lines(folder: Path | None) -> str:
    """A user without rights has no other place for what does not fit into memory."""
    if folder is None:
        return ""
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    return "".join(f'    {kind}_temp_path "{folder}/{kind}";\n' for kind in kinds)


def _server_line(plan: NginxPlan, gateway: str) -> str:
    down = " down" if gateway in plan.resting else ""
    return f"        server {gateway} max_fails=1 fail_timeout=1s{down};"


_HEAD = f"""# Made by `tokenyard nginx`: several gateways behind one address.
worker_processes auto;
worker_rlimit_nofile 65536;
@process@

events {{
    worker_connections 16384;
}}

http {{
@folders@
    access_log off;
    server_tokens off;

    # What a request is about: the same conversation or response goes to the same gateway.
    map $uri $tokenyard_subject {{
        "~^/(?:v1|api)/(?:responses|conversations)/(?<subject>[^/]+)"  $subject;
        default  $request_id;
    }}
    map $http_upgrade $tokenyard_connection {{
        ""       "";
        default  upgrade;
    }}

    upstream tokenyard_gateways {{
        hash $tokenyard_subject consistent;
@servers@
        keepalive 64;
    }}

    server {{
        listen @listen@;

        # The gateways have limits of their own, and say which one was met.
        client_max_body_size 0;

        location / {{
            proxy_pass http://tokenyard_gateways;
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Request-Id $request_id;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $tokenyard_connection;

            # A token is passed on when it comes; uploads likewise.
            proxy_buffering off;
            proxy_request_buffering off;
            gzip off;

            proxy_connect_timeout {_CONNECT_SECONDS}s;
            proxy_read_timeout {_STREAM_SECONDS}s;
            proxy_send_timeout 60s;
            # Only what was not sent yet is tried elsewhere: nothing is asked for twice.
            proxy_next_upstream error timeout;
        }}
    }}
}}
"""
