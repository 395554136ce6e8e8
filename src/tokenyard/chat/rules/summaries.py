"""Which turns a summary stands for, in what portions a long history is read, and short titles.

Knows roles and lengths of text; does not ask a model.
"""

from collections.abc import Sequence

from tokenyard.chat.rules.context import tell_turn
from tokenyard.vocabulary.messages import Message, Role

_ELLIPSIS = "…"


def count_covered(roles: Sequence[Role], keep: int) -> int:
    """How many turns from the first are summarised, so that the last `keep` questions stay."""
    questions = [place for place, role in enumerate(roles) if role is Role.USER]
    if keep == 0:
        return len(roles)
    return questions[-keep] if len(questions) > keep else 0


def cut_portions(turns: Sequence[Message], characters_max: int) -> list[str]:
    """The turns as a script in portions of bounded length; a turn that is longer is cut apart."""
    script = "\n\n".join(f"{turn.role.capitalize()}: {tell_turn(turn)}" for turn in turns)
    portions: list[str] = []
    while len(script) > characters_max:
        # At a paragraph, if there is one in the second half.
        cut = script.rfind("\n\n", characters_max // 2, characters_max)
        cut = characters_max if cut < 0 else cut
        portions.append(script[:cut])
        script = script[cut:].lstrip("\n")
    return [*portions, script] if script else portions


def tidy_title(text: str, characters_max: int) -> str:
    """One line without the quotes and marks that models put around titles; may be empty."""
    lines = [line.strip() for line in text.splitlines()]
    line = next((line for line in lines if line), "")
    for prefix in ("Title:", "title:", "**"):
        line = line.removeprefix(prefix).strip()
    line = " ".join(line.strip("\"'`*#“”„ ").rstrip(".").split())
    if len(line) <= characters_max:
        return line
    cut = line.rfind(" ", characters_max // 2, characters_max)
    return line[: cut if cut > 0 else characters_max - 1].rstrip(" ,;:") + _ELLIPSIS
