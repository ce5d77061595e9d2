"""Merging, rendering, comparing."""

from __future__ import annotations

import copy
import subprocess
import sys
import unittest
from pathlib import Path

import yaml

from flowgate_engine.errors import ConfigError
from flowgate_engine.profiles import active, merge, render
from flowgate_engine.profiles.diff import Change, diff
from flowgate_engine.store.db import open_database
from tests.unit.settings.support import MINIMAL, ConfigCase


class Merge(unittest.TestCase):
    """JSON merge patch."""

    def test_the_examples_of_rfc_7396(self) -> None:
        for base, patch, expected in (
            ({"a": "b"}, {"a": "c"}, {"a": "c"}),
            ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
            ({"a": "b"}, {"a": None}, {}),
            ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
            ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
            ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
            ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
            ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
            ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
            ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
            ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ):
            with self.subTest(base=base, patch=patch):
                self.assertEqual(expected, merge.merge(base, patch))

    def test_nothing_is_changed_or_shared(self) -> None:
        base, over = {"a": {"b": [1]}, "l": [{"x": 1}]}, {"a": {"c": [2]}}
        kept = copy.deepcopy((base, over))
        out = merge.merge(base, over)
        out["a"]["b"].append(9)
        out["a"]["c"].append(9)
        out["l"][0]["x"] = 9
        self.assertEqual(kept, (base, over))

    def test_it_runs_alone_in_another_environment(self) -> None:
        code = "import merge; print(merge.merge({'a': {'b': 1}}, {'a': {'b': None, 'c': 2}}))"
        folder = Path(merge.__file__).parent
        done = subprocess.run(
            [sys.executable, "-S", "-c", code], cwd=folder, capture_output=True, text=True, timeout=30, check=True
        )
        self.assertEqual("{'a': {'c': 2}}", done.stdout.strip())


class Render(ConfigCase):
    """What LiteLLM is started with."""

    INLINE = (
        "config_version: 4\nlitellm_base:\n  model_list: &m\n"
        "  - {model_name: a, litellm_params: {api_key: os.environ/K}}\n"
        "  other: *m\n  router_settings: {num_retries: 3, timeout: 9}\n"
        "profiles:\n  fast: {router_settings: {num_retries: 0, timeout: null}}\n"
    )

    def test_inline_is_the_whole_config(self) -> None:
        loaded = self.parse(self.INLINE)
        out = render.rendered(loaded, "fast")
        self.assertIsNone(out.path)
        self.assertEqual({"num_retries": 0}, out.config["router_settings"])
        self.assertEqual("os.environ/K", out.config["model_list"][0]["litellm_params"]["api_key"])
        self.assertEqual(3, render.effective(loaded, None)["router_settings"]["num_retries"])

    def test_the_bytes_are_the_same_each_time_and_read_back(self) -> None:
        loaded = self.parse(self.INLINE)
        data = render.render(loaded, "fast")
        self.assertEqual(data, render.render(self.parse(self.INLINE), "fast"))
        self.assertEqual(render.effective(loaded, "fast"), yaml.safe_load(data))
        self.assertNotIn(b"*id", data)
        self.assertNotEqual(data, render.render(loaded, None))

    def test_text_that_looks_like_something_else_stays_text(self) -> None:
        for value in ("yes", "010", "12:30:45", "1e3", "null", "2024-01-01", "a: b", "# x", "é\n\tü", "x " * 300):
            self.assertEqual({"k": value}, yaml.safe_load(render.dump({"k": value})))

    def test_a_file_stays_where_it_is_and_gets_an_overlay(self) -> None:
        mine = self.workspace.config.parent / "mine.yaml"
        mine.write_text("router_settings: {num_retries: 3}\ninclude: [x.yaml]\n")
        text = "config_version: 4\nlitellm_base: mine.yaml\nprofiles:\n"
        text += "  fast: {router_settings: {num_retries: null, timeout: 5}}\n"
        loaded = self.parse(text)
        out = render.rendered(loaded, "fast")
        self.assertEqual(mine, out.path)
        self.assertEqual({"router_settings": {"num_retries": None, "timeout": 5}}, out.config)
        self.assertEqual(out.config, yaml.safe_load(render.render(loaded, "fast")))
        self.assertEqual({"timeout": 5}, render.effective(loaded, "fast")["router_settings"])

    def test_a_profile_that_is_not_there(self) -> None:
        with self.assertRaises(ConfigError) as caught:
            render.render(self.parse(self.INLINE), "fsat")
        self.assertEqual("flowgate profile set fast", caught.exception.problems[0].hint)


class Diff(unittest.TestCase):
    """Typed differences, fit to be shown."""

    def test_kinds(self) -> None:
        old = {"a": 1, "b": {"c": 1}, "gone": 1, "l": [1, 2], "m": [{"x": 1}, {"x": 2}], "t": 1}
        new = {"a": 2, "b": {"c": 1, "d": 3}, "l": [1], "m": [{"x": 1}, {"x": 3}], "t": True}
        self.assertEqual(
            [
                Change(("a",), "changed", 1, 2),
                Change(("b", "d"), "added", None, 3),
                Change(("gone",), "removed", 1, None),
                Change(("l",), "changed", [1, 2], [1]),
                Change(("m", 1, "x"), "changed", 2, 3),
                Change(("t",), "changed", 1, True),
            ],
            diff(old, new),
        )
        self.assertEqual([], diff(old, copy.deepcopy(old)))

    def test_secrets_are_masked_and_still_seen_to_differ(self) -> None:
        old = {"api_key": "hunter2", "keys": [{"v": "hunter2"}], "u": "http://a:hunter2@h"}
        new = {"api_key": "hunter22", "keys": [{"v": "hunter22"}], "u": "http://a:hunter22@h", "token": ["hunter2"]}
        found = diff(old, new)
        self.assertEqual(4, len(found))
        self.assertNotIn("hunter", repr(found))


class Active(ConfigCase):
    """Which profile is in use."""

    TEXT = MINIMAL + "profiles: {a: {}, b: {}}\ndefault_profile: a\n"

    def test_default_until_one_is_chosen(self) -> None:
        config = self.parse(self.TEXT).config
        self.assertEqual("a", active.active(self.workspace, config))
        self.workspace.state.mkdir(mode=0o700)
        store = open_database(self.workspace)
        self.addCleanup(store.close)
        self.assertEqual("a", active.active(self.workspace, config))
        store.set_meta("profile", "b")
        self.assertEqual("b", active.active(self.workspace, config))
        store.set_meta("profile", "gone")
        with self.assertRaises(ConfigError) as caught:
            active.active(self.workspace, config)
        self.assertEqual("flowgate profile set a", caught.exception.problems[0].hint)

    def test_a_damaged_database_is_not_ours_to_report(self) -> None:
        self.workspace.state.mkdir(mode=0o700)
        self.workspace.database.write_bytes(b"not a database" * 100)
        self.assertEqual("a", active.active(self.workspace, self.parse(self.TEXT).config))
