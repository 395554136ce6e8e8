"""What a search looks for, and the piece of a text in which it was found.

All words must occur, the last one as a beginning, because people search while they type. Scripts
without spaces between words (Chinese, Japanese, Thai) are searched for as they are written.
Knows no database.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

WORDS_MAX = 16
_WORD = re.compile(r"\w+")
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")
_BEFORE, _AFTER = 48, 112


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """Either words, the last of which may go on, or a piece of text as it is written."""

    words: tuple[str, ...] = ()
    piece: str = ""


@dataclass(frozen=True, slots=True)
class SnippetPart:
    """A part of a snippet, and whether it is what was looked for."""

    text: str
    match: bool


def read_query(text: str) -> SearchQuery | None:
    """What to look for; None when there is no word in it."""
    if _UNSPACED.search(text):
        return SearchQuery(piece=" ".join(text.split()))
    words = tuple(word.lower() for word in _WORD.findall(text))[:WORDS_MAX]
    return SearchQuery(words=words) if words else None


def matches(query: SearchQuery, text: str) -> bool:
    """Whether a text is found."""
    low = text.lower()
    if query.piece:
        return query.piece.lower() in low
    said = _WORD.findall(low)
    *whole, last = query.words
    return all(word in said for word in whole) and any(word.startswith(last) for word in said)


def cut_snippet(query: SearchQuery, text: str) -> list[SnippetPart]:
    """The surroundings of the first place where something of the query occurs, on one line."""
    looked_for = [query.piece] if query.piece else list(query.words)
    pattern = re.compile("|".join(re.escape(one) for one in looked_for), re.IGNORECASE)
    first = pattern.search(text)
    start = max(0, (first.start() if first else 0) - _BEFORE)
    end = min(len(text), (first.end() if first else 0) + _AFTER)
    shown = " ".join(text[start:end].split())
    shown = ("…" if start else "") + shown + ("…" if end < len(text) else "")
    return _mark(pattern.finditer(shown), shown)


def _mark(found: Iterator[re.Match[str]], shown: str) -> list[SnippetPart]:
    parts, place = [], 0
    for match in found:
        if match.start() > place:
            parts.append(SnippetPart(shown[place : match.start()], match=False))
        parts.append(SnippetPart(match[0], match=True))
        place = match.end()
    if place < len(shown):
        parts.append(SnippetPart(shown[place:], match=False))
    return parts
