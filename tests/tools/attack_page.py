#!/usr/bin/env python3
"""Writes the generated part of docs/attacks.md from the registry, as `mith-attack --attack help --json` tells it.

    MITH_BIN=build/bin python3 tests/tools/attack_page.py          rewrites the page
What stands outside the two marks is written by hand and kept. Standard library only.
"""
import itertools
import json
import os
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs/attacks.md"
BEGIN = "<!-- written by tests/tools/attack_page.py: begin -->\n"
END = "<!-- written by tests/tools/attack_page.py: end -->\n"


def cell(text):
    return text.replace("|", "\\|") or "-"


def section(group, attacks):
    lines = [f"## {group[0].upper()}{group[1:]}", "", "| attack | what it does | norm | access | targeted | cost |",
             "|---|---|---|---|---|---|"]
    for attack in attacks:
        facts = (cell(attack["facts"].get(fact, "")) for fact in ("norm", "access", "targeted", "cost"))
        lines.append(f"| `{attack['name']}` | {cell(attack['summary'])} | {' | '.join(facts)} |")
    lines.append("")
    for attack in attacks:
        keys = ", ".join(f"{key['key']}={key['default']}" for key in attack["keys"])
        lines.append(f"- `{attack['name']}`" + (f" `{keys}`" if keys else "") + f"  \n  {attack['paper']}")
    return "\n".join(lines) + "\n\n"


def generated(attacks):
    """The part between the marks; the attacks come group by group."""
    return "".join(section(group, list(members))
                   for group, members in itertools.groupby(attacks, key=lambda attack: attack["group"]))


def page():
    """The page as it should be."""
    binary = pathlib.Path(os.environ.get("MITH_BIN", ROOT / "build/bin")) / "mith-attack"
    listed = subprocess.run([binary, "--attack", "help", "--json"], capture_output=True, text=True, check=True)
    text = PAGE.read_text()
    before, rest = text.split(BEGIN)
    return before + BEGIN + "\n" + generated(json.loads(listed.stdout)) + END + rest.split(END)[1]


if __name__ == "__main__":
    PAGE.write_text(page())
