"""Commands as a page of the documentation prints them."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def printed_commands(page: str, heading: str) -> list[str]:
    """Lines of the blocks without a language under a heading, those that end in a backslash joined to the next."""
    section = (ROOT / page).read_text().partition(f"## {heading}\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"^ *```\n(.*?)^ *```$", section, re.DOTALL | re.MULTILINE)
    lines = [line.strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    assert lines, f"{page}: no commands under {heading}"
    return lines
