"""Names for blocks of tokens, such that equal names mean equal prefixes.

The name of a block is sha256 over the name of the block before it and its own tokens, so one name
stands for the whole text up to there. The first parent carries a salt: tenants with different salts
never share a block, and cannot learn from timing what another one has asked.
Does not know which blocks are stored.
"""

import hashlib
from array import array
from collections.abc import Sequence
from typing import NewType

BlockName = NewType("BlockName", bytes)


def name_root(salt: str) -> BlockName:
    """The parent of a first block."""
    return BlockName(hashlib.sha256(b"tokenyard prefix\0" + salt.encode()).digest())


def name_block(parent: BlockName, tokens: Sequence[int]) -> BlockName:
    """The name of the block that holds `tokens` and follows `parent`."""
    return BlockName(hashlib.sha256(parent + array("Q", tokens).tobytes()).digest())


def extend_names(
    names: list[BlockName], root: BlockName, tokens: Sequence[int], block_tokens: int
) -> None:
    """Add the names of those whole blocks of `tokens` that `names` does not have yet."""
    for place in range(len(names), len(tokens) // block_tokens):
        parent = names[-1] if names else root
        block = tokens[place * block_tokens : (place + 1) * block_tokens]
        names.append(name_block(parent, block))
