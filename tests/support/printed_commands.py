"""Commands as a page of the documentation prints them."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def printed_commands(page: str, heading: str | None) -> list[str]:
    """Lines of the blocks without a language, those that end in a backslash joined to the next.

    Args:
        page: its path in the repository.
        heading: what they are under, of the second level; None for the whole page.
    """
    section = (ROOT / page).read_text()
    if heading is not None:
        section = section.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [" ".join(line.split()) for line in command_lines(section)]
    assert lines, f"{page}: no commands under {heading}"
    return lines


def command_lines(text: str) -> list[str]:
    """Lines of all blocks without a language; blocks with one are gone through, so that their ends begin none."""
    blocks = re.findall(r"^ *```(\w*)\n(.*?)^ *```$", text, re.DOTALL | re.MULTILINE)
    return [line for language, block in blocks if not language for line in block.replace("\\\n", " ").splitlines()]
