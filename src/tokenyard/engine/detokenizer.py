"""Token ids back to text, one at a time, without ever cutting a character.

Decides only when bytes are a whole character. Does not know stop strings or requests.
"""

import codecs

from tokenyard.engine.tokenizer import Tokenizer


class Detokenizer:
    """The text of one answer as it grows; all parts joined equal the text decoded at once."""

    def __init__(self, tokenizer: Tokenizer, *, specials: bool = False) -> None:
        """specials: whether control tokens show their names."""
        self._tokenizer = tokenizer
        self._specials = specials
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token: int) -> str:
        """The characters that this token completes; empty while one is still open."""
        data = self._tokenizer.token_bytes(token)
        if self._specials and not data:
            data = self._tokenizer.token_text(token).encode()
        return self._decoder.decode(data)

    def finish(self) -> str:
        """U+FFFD if the answer ends inside a character, else nothing."""
        return self._decoder.decode(b"", final=True)
