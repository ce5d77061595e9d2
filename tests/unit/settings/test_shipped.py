"""The configs that `config init` makes, the schema, and the commands over them."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from unittest import mock

import flowgate_engine
from flowgate_engine.cli.main import main
from flowgate_engine.config import json_schema, schema
from flowgate_engine.config.load import load, load_cliproxyapi
from flowgate_engine.profiles import render
from flowgate_engine.workspace.init import TEMPLATES, init

from .support import ConfigCase

REPOSITORY = Path(flowgate_engine.__file__).parent.parent


class Shipped(ConfigCase):
    """What stands in the repository is what users get."""

    def test_the_repository_has_the_templates_byte_for_byte(self) -> None:
        for name in ("flowgate.yaml", "cliproxyapi.yaml"):
            self.assertEqual((TEMPLATES / name).read_bytes(), (REPOSITORY / "config" / name).read_bytes())

    def test_they_are_valid_without_a_warning(self) -> None:
        init(self.root)
        loaded = load(self.workspace)
        self.assertEqual((), loaded.warnings)
        self.assertEqual((), load_cliproxyapi(self.workspace).warnings)
        self.assertEqual(["reliability", "balanced", "cost"], list(loaded.config.profiles))

    def test_profiles_differ_and_never_multiply_retries(self) -> None:
        init(self.root)
        loaded = load(self.workspace)
        settings = {name: render.effective(loaded, name)["router_settings"] for name in loaded.config.profiles}
        self.assertEqual(3, len({s["routing_strategy"] for s in settings.values()}))
        self.assertTrue(all(s["num_retries"] <= 1 for s in settings.values()))
        models = {m["model_name"] for m in render.effective(loaded, "cost")["model_list"]}
        for one in settings.values():
            for pair in one["fallbacks"]:
                self.assertLessEqual({*pair, *(m for way in pair.values() for m in way)}, models)

    def test_the_committed_schema_is_current(self) -> None:
        committed = (REPOSITORY / "docs" / "flowgate.schema.json").read_text()
        self.assertEqual(json_schema.text(), committed, "run: flowgate config schema > docs/flowgate.schema.json")

    def test_the_schema_is_draft_7_and_names_every_key(self) -> None:
        document = json_schema.document()
        self.assertIn("draft-07", document["$schema"])
        self.assertNotIn("$defs", json.dumps(document))
        self.assertEqual(set(schema.Config.model_fields), set(document["properties"]))
        for reference in re.findall(r'"#/definitions/(\w+)"', json.dumps(document)):
            self.assertIn(reference, document["definitions"])
        self.assertIn("doubles with jitter", document["definitions"]["Restart"]["properties"]["backoff"]["description"])

    def test_the_documentation_names_every_key(self) -> None:
        text = (REPOSITORY / "docs" / "configuration.md").read_text()
        for model in (schema.Config, schema.Litellm, schema.Probes, schema.Restart, schema.Stop, schema.Logs):
            for name in model.model_fields:
                self.assertRegex(text, rf"`(\w+\.)*{name}[`.]", f"{model.__name__}.{name}")


class Commands(ConfigCase):
    """The commands, in this process."""

    def flowgate(self, *words: str) -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(["--config", str(self.workspace.config), *words])
        return code, out.getvalue(), err.getvalue()

    def setUp(self) -> None:
        super().setUp()
        for name in ("LITELLM_MASTER_KEY", "CLIPROXYAPI_API_KEY"):
            if name in os.environ:
                self.enterContext(mock.patch.dict(os.environ))
                del os.environ[name]
        self.assertEqual(0, self.flowgate("config", "init")[0])

    def test_validate(self) -> None:
        code, out, err = self.flowgate("config", "validate")
        self.assertEqual((0, ""), (code, err))
        self.assertEqual(2, out.count(": ok"))
        text = self.workspace.config.read_text()
        self.workspace.config.write_text(text.replace("    port: 4000", "    prot: 4000"))
        code, out, err = self.flowgate("config", "validate", "--json")
        self.assertEqual(2, code)
        self.assertEqual(1, len(json.loads(out)["error"]["problems"]))
        self.assertIn('write "port:" instead of "prot:"', err)

    def test_validate_tells_both_files_at_once_and_unset_variables(self) -> None:
        text = self.workspace.config.read_text()
        self.workspace.config.write_text(text.replace("LITELLM_MASTER_KEY", "NOBODY_SET_THIS"))
        code, _, err = self.flowgate("config", "validate")
        self.assertEqual(2, code)
        self.assertIn("the variable NOBODY_SET_THIS has no value", err)
        self.workspace.config.write_text(text.replace("port: 4000", "port: x"))
        self.workspace.cliproxyapi_config.write_text("port: x\n")
        code, _, err = self.flowgate("config", "validate")
        self.assertEqual((2, 2), (code, err.count("flowgate: error:")))

    def test_show_is_masked(self) -> None:
        text = self.workspace.config.read_text().replace("sk-none", "hunter2hunter2")
        self.workspace.config.write_text(text)
        self.workspace.cliproxyapi_config.write_text("api-keys: [hunter2]\nremote-management: {secret-key: hunter2}\n")
        for words in (("config", "show"), ("config", "show", "--effective"), ("config", "show", "--profile", "cost")):
            for as_json in ((), ("--json",)):
                code, out, err = self.flowgate(*words, *as_json)
                self.assertEqual((0, ""), (code, err))
                self.assertNotIn("hunter2", out)
                self.assertIn("os.environ/LITELLM_MASTER_KEY", out)
                if as_json:
                    json.loads(out)

    def test_show_effective_is_the_profile(self) -> None:
        shown = json.loads(self.flowgate("config", "show", "--profile", "cost", "--json")[1])
        self.assertEqual("cost-based-routing", shown["litellm"]["router_settings"]["routing_strategy"])
        shown = json.loads(self.flowgate("config", "show", "--effective", "--json")[1])
        self.assertEqual("balanced", shown["profile"])

    def test_profile_commands(self) -> None:
        listed = json.loads(self.flowgate("profile", "list", "--json")[1])
        self.assertEqual("balanced", listed["active"])
        code, out, _ = self.flowgate("profile", "diff", "cost")
        self.assertIn("router_settings.num_retries: 1 -> 0", out)
        self.assertEqual((0, "balanced and balanced are the same\n"), self.flowgate("profile", "diff", "balanced")[:2])
        self.assertIn("num_retries: 0", self.flowgate("profile", "show", "cost")[1])
        code, _, err = self.flowgate("profile", "show", "costs")
        self.assertEqual(2, code)
        self.assertIn("profile show cost\n", err)

    def test_schema(self) -> None:
        self.assertEqual(json_schema.text(), self.flowgate("config", "schema")[1])

    def test_init_in_a_folder(self) -> None:
        code = main_quietly(["config", "init", str(self.root / "new")])
        self.assertEqual(0, code)
        self.assertTrue((self.root / "new" / "config" / "flowgate.yaml").is_file())
        mode = stat.S_IMODE((self.root / "new" / ".flowgate").stat().st_mode)
        self.assertEqual(0o700, mode)

    def test_help_imports_nothing_heavy(self) -> None:
        code = (
            "import sys; from flowgate_engine.cli.main import main; main(['config', '--help']);"
            "main(['profile', '--help']); main(['trust', '--help']);"
            "print([m for m in ('pydantic', 'yaml', 'asyncio', 'dataclasses', 'sqlite3') if m in sys.modules])"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
        self.assertEqual("[]", done.stdout.splitlines()[-1])


def main_quietly(words: list[str]) -> int:
    """The exit code of a command."""
    with contextlib.redirect_stdout(io.StringIO()):
        return main(words)
