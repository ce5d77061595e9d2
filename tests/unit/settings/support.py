"""Workspaces in temporary folders, and the edits that hints ask for."""

from __future__ import annotations

import re
import tempfile
import unittest
from pathlib import Path

from flowgate_engine.config.load import Loaded, parse_config
from flowgate_engine.errors import ConfigError, Problem
from flowgate_engine.paths import Workspace, workspace_of

MINIMAL = "config_version: 4\nlitellm_base: {}\n"


class ConfigCase(unittest.TestCase):
    """A test with a workspace of its own."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)
        self.workspace: Workspace = workspace_of(self.root / "config" / "flowgate.yaml")
        self.workspace.config.parent.mkdir()

    def parse(self, text: str) -> Loaded:
        return parse_config(self.workspace, text.encode())

    def problems(self, text: str) -> tuple[Problem, ...]:
        with self.assertRaises(ConfigError) as caught:
            self.parse(text)
        return caught.exception.problems

    def only(self, text: str) -> Problem:
        found = self.problems(text)
        self.assertEqual(1, len(found), [p.message for p in found])
        return found[0]


def edit(text: str, hint: str) -> str:
    """`text` after the edit that a hint describes, done to the letter."""
    lines = text.splitlines()
    match = re.search(r"line (\d+)", hint)
    if match is None:
        raise AssertionError(f"no line in the hint: {hint}")
    number = int(match[1]) - 1
    line = lines[number]
    if found := re.search(r'write "(.*)" instead of "(.*)"', hint):
        if found[2] not in line:
            raise AssertionError(f"{found[2]!r} is not in {line!r}")
        lines[number] = line.replace(found[2], found[1], 1)
    elif found := re.search(r'add the line "(.*)"', hint):
        lines.insert(number + 1 if found[1].startswith(" ") else number, found[1])
    elif found := re.search(r'write "([^"]*)", or', hint) or re.search(r'write "(.*)"', hint):
        indent = re.match(r"[\s-]*", line)
        lines[number] = (indent[0] if indent else "") + found[1]
    elif found := re.search(r'delete "(.*?)"', hint):
        lines[number] = "" if "below it" in hint else line.replace(found[1], "", 1)
    elif found := re.search(r"start the line with (\d+) spaces", hint):
        lines[number] = " " * int(found[1]) + line.lstrip(" \t")
    elif "put quotes around the value" in hint:
        head, mark, value = line.partition(": ") if ": " in line else line.partition("- ")
        lines[number] = f'{head}{mark}"{value}"'
    elif "put quotes around the key" in hint:
        lines[number] = re.sub(r"^(\s*)([^:]*):", r'\1"\2":', line)
    elif "delete line" in hint:
        del lines[number]
    else:
        raise AssertionError(f"not an edit: {hint}")
    return "\n".join(lines) + "\n"
