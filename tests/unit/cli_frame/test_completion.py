"""The completion script offers what the parsers take."""

from __future__ import annotations

import subprocess
import unittest
from types import ModuleType
from unittest import mock

from flowgate_engine.cli import common, completion, table


def _register(commands: common.Commands) -> None:
    one = commands.add_parser("profile", help="profiles")
    actions = one.add_subparsers()
    actions.add_parser("list", help="all of them").add_argument("--json", action="store_true", help="it's one document")
    actions.add_parser("set", help="choose").add_argument("name", choices=["balanced", "cost"])
    commands.add_parser("status", help="what runs").add_argument("-w", "--watch", action="store_true")


class Completion(unittest.TestCase):
    def setUp(self) -> None:
        module = ModuleType("flowgate_engine.cli.pretended")
        module.register = _register  # type: ignore[attr-defined]
        self.enterContext(mock.patch.dict("sys.modules", {module.__name__: module}))
        names = {n: table.Command("pretended", n, "other") for n in ("profile", "status")}
        self.enterContext(mock.patch.object(completion, "COMMANDS", names))

    def offered(self, *words: str) -> list[str]:
        """What bash offers for the last word of a line."""
        script = completion.bash(completion.levels())
        line = " ".join(f"'{word}'" for word in ("flowgate", *words))
        script += f"\nCOMP_WORDS=({line}); COMP_CWORD={len(words)}; _flowgate; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=30, check=True)
        self.assertEqual(done.stderr, "")
        return done.stdout.split()

    def test_bash_follows_the_line(self) -> None:
        self.assertEqual(self.offered("pro"), ["profile"])
        self.assertEqual(self.offered("profile", ""), ["--help", "list", "set"])
        self.assertEqual(self.offered("profile", "list", "--"), ["--help", "--json"])
        self.assertEqual(self.offered("profile", "set", "b"), ["balanced"])
        self.assertEqual(self.offered("--config", "x.yaml", "status", "--w"), ["--watch"])
        self.assertEqual(self.offered("--con"), ["--config"])

    def test_fish_has_the_help_and_its_quotes_hold(self) -> None:
        script = completion.fish(completion.levels())
        self.assertIn("complete -c flowgate -n '__flowgate_at profile list' -l json -d 'it'\\''s one document'", script)
        self.assertIn("complete -c flowgate -n '__flowgate_at' -a 'status' -d 'status'", script)

    def test_the_real_commands(self) -> None:
        with mock.patch.object(completion, "COMMANDS", table.COMMANDS):
            found = {level.path: [word for word, _ in level.words] for level in completion.levels()}
        self.assertEqual(set(table.COMMANDS) - set(found[()]), set())
        self.assertIn("--watch", found["status",])
        self.assertIn("restart", found["service",])
