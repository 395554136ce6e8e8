"""A conversation as a tree: which leaf a branch ends in.

Knows ids and parents; does not know what items say.
"""

from collections.abc import Sequence
from typing import TypeVar

Id = TypeVar("Id", bound=str)


def find_leaf(tree: Sequence[tuple[Id, Id | None]], start: Id) -> Id:
    """The leaf that is reached from an item by always taking the child that was added last.

    tree: (item, parent) in the order in which items were added, so that a parent comes before its
    children. Raises KeyError when `start` is not in it.
    """
    newest: dict[Id | None, Id] = {}
    known = set()
    for item, parent in tree:
        newest[parent] = item
        known.add(item)
    if start not in known:
        raise KeyError(start)
    here = start
    while (below := newest.get(here)) is not None:
        here = below
    return here
