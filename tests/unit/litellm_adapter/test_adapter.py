"""From config to frozen spec to the files of a generation, with an environment that is only files."""

from __future__ import annotations

import json
import tempfile
import unittest
from pathlib import Path
from typing import Any, ClassVar

import yaml

from flowgate_engine.artifacts.store import Artifact
from flowgate_engine.config import load
from flowgate_engine.errors import ConfigError, FlowgateError
from flowgate_engine.paths import Workspace, workspace_of
from flowgate_engine.services import launch
from flowgate_engine.services.launch import Launch, LaunchSpec, Seat
from flowgate_engine.services.litellm import adapter
from flowgate_engine.store.objects import Objects

BASE = {
    "model_list": [
        {"model_name": "m", "litellm_params": {"model": "openai/x", "api_key": "os.environ/UPSTREAM_KEY"}},
    ],
    "general_settings": {"master_key": "os.environ/LITELLM_MASTER_KEY"},
    "router_settings": {"num_retries": 1},
}
VALUES = {"UPSTREAM_KEY": "sk-up", "LITELLM_MASTER_KEY": "sk-master"}


class Made:
    """A workspace, an environment, and what `prepare` and `materialize` make of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.values = dict(VALUES)
        self.document: dict[str, Any] = {"config_version": 4, "litellm_base": BASE, "profiles": {"fast": {}}}
        (folder / "config").mkdir()
        self.environment()

    @property
    def workspace(self) -> Workspace:
        return workspace_of(self.folder / "config" / "flowgate.yaml")

    def environment(
        self, source: str = "app = FastAPI()\n\nclass ProxyConfig:\n    async def _get_config_from_file(self): ..."
    ) -> None:
        site = self.folder / "env" / "lib" / "python3.11" / "site-packages"
        (site / "litellm" / "proxy" / "auth").mkdir(parents=True, exist_ok=True)
        (site / "litellm-9.8.7.dist-info").mkdir(exist_ok=True)
        (site / "uvicorn").mkdir(exist_ok=True)
        (site / "litellm" / "proxy" / "proxy_server.py").write_text(source)
        self.site = site

    def litellm(self, **section: Any) -> None:
        self.document["services"] = {"litellm": section}

    def prepare(self, profile: str | None = None) -> LaunchSpec:
        self.workspace.config.write_text(yaml.safe_dump(self.document, sort_keys=False))
        env = self.folder / "env"
        artifact = Artifact("litellm", "9.8.7", env, "0" * 64, None, env / "bin" / "python", 0.0, "v", 1, "pypi")
        objects = Objects(self.workspace.objects)
        return adapter.prepare(load.load(self.workspace), profile, artifact, objects, self.workspace, self.values.get)

    def launch(self, spec: LaunchSpec, *, rehearsal: bool = False) -> Launch:
        spec = launch.from_json(launch.to_json(spec))
        self.seat = Seat(self.folder / "run" / "g1", "127.0.0.1", 4567, "uuid", rehearsal)
        return adapter.materialize(spec, self.seat, Objects(self.workspace.objects).read, self.values.get)

    def config(self) -> Any:
        return yaml.safe_load((self.seat.folder / "config" / "config.yaml").read_text())

    def overlay(self) -> Any:
        return json.loads((self.seat.folder / "overlay.json").read_text())


class AdapterTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.made = Made(Path(folder.name))

    def refused(self, *words: str, profile: str | None = None) -> ConfigError:
        with self.assertRaises(ConfigError) as caught:
            self.made.prepare(profile)
        text = "\n".join(caught.exception.lines())
        for word in words:
            self.assertIn(word, text)
        self.assertIsNotNone(caught.exception.problems[0].place)
        self.assertIsNotNone(caught.exception.problems[0].hint)
        return caught.exception


class Inline(AdapterTest):
    def test_the_app_runs_on_the_held_socket_from_a_private_copy(self) -> None:
        self.made.document["profiles"] = {"fast": {"router_settings": {"num_retries": 0}}}
        spec = self.made.prepare("fast")
        made = self.made.launch(spec)
        folder = self.made.seat.folder
        self.assertEqual((spec.version, spec.handover, spec.inherit_socket), ("9.8.7", "inherit", True))
        self.assertEqual(made.argv, (spec.options["python"], "-u", str(folder / "runner.py")))
        self.assertEqual(self.made.config(), {**BASE, "router_settings": {"num_retries": 0}})
        env = dict(made.env)
        self.assertEqual(env["CONFIG_FILE_PATH"], str(folder / "config" / "config.yaml"))
        self.assertEqual(env["FLOWGATE_CONTROL"], made.control_socket)
        self.assertEqual(env["FLOWGATE_INSTANCE"], "uuid")
        self.assertEqual(env["LITELLM_MODE"], "PRODUCTION")
        self.assertNotIn("FLOWGATE_OVERLAY", env)
        for path in folder.rglob("*"):
            self.assertEqual(path.stat().st_mode & 0o077, 0, path)

    def test_the_runner_is_frozen_with_the_spec(self) -> None:
        self.made.launch(self.made.prepare())
        source = Path(adapter.__file__).parent
        names = ["runner.py", *(f"flowgate_runner/{p.name}" for p in (source / "flowgate_runner").glob("*.py"))]
        for name in names:
            self.assertEqual((self.made.seat.folder / name).read_bytes(), (source / name).read_bytes())

    def test_secrets_are_named_and_never_written(self) -> None:
        spec = self.made.prepare()
        made = self.made.launch(spec)
        self.assertEqual(spec.secret_env, ("LITELLM_MASTER_KEY", "UPSTREAM_KEY"))
        self.assertEqual(made.secret_env, spec.secret_env)
        written = b"".join(p.read_bytes() for p in self.made.folder.rglob("*") if p.is_file())
        for value in VALUES.values():
            self.assertNotIn(value.encode(), written + launch.to_json(spec) + repr(made).encode())

    def test_equal_configs_make_equal_specs(self) -> None:
        self.assertEqual(self.made.prepare().digest(), self.made.prepare().digest())
        before = self.made.prepare().digest()
        self.made.document["litellm_base"] = {**BASE, "router_settings": {"num_retries": 2}}
        self.assertNotEqual(self.made.prepare().digest(), before)

    def test_every_missing_variable_is_named_with_its_place(self) -> None:
        self.made.values.clear()
        self.made.litellm(env={"TOKEN": "os.environ/OTHER_TOKEN"})
        error = self.refused("export UPSTREAM_KEY=...", "export LITELLM_MASTER_KEY=...", "export OTHER_TOKEN=...")
        self.assertEqual(len(error.problems), 3)
        for problem in error.problems:
            assert problem.place and problem.place.line
            line = self.made.workspace.config.read_text().splitlines()[problem.place.line - 1]
            self.assertIn("os.environ/" + problem.message.split()[2], line)

    def test_a_variable_of_a_profile_not_in_use_is_not_asked_for(self) -> None:
        self.made.document["profiles"] = {"other": {"router_settings": {"redis_password": "os.environ/REDIS"}}}
        self.made.prepare()
        self.refused("export REDIS=...", profile="other")

    def test_a_variable_under_another_name_is_resolved_for_the_child_only(self) -> None:
        self.made.litellm(env={"TOKEN": "os.environ/UPSTREAM_KEY", "PLAIN": "yes"})
        spec = self.made.prepare()
        env = dict(self.made.launch(spec).env)
        self.assertEqual((env["TOKEN"], env["PLAIN"]), ("sk-up", "yes"))
        self.assertNotIn("sk-up", launch.to_json(spec).decode())

    def test_include_cannot_stand_inline(self) -> None:
        self.made.document["litellm_base"] = {**BASE, "include": ["more.yaml"]}
        self.refused("`include` works in a LiteLLM config file of your own")

    def test_a_module_beside_the_config_comes_along(self) -> None:
        (self.made.folder / "config" / "hooks.py").write_text("instance = 1\n")
        self.made.document["litellm_base"] = {**BASE, "litellm_settings": {"callbacks": "hooks.instance"}}
        self.made.launch(self.made.prepare())
        self.assertEqual((self.made.seat.folder / "config" / "hooks.py").read_text(), "instance = 1\n")


class MasterKey(AdapterTest):
    def setUp(self) -> None:
        super().setUp()
        self.made.document["litellm_base"] = {"model_list": []}

    def need(self) -> None:
        (self.made.site / "litellm" / "proxy" / "auth" / "master_key_boot_check.py").touch()

    def test_it_is_passed_on_where_the_config_does_not_name_it(self) -> None:
        self.assertEqual(self.made.prepare().secret_env, ("LITELLM_MASTER_KEY",))

    def test_a_version_that_needs_one_is_refused_without(self) -> None:
        self.made.values.clear()
        self.assertEqual(self.made.prepare().secret_env, ())
        self.need()
        self.refused("does not start without a master key", "export LITELLM_MASTER_KEY=")

    def test_an_open_proxy_that_was_asked_for_is_let_be(self) -> None:
        self.made.values.clear()
        self.need()
        setting = {"dangerously_permit_weak_or_unset_master_key": True}
        self.made.document["litellm_base"] = {"general_settings": setting}
        self.assertEqual(self.made.prepare().secret_env, ())


class OwnFile(AdapterTest):
    def setUp(self) -> None:
        super().setUp()
        self.config = self.made.folder / "config" / "litellm.yaml"
        self.more = self.made.folder / "config" / "more.yaml"
        self.config.write_text(yaml.safe_dump({**BASE, "include": ["more.yaml"]}, sort_keys=False))
        self.more.write_text("litellm_settings: {langfuse_key: os.environ/MORE_KEY}\n")
        self.made.values["MORE_KEY"] = "sk-more"
        self.made.document |= {
            "litellm_base": "litellm.yaml",
            "profiles": {"fast": {"router_settings": {"num_retries": 0, "timeout": None}}},
        }

    def test_it_is_used_where_it_is_with_the_profile_as_an_overlay(self) -> None:
        spec = self.made.prepare("fast")
        env = dict(self.made.launch(spec).env)
        self.assertEqual(env["CONFIG_FILE_PATH"], str(self.config))
        self.assertEqual(self.made.overlay(), {"router_settings": {"num_retries": 0, "timeout": None}})
        self.assertEqual(env["FLOWGATE_OVERLAY"], str(self.made.seat.folder / "overlay.json"))
        self.assertIn("MORE_KEY", spec.secret_env)

    def test_without_a_profile_there_is_no_overlay(self) -> None:
        self.assertNotIn("FLOWGATE_OVERLAY", dict(self.made.launch(self.made.prepare()).env))

    def test_it_and_what_it_includes_are_recorded(self) -> None:
        before = self.made.prepare()
        self.assertLessEqual({str(self.config), str(self.more)}, {i.origin for i in before.inputs})
        self.more.write_text("litellm_settings: {langfuse_key: os.environ/MORE_KEY, drop_params: true}\n")
        self.assertNotEqual(self.made.prepare().digest(), before.digest())

    def test_a_file_that_is_not_there_is_refused_at_its_line(self) -> None:
        self.more.unlink()
        error = self.refused("`include` names a file that does not exist")
        assert error.problems[0].place
        self.assertTrue(error.problems[0].place.file.endswith("litellm.yaml"))

    def test_includes_that_go_round_end(self) -> None:
        self.more.write_text("include: [litellm.yaml]\n")
        self.made.prepare()

    def test_a_version_without_the_hook_takes_no_profile(self) -> None:
        self.made.environment("app = FastAPI()\n")
        self.made.prepare()
        self.refused("has no place where profile fast can be laid", profile="fast")

    def test_gone_at_a_crash_restart_it_says_so(self) -> None:
        spec = self.made.prepare()
        self.config.unlink()
        with self.assertRaisesRegex(FlowgateError, "is gone"):
            self.made.launch(spec)

    def test_it_has_no_drift(self) -> None:
        spec = self.made.prepare()
        self.made.launch(spec)
        self.assertEqual(
            adapter.describe_drift(spec, self.made.seat.folder, Objects(self.made.workspace.objects).read), ()
        )


class Handover(AdapterTest):
    def test_a_database_goes_to_the_plain_command(self) -> None:
        self.made.document["litellm_base"] = {**BASE, "general_settings": {"database_url": "os.environ/DB"}}
        self.made.values["DB"] = "postgres://x"
        self.made.litellm(args=["--num_requests", "3"])
        spec = self.made.prepare()
        made = self.made.launch(spec)
        self.assertEqual((spec.handover, spec.inherit_socket), ("restart", False))
        self.assertIn("database_url", spec.handover_reason or "")
        config = str(self.made.seat.folder / "config" / "config.yaml")
        self.assertEqual(
            made.argv[3:],
            (
                "--config",
                config,
                "--host",
                "127.0.0.1",
                "--port",
                "4567",
                "--telemetry",
                "False",
                "--num_requests",
                "3",
            ),
        )
        self.assertIsNone(made.control_socket)
        self.assertNotIn("CONFIG_FILE_PATH", dict(made.env))

    def test_database_url_in_the_environment_does_too(self) -> None:
        self.made.values["DATABASE_URL"] = "postgres://x"
        spec = self.made.prepare()
        self.assertEqual(spec.handover, "restart")
        self.assertIn("DATABASE_URL", spec.secret_env)

    def test_an_app_that_cannot_be_run_so_says_why(self) -> None:
        self.made.environment("def create_app(): ...\n")
        self.assertIn("has no app", self.made.prepare().handover_reason or "")

    def test_asked_for_in_the_config(self) -> None:
        self.made.litellm(handover="restart")
        self.assertEqual(self.made.prepare().handover_reason, "handover: restart in the config")

    def test_apps_as_the_versions_write_them(self) -> None:
        for source in ("app = FastAPI(\n", "app: Final[FastAPI] = FastAPI(\n", "async def app(scope, r, s): ...\n"):
            self.made.environment(source)
            self.assertEqual(self.made.prepare().handover, "inherit", source)

    def test_no_litellm_in_the_artifact(self) -> None:
        (self.made.site / "litellm-9.8.7.dist-info").rmdir()
        with self.assertRaisesRegex(FlowgateError, "there is no LiteLLM"):
            self.made.prepare()


class Arguments(AdapterTest):
    def test_those_the_runner_can_take_become_variables(self) -> None:
        self.made.litellm(args=["--detailed_debug", "--keepalive_timeout", "75"])
        env = dict(self.made.prepare().env)
        self.assertEqual((env["LITELLM_LOG"], env["KEEPALIVE_TIMEOUT"]), ("DEBUG", "75"))

    def test_others_are_refused_at_their_line(self) -> None:
        for args, words in (
            (["--num_workers", "4"], "knows no argument --num_workers"),
            (["--debug", "--keepalive_timeout"], "takes a number of seconds"),
            (["--keepalive_timeout=soon"], "takes a number of seconds"),
        ):
            with self.subTest(args=args):
                self.made.litellm(args=args)
                self.refused(words)

    def test_what_is_ours_is_refused_for_the_plain_command_too(self) -> None:
        self.made.litellm(handover="restart", args=["--port", "4000"])
        self.refused("--port is given by Flowgate")


class Rehearsal(AdapterTest):
    SETTINGS: ClassVar[dict[str, Any]] = {
        **BASE,
        "general_settings": {"master_key": "k", "database_url": "postgres://x", "background_health_checks": True},
        "litellm_settings": {"callbacks": ["langfuse"], "cache": True, "drop_params": True},
    }

    def test_inline_it_has_no_database_no_callbacks_no_cache(self) -> None:
        self.made.document["litellm_base"] = self.SETTINGS
        made = self.made.launch(self.made.prepare(), rehearsal=True)
        config = self.made.config()
        self.assertEqual(config["general_settings"], {"master_key": "k"})
        self.assertEqual(config["litellm_settings"], {"drop_params": True})
        self.assertEqual(config["model_list"], BASE["model_list"])
        self.assertEqual(dict(made.env)["DISABLE_SCHEMA_UPDATE"], "true")

    def test_over_a_file_the_same_is_laid_on_the_profile(self) -> None:
        (self.made.folder / "config" / "litellm.yaml").write_text(yaml.safe_dump(self.SETTINGS))
        self.made.document["litellm_base"] = "litellm.yaml"
        self.made.document["profiles"] = {"fast": {"litellm_settings": {"cache": True, "num_retries": 0}}}
        self.made.launch(self.made.prepare("fast"), rehearsal=True)
        settings = self.made.overlay()["litellm_settings"]
        self.assertEqual((settings["cache"], settings["callbacks"], settings["num_retries"]), (None, None, 0))
        self.assertIsNone(self.made.overlay()["general_settings"]["database_url"])

    def test_the_database_of_the_environment_stays_out(self) -> None:
        self.made.values["DATABASE_URL"] = "postgres://x"
        made = self.made.launch(self.made.prepare(), rehearsal=True)
        self.assertNotIn("DATABASE_URL", made.secret_env)
        self.assertEqual(dict(made.env)["FLOWGATE_REHEARSAL"], "1")


class Drift(AdapterTest):
    def test_what_the_admin_api_wrote_is_named(self) -> None:
        spec = self.made.prepare()
        self.made.launch(spec)
        read = Objects(self.made.workspace.objects).read
        folder = self.made.seat.folder
        self.assertEqual(adapter.describe_drift(spec, folder, read), ())
        changed = {**BASE, "router_settings": {"num_retries": 5}, "extra": 1}
        (folder / "config" / "config.yaml").write_text(yaml.safe_dump(changed))
        self.assertEqual(adapter.describe_drift(spec, folder, read), ("router_settings.num_retries", "extra"))
        (folder / "config" / "config.yaml").write_text("[")
        self.assertEqual(len(adapter.describe_drift(spec, folder, read)), 1)
