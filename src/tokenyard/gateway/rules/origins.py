"""Whether a request that carries a cookie comes from our own page (CSRF).

A key in a header proves intent by itself; a cookie is sent by the browser for anybody. Source:
OWASP CSRF Prevention Cheat Sheet, "Verifying Origin With Standard Headers"; Fetch Metadata (W3C).
"""

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def comes_from_us(method: str, host: str, origin: str | None, fetch_site: str | None) -> bool:
    """True for methods that change nothing, and for requests of a page on this very host."""
    if method in SAFE_METHODS:
        return True
    if origin is not None:
        return origin.partition("://")[2] == host
    return fetch_site == "same-origin"
