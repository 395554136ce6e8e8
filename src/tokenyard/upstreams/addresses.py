"""Where a server may lie that was added through the API: at hosts that the operator named.

A caller who could name any address would make the gateway a way into the operator's network. So
the host has to be in `upstreams.routing.allowed_hosts`; what a name means is looked up anew with
each connection, and an answer that points into the machine or to its metadata service is refused
unless the operator allowed that very address. Redirects are never followed.
"""

import ipaddress
import socket
from typing import Any
from urllib.parse import urlsplit

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from tokenyard.vocabulary.errors import InvalidRequest


def check_address(url: str, allowed_hosts: tuple[str, ...]) -> None:
    """Raise InvalidRequest for an address at which no server may lie."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise InvalidRequest("This is no address.", param="url") from None
    plain = parts.scheme in ("http", "https") and host and parts.username is None
    if not plain or parts.query or parts.fragment or "\\" in url or any(c.isspace() for c in url):
        raise InvalidRequest("An address is http(s)://host[:port][/path].", param="url")
    spelled = f"[{host}]" if ":" in host else host
    if spelled not in allowed_hosts and f"{spelled}:{port}" not in allowed_hosts:
        raise InvalidRequest(
            f"The operator does not allow model servers at {spelled!r} "
            "(upstreams.routing.allowed_hosts).",
            param="url",
        )


def is_inside(address: str) -> bool:
    """Whether an address is this machine, its link or nobody: never what a public name means."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return True
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return (
        found.is_loopback
        or found.is_link_local
        or found.is_unspecified
        or found.is_multicast
        or found.is_reserved
    )


class CheckedResolver(AbstractResolver):
    """Looks names up, and refuses answers that point inside: a name may change its meaning."""

    def __init__(
        self, allowed_hosts: tuple[str, ...], inner: AbstractResolver | None = None
    ) -> None:
        self._allowed = {host.rpartition(":")[0] or host for host in allowed_hosts}
        self._inner = inner or ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Every address of a name; raises OSError when one of them is inside."""
        found = await self._inner.resolve(host, port, family)
        for one in found:
            if is_inside(one["host"]) and one["host"] not in self._allowed and host != "localhost":
                raise OSError(None, f"{host} means {one['host']}, which is not allowed")
        return found

    async def close(self) -> None:
        """Give back what the inner one holds."""
        await self._inner.close()


def connector_options(allowed_hosts: tuple[str, ...]) -> dict[str, Any]:
    """For a connector to servers that were added through the API: names are asked each time."""
    return {"resolver": CheckedResolver(allowed_hosts), "use_dns_cache": False}
