"""`cliproxyapi.yaml`: only the keys we use are checked."""

from __future__ import annotations

import unittest

from flowgate_engine.config.cliproxyapi import parse_cliproxyapi
from flowgate_engine.config.load import load_cliproxyapi
from flowgate_engine.errors import ConfigError, Problem

from .support import ConfigCase, edit


def only(text: str) -> Problem:
    """The one problem of a file."""
    try:
        parse_cliproxyapi(text.encode(), "c.yaml")
    except ConfigError as error:
        assert len(error.problems) == 1, error.problems
        return error.problems[0]
    raise AssertionError("accepted")


class Types(unittest.TestCase):
    """Each wrong type has its place, and a hint that mends it."""

    def test_hints_mend(self) -> None:
        for text, line in (
            ("port: 0\n", 1),
            ("port: '8317'\n", 1),
            ("port: true\n", 1),
            ("host: 5\n", 1),
            ("a: 1\nauth-dir: [x]\n", 2),
            ("api-keys: sk\n", 1),
            ("api-keys:\n  - 12345678\n", 2),
            ("remote-management: yes\n", 1),
            ("remote-management:\n  allow-remote: 'no'\n", 2),
            ("remote-management:\n  secret-key: 12345\n", 2),
            ("openai-compatibility: x\n", 1),
            ("openai-compatibility:\n  - name: 5\n", 2),
        ):
            with self.subTest(text):
                found = only(text)
                assert found.place is not None
                self.assertEqual(line, found.place.line)
                parse_cliproxyapi(edit(text, found.hint or "").encode(), "c.yaml")
                self.assertNotIn("12345", repr(found))

    def test_template_keys(self) -> None:
        for number in (1, 2, 3):
            text = f'api-keys:\n  - mine-0123456789\n  - "your-api-key-{number}"\n'
            found = only(text)
            assert found.place is not None
            self.assertEqual((3, 5), found.place[1:])
            after = parse_cliproxyapi(edit(text, found.hint or "").encode(), "c.yaml")
            self.assertEqual("os.environ/CLIPROXYAPI_API_KEY", after.document.value["api-keys"][1])

    def test_all_at_once(self) -> None:
        with self.assertRaises(ConfigError) as caught:
            parse_cliproxyapi(b"port: x\nhost: 1\napi-keys: [your-api-key-1, 5]\n", "c.yaml")
        self.assertEqual([1, 2, 3, 3], [p.place.line for p in caught.exception.problems if p.place])

    def test_unknown_keys_and_empty_ones_are_its_own_business(self) -> None:
        text = "api-keys: [abc]\nauth-dir: a\nport:\nremote-management:\nnew-thing: {a: [1]}\n"
        self.assertEqual((), parse_cliproxyapi(text.encode(), "c").warnings)

    def test_not_a_mapping(self) -> None:
        for text in ("", "- a\n", "text\n"):
            self.assertIn("mapping", only(text).message)

    def test_open_doors_are_warnings(self) -> None:
        text = "remote-management:\n  allow-remote: true\n"
        messages = [w.message for w in parse_cliproxyapi(text.encode(), "c").warnings]
        self.assertEqual(3, len(messages))

    def test_accounts_that_would_not_be_found_are_a_warning_that_its_hint_ends(self) -> None:
        text = "api-keys: [abc]\nport: 8317\n"
        warnings = parse_cliproxyapi(text.encode(), "c").warnings
        self.assertEqual(1, len(warnings))
        self.assertIn(".flowgate/auth", warnings[0].message)
        self.assertEqual((), parse_cliproxyapi(edit(text, warnings[0].hint or "").encode(), "c").warnings)


class Disk(ConfigCase):
    """The file beside flowgate.yaml."""

    def test_missing_has_the_command_that_makes_it(self) -> None:
        with self.assertRaises(ConfigError) as caught:
            load_cliproxyapi(self.workspace)
        self.assertEqual(f"flowgate --config {self.workspace.config} config init", caught.exception.problems[0].hint)
