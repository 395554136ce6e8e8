"""Who holds which block of the KV cache: free, cached or used; every step of it in O(1).

A block is *used* while a sequence refers to it, *cached* when nobody does but its contents still
have a name, and *free* otherwise. Free blocks are given out first, then the cached block that was
let go longest ago. Block 0 is never given out: padding points at it.
Does not know tokens, sequences or tensors.
"""

from collections import OrderedDict
from collections.abc import Sequence

from tokenyard.engine.rules.prefixes import BlockName

NULL_BLOCK = 0


class BlockPool:
    """Reference counts and the prefix cache over `block_count` blocks, numbered from 1."""

    def __init__(self, block_count: int) -> None:
        self.block_count = block_count
        self._references = [0] * (block_count + 1)
        self._names: list[BlockName | None] = [None] * (block_count + 1)
        self._free = list(range(block_count, 0, -1))
        # Insertion order is the order of release: the first one is evicted first.
        self._cached: OrderedDict[int, None] = OrderedDict()
        self._by_name: dict[BlockName, int] = {}

    @property
    def available(self) -> int:
        """Blocks that `take` can give: free ones and cached ones."""
        return len(self._free) + len(self._cached)

    @property
    def used(self) -> int:
        return self.block_count - self.available

    def take(self, count: int) -> list[int]:
        """Blocks with unknown contents and one reference each; the caller checks `available`."""
        if count > self.available:
            raise ValueError(f"{count} blocks asked for, {self.available} available")
        blocks = []
        for _ in range(count):
            if self._free:
                block = self._free.pop()
            else:
                block, _ = self._cached.popitem(last=False)
                self._forget_name(block)
            self._references[block] = 1
            blocks.append(block)
        return blocks

    def find(self, names: Sequence[BlockName], limit: int) -> list[int]:
        """The blocks of the longest stored prefix of `names`, at most `limit`; changes nothing."""
        blocks = []
        for name in names[: max(0, limit)]:
            block = self._by_name.get(name)
            if block is None:
                break
            blocks.append(block)
        return blocks

    def count_unused(self, blocks: Sequence[int]) -> int:
        """How many of them nobody refers to: sharing these lowers `available`."""
        return sum(1 for block in blocks if self._references[block] == 0)

    def share(self, blocks: Sequence[int]) -> None:
        """Add a reference to each."""
        for block in blocks:
            if self._references[block] == 0:
                del self._cached[block]
            self._references[block] += 1

    def is_shared(self, block: int) -> bool:
        """Whether more than one sequence refers to it, so that it must not be written."""
        return self._references[block] > 1

    def release(self, blocks: Sequence[int]) -> None:
        """Drop a reference to each. The last block goes first, so a prefix outlives its ends."""
        for block in reversed(blocks):
            if self._references[block] < 1:
                raise ValueError(f"block {block} is released more often than taken")
            self._references[block] -= 1
            if self._references[block]:
                continue
            if self._names[block] is None:
                self._free.append(block)
            else:
                self._cached[block] = None

    def publish(self, block: int, name: BlockName) -> None:
        """Let others find a used block whose contents are complete; a second copy stays unnamed."""
        if self._names[block] is None and name not in self._by_name:
            self._names[block] = name
            self._by_name[name] = block

    def forget_all(self) -> None:
        """Empty the prefix cache; used blocks stay with their sequences."""
        for name in list(self._by_name):
            self._forget_name(self._by_name[name])
        self._free.extend(self._cached)
        self._cached.clear()

    def check_integrity(self) -> None:
        """Raise ValueError unless free + cached + used is the whole pool and all names agree."""
        free, cached = set(self._free), set(self._cached)
        used = {block for block, count in enumerate(self._references) if count > 0}
        whole = set(range(1, self.block_count + 1))
        if len(free) != len(self._free) or free & cached or used & (free | cached):
            raise ValueError("a block is in two places")
        if free | cached | used != whole:
            raise ValueError(f"blocks are lost: {sorted(whole - free - cached - used)}")
        named = {block: name for name, block in self._by_name.items()}
        if named != {block: name for block, name in enumerate(self._names) if name is not None}:
            raise ValueError("names and blocks disagree")
        if free & named.keys() or not cached <= named.keys():
            raise ValueError("a free block has a name or a cached one has none")

    def _forget_name(self, block: int) -> None:
        name = self._names[block]
        if name is not None:
            del self._by_name[name]
            self._names[block] = None
