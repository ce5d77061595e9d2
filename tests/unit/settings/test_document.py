"""YAML with places: limits, refusals, spans, snippets."""

from __future__ import annotations

import time
import unittest

import yaml

from flowgate_engine.config.document import parse
from flowgate_engine.errors import ConfigError, Problem

from .support import edit

#: Seconds; the promise is one second on an idle machine, and this one may be busy.
LIMIT_S = 3.0


def problem(text: str | bytes) -> Problem:
    """What is wrong with a file."""
    try:
        parse(text if isinstance(text, bytes) else text.encode(), "f.yaml")
    except ConfigError as error:
        return error.problems[0]
    raise AssertionError("accepted")


def where(found: Problem) -> tuple[int | None, int | None]:
    assert found.place is not None
    return found.place.line, found.place.column


class Hostile(unittest.TestCase):
    """What must neither crash nor hang."""

    def test_every_hostile_input_ends_in_time_with_an_error(self) -> None:
        bomb = b"a: &a [x,x,x,x,x,x,x,x,x,x]\n" + b"".join(
            b"%c: &%c [%s]\n" % (98 + i, 98 + i, b",".join([b"*%c" % (97 + i)] * 10)) for i in range(9)
        )
        merges = b"a: &a\n" + b"".join(b"  k%d: 1\n" % i for i in range(5000))
        cases = {
            "deep": b"[" * 400_000,
            "deep mappings": b"".join(b" " * i + b"a:\n" for i in range(1300)),
            "deep keys": b"? " * 400_000,
            "too many": b"- a\n" * 240_000,
            "bomb": bomb,
            "merge bomb": merges + b"".join(b"m%d:\n  <<: *a\n" % i for i in range(50_000)),
            "alias chain": b"a0: &a0 [x]\n" + b"".join(b"a%d: &a%d [*a%d]\n" % (i, i, i - 1) for i in range(1, 300)),
            "loop": b"a: &a [*a]\n",
            "too large": b"#" * 1_000_001,
            "long line": b"a: " + b"x " * 400_000 + b": y\n",
            "quotes": b'"' * 999_000,
        }
        for name, data in cases.items():
            with self.subTest(name):
                started = time.monotonic()
                problem(data)
                self.assertLess(time.monotonic() - started, LIMIT_S)

    def test_a_million_digits_are_text(self) -> None:
        self.assertEqual({"a": "9" * 900_000}, parse(b"a: " + b"9" * 900_000, "f").value)
        self.assertEqual({"a": "1" + ":59" * 100_000}, parse(b"a: 1" + b":59" * 100_000, "f").value)

    def test_a_hundred_levels_are_fine(self) -> None:
        parse(b"[" * 100 + b"]" * 100, "f")
        self.assertIn("deeper than 100", problem(b"[" * 101 + b"]" * 101).message)

    def test_tags_are_refused_with_their_place(self) -> None:
        for text in ("a:\n  b: !!python/object/apply:os.system [ls]\n", "a:\n  b: !mine x\n", "a:\n  b: !!set {x}\n"):
            found = problem(text)
            self.assertEqual((2, 6), where(found))
            parse(edit(text, found.hint or "").encode(), "f")


class Values(unittest.TestCase):
    """The values are those of PyYAML's safe loader."""

    def test_same_as_safe_load(self) -> None:
        text = (
            "a: [1, 0x1f, 010, 1.5, .inf, 1e3, 1.0e-06, ~, null, yes, off, 12:30:45, 2024-01-02]\n"
            "b: 'it''s'\nc: \"x\\ty\"\nd: |\n  two\n  lines\ne: >-\n  folded\n  text\nf:\n"
            "g: !!str 5\nh: !!int '7'\ni: &x {k: v}\nj: *x\nk: {<<: *x, k: w, n: 1}\nl: [*x, *x]\n"
            "m:\n- q\n-\n- r: s\n1: one\ntrue: two-\n"
        ).replace("true: two-\n", "")
        self.assertEqual(yaml.safe_load(text), parse(text.encode(), "f").value)

    def test_empty_files(self) -> None:
        for data in (b"", b"# only a comment\n", b"---\n", b"\xef\xbb\xbf"):
            self.assertIsNone(parse(data, "f").value)

    def test_merge_of_several_takes_the_first(self) -> None:
        text = b"x: &x {k: 1}\ny: &y {k: 2, l: 3}\nz: {<<: [*x, *y]}\n"
        self.assertEqual({"k": 1, "l": 3}, parse(text, "f").value["z"])


class Places(unittest.TestCase):
    """Lines, columns and byte spans."""

    def test_places_of_keys_and_values(self) -> None:
        document = parse("ä: 1\nb:\n  - c: x\n    d: 'y'\n".encode(), "f")
        self.assertEqual((4, 8), document.place(("b", 0, "d"))[1:])
        self.assertEqual((4, 5), document.place(("b", 0, "d"), key=True)[1:])
        self.assertEqual((1, 4), document.place(("ä",))[1:])
        with self.assertRaises(KeyError):
            document.place(("b", 1))

    def test_spans_are_the_bytes_of_each_scalar(self) -> None:
        data = "\ufeffä: 'ü ü'\nb: [\"€\", plain text , 3]\r\nc: &anchor !!str  tagged # x\nd: *anchor\ne:\n".encode()
        document = parse(data, "f")
        for path, expected in {
            ("ä",): "'ü ü'",
            ("b", 0): '"€"',
            ("b", 1): "plain text",
            ("b", 2): "3",
            ("c",): "tagged",
            ("d",): "tagged",
            ("e",): "",
        }.items():
            start, end = document.span(path)
            self.assertEqual(expected.encode(), data[start:end], path)

    def test_spans_far_into_a_file_with_wide_characters(self) -> None:
        data = "".join(f"k{i}: 'ü€𝄞{i}'\n" for i in range(5000)).encode()
        document = parse(data, "f")
        for scalar in document.scalars():
            self.assertEqual(f"'{scalar.value}'".encode(), data[scalar.start : scalar.end])

    def test_scalars_come_once_each(self) -> None:
        document = parse(b"a: &x {k: v}\nb: *x\nc: {<<: *x}\n", "f")
        self.assertEqual(["v"], [s.value for s in document.scalars()])

    def test_bytes_that_are_not_utf8(self) -> None:
        self.assertEqual((2, 7), where(problem(b"a: 1\nb: caf\xe9\n")))
        self.assertIn("UTF-16", problem("a: 1\n".encode("utf-16")).message)

    def test_duplicates(self) -> None:
        text = "a:\n  b: 1\n  c: 2\n  b: 3\n"
        found = problem(text)
        self.assertEqual((4, 3), where(found))
        self.assertIn("line 2", found.message)
        parse(edit(text, found.hint or "").encode(), "f")

    def test_syntax(self) -> None:
        for text, place in (
            ("a:\n\tb: 1\n", (2, 1)),
            ("a: 1\n---\nb: 2\n", (2, 1)),
            ("a: *nothing\n", (1, 4)),
            ('a: 1\nb: "open\nc: 2\n', (2, 4)),
            ("a: 1\nb\nc: 2\n", (2, 1)),
            ("a: \x07\n", (1, 4)),
            ("{[a]: 1}\n", (1, 2)),
        ):
            with self.subTest(text):
                found = problem(text)
                self.assertEqual(place, where(found))
                self.assertTrue(found.hint)
        for text in ("a:\n\tb: 1\n", "a: *nothing\n", "a: @x\n", "a: b: c\n"):
            with self.subTest(text):
                parse(edit(text, problem(text).hint or "").encode(), "f")


class Snippets(unittest.TestCase):
    """A line may be shown, a secret may not."""

    def test_caret_below_the_place(self) -> None:
        snippet = (problem("a: 1\nbb: c: d\n").snippet or "").splitlines()
        self.assertEqual(["bb: c: d", "     ^"], snippet)

    def test_secrets_never_show(self) -> None:
        for text in (
            'api_key: "hunter2" x\n',
            "api-keys:\n- 'hunter2\n- foo: {\n",
            "api-keys:\n  - hunter2: x: y\n",
            "password: >\n  hunter2\n\tbad\n",
            "{secret: hunter2, a: b: c}\n",
            "url: https://me:hunter2@host: x\n",
            "Authorization: Bearer hunter2: x\n",
            "a: sk-hunter2hunter2: x\n",
            "token:\n  - &a [*a, hunter2]\n",
            "my_secret: !!int hunter2\n",
            'deep:\n  api_key:\n    value: "hunter2\n',
        ):
            with self.subTest(text):
                self.assertNotIn("hunter2", repr(problem(text)))

    def test_no_control_characters_reach_the_terminal(self) -> None:
        found = problem(b"a: \x1b[2J\n")
        self.assertNotIn("\x1b", repr(found.snippet) + found.message)
        self.assertNotIn("\x1b", found.snippet or "")

    def test_a_long_line_is_cut_around_the_caret(self) -> None:
        found = problem("a: " + "x" * 500 + " : b: c" + "y" * 500 + "\n")
        line, caret = (found.snippet or "").splitlines()
        self.assertLessEqual(len(line), 100)
        self.assertEqual(":", line[caret.index("^")])
