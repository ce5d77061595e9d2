"""The frame: what is found, what is printed where, and with which exit code."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from types import ModuleType
from unittest import mock

from flowgate_engine.cli import common, main, status, table
from flowgate_engine.errors import BusyError, ConfigError, Place
from tests.support import schema
from tests.support.pretend import PretendCase

SECRET = "sk-very-secret-value"


class FrameCase(PretendCase):
    def setUp(self) -> None:
        super().setUp()
        own = {"XDG_STATE_HOME": str(self.workspace.root / "own"), "XDG_CONFIG_HOME": str(self.workspace.root / "xdg")}
        self.enterContext(mock.patch.dict(os.environ, own))

    def flowgate(self, *words: str) -> tuple[int, str, str]:
        """Exit code, stdout and stderr of `flowgate WORDS` in this process."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main.main([*words])
        return code, out.getvalue(), err.getvalue()

    def here(self, *words: str) -> tuple[int, str, str]:
        """The same for the workspace of this test."""
        return self.flowgate("--config", str(self.workspace.config), *words)

    def with_command(self, run: object) -> None:
        """Let there be a command `testing` that calls `run`."""
        module = ModuleType("flowgate_engine.cli.testing")

        def register(commands: common.Commands) -> None:
            parser = commands.add_parser("testing")
            parser.add_argument("--choice", choices=["list", "show"])
            parser.add_argument("words", nargs="*")
            parser.set_defaults(run=run)

        module.register = register  # type: ignore[attr-defined]
        self.enterContext(mock.patch.dict(sys.modules, {module.__name__: module}))
        self.enterContext(mock.patch.dict(table.COMMANDS, {"testing": table.Command("testing", "for tests", "other")}))

    def recorded(self, *names: str) -> list[tuple[object, ...]]:
        """Let there be a command `testing`; what it was given, call by call."""
        seen: list[tuple[object, ...]] = []

        def run(args: object) -> int:
            seen.append(tuple(getattr(args, name) for name in names))
            return 0

        self.with_command(run)
        return seen


class Finding(FrameCase):
    def test_help_lists_every_command_and_imports_none(self) -> None:
        code, out, _ = self.flowgate("--help")
        self.assertEqual(code, 0)
        for name in table.COMMANDS:
            self.assertRegex(out, rf"(?m)^  {name} +\S")
        self.assertEqual(self.flowgate("help")[1], out)
        script = "import sys; from flowgate_engine.cli.main import main; main(['--help']); print(*sys.modules)"
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
        self.assertEqual({"argparse", "json", "sqlite3", "pathlib"} & set(done.stdout.split("\n")[-2].split()), set())

    def test_status_imports_nothing_heavy(self) -> None:
        script = f"""
import sys; from flowgate_engine.cli.main import main
main(['--config', {str(self.workspace.config)!r}]); print(*sys.modules)"""
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
        heavy = {"pydantic", "yaml", "asyncio", "httpx", "rich", "dataclasses", "http.client", "psutil", "textual"}
        heavy |= {"argparse", "hashlib", "shutil", "threading"}
        self.assertEqual(heavy & set(done.stdout.split("\n")[-2].split()), set())

    def test_every_command_of_the_table_is_there_and_has_help(self) -> None:
        for name in table.COMMANDS:
            with self.subTest(command=name):
                code, out, err = self.flowgate(name, "--help")
                self.assertEqual((code, err), (0, ""))
                self.assertIn(f"usage: flowgate {name}", out)

    def test_alone_it_is_status(self) -> None:
        self.assertEqual(self.here(), self.here("status"))
        self.assertEqual(self.here()[0], 0)

    def test_status_without_options_is_what_its_parser_would_make_of_it(self) -> None:
        words = main.Words(None, False, "status", ())
        seen: list[dict[str, object]] = []

        def run(args: object) -> int:
            seen.append(dict(vars(args)))
            return 0

        with mock.patch.object(status, "run", run):
            self.flowgate("status")
            parsed = vars(main.parse(words))
        ours = {name: value for name, value in parsed.items() if name not in ("command", "prog", "run")}
        self.assertEqual(seen, [ours])

    def test_the_version(self) -> None:
        code, out, _ = self.flowgate("--version")
        self.assertEqual(code, 0)
        self.assertRegex(out, r"^flowgate \d+\.\d+\.\d+\n$")

    def test_config_before_the_command_reaches_it_and_the_hints(self) -> None:
        seen = self.recorded("config", "program")
        self.flowgate("--config", "a b/flowgate.yaml", "testing")
        self.flowgate("--config=x", "testing")
        self.assertEqual(
            seen, [("a b/flowgate.yaml", "flowgate --config 'a b/flowgate.yaml'"), ("x", "flowgate --config x")]
        )

    def test_json_is_taken_anywhere_but_not_after_two_dashes(self) -> None:
        seen = self.recorded("json", "words")
        for words in (["--json", "testing"], ["testing", "--json", "a"], ["testing", "--", "--json"]):
            self.flowgate(*words)
        self.assertEqual(seen, [(True, []), (True, ["a"]), (False, ["--json"])])


class Wrong(FrameCase):
    def test_a_command_that_is_none(self) -> None:
        code, out, err = self.flowgate("stauts", "--watch")
        self.assertEqual((code, out), (2, ""))
        self.assertIn("there is no command 'stauts'; did you mean 'status'?", err)
        self.assertIn("help: flowgate status --watch", err)

    def test_a_word_that_is_none_of_several(self) -> None:
        self.with_command(lambda args: 0)
        code, _, err = self.flowgate("testing", "--choice", "lst")
        self.assertEqual(code, 2)
        self.assertIn("did you mean 'list'?", err)

    def test_options_that_are_none(self) -> None:
        self.with_command(lambda args: 0)
        for words, hint in (
            (["testing", "--nonsense"], "help: flowgate testing --help"),
            (["--nonsense", "testing"], "help: flowgate --help"),
            (["testing", "--config", "x"], "before the command"),
            (["--config"], "flowgate --config"),
        ):
            with self.subTest(words=words):
                code, out, err = self.flowgate(*words)
                self.assertEqual((code, out), (2, ""))
                self.assertIn(hint, err)
                self.assertNotIn("Traceback", err)

    def test_a_config_that_is_not_there(self) -> None:
        code, _, err = self.flowgate("--config", "/nowhere/flowgate.yaml", "status")
        self.assertEqual(code, 2)
        self.assertIn("/nowhere/flowgate.yaml: there is no such config file", err)

    def test_an_error_has_its_place_hint_and_exit_code_and_is_a_document_with_json(self) -> None:
        def run(args: object) -> int:
            raise ConfigError("no such key", place=Place("a.yaml", 3, 7), hint="flowgate config validate")

        self.with_command(run)
        code, out, err = self.flowgate("testing")
        self.assertEqual((code, out), (2, ""))
        self.assertEqual(err, "flowgate: error: a.yaml:3:7: no such key\n    help: flowgate config validate\n")
        code, out, err = self.flowgate("testing", "--json")
        self.assertEqual(code, 2)
        self.assertEqual(schema.problems(json.loads(out), schema.load("error")), [])
        self.assertEqual(json.loads(out)["error"]["problems"][0]["line"], 3)

    def test_the_exit_code_is_that_of_the_error(self) -> None:
        def run(args: object) -> int:
            raise BusyError("pid 4 is at it")

        self.with_command(run)
        self.assertEqual(self.flowgate("testing")[0], 4)

    def test_ctrl_c(self) -> None:
        def run(args: object) -> int:
            raise KeyboardInterrupt

        self.with_command(run)
        self.assertEqual(self.flowgate("testing"), (130, "", "flowgate: interrupted\n"))

    def test_a_defect_leaves_a_file_and_no_traceback_and_no_secret(self) -> None:
        def run(args: object) -> int:
            raise RuntimeError(f"cannot use {SECRET}")

        self.with_command(run)
        self.workspace.secrets.mkdir(parents=True)
        (self.workspace.secrets / "MASTER").write_text(SECRET + "\n")
        code, out, err = self.here("testing")
        self.assertEqual((code, out), (1, ""))
        self.assertRegex(err, r"^flowgate: error: internal error: RuntimeError: cannot use \*\*\* \(details in .*\)\n$")
        (path,) = self.workspace.logs.glob("crash-*.txt")
        text = path.read_text("utf-8")
        self.assertIn("Traceback", text)
        self.assertIn("test_frame.py", text)
        self.assertNotIn(SECRET, text)
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)

    def test_a_reader_that_goes_away_is_no_error(self) -> None:
        buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        reading, writing = os.pipe()
        os.close(reading)
        try:
            done = subprocess.run(
                [sys.executable, "-m", "flowgate_engine.cli.main", "--help"],
                stdout=writing, stderr=subprocess.PIPE, timeout=60, check=False, env=buffered,
            )  # fmt: skip
        finally:
            os.close(writing)
        self.assertEqual((done.returncode, done.stderr), (141, b""))
