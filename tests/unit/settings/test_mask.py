"""What is hidden, and what is not."""

from __future__ import annotations

import unittest

from flowgate_engine.config import mask


class Mask(unittest.TestCase):
    """One function for show, diff and errors."""

    def test_secrets_are_hidden(self) -> None:
        shown = mask.tree(
            {
                "api_key": "hunter2",
                "api-keys": ["hunter2", {"deep": "hunter2"}, 42424242],
                "env": {"MY_TOKEN": "hunter2", "Authorization": "hunter2"},
                "password": 42424242,
                "headers": {"x": "Bearer hunter2hunter2"},
                "url": "postgres://me:hunter2@host/db",
                "link": "https://host/?api_key=hunter2&x=1",
                "any": "text with sk-hunter2hunter2 in it",
            }
        )
        self.assertNotIn("hunter2", repr(shown))
        self.assertNotIn("42424242", repr(shown))
        self.assertIn("@host/db", shown["url"])

    def test_references_and_settings_are_shown(self) -> None:
        config = {
            "api_key": "os.environ/KEY",
            "api-keys": ["os.environ/KEY"],
            "max_tokens": 4096,
            "input_cost_per_token": 3e-06,
            "secret-key": "",
            "key_enabled": True,
            "token": None,
            "model": "openai/sk-mini",
            "port": 4000,
            "api_base": "http://127.0.0.1:8317/v1",
        }
        self.assertEqual(config, mask.tree(config))

    def test_the_original_is_not_changed(self) -> None:
        config = {"api_key": "hunter2", "list": [{"token": "x"}]}
        mask.tree(config)
        self.assertEqual({"api_key": "hunter2", "list": [{"token": "x"}]}, config)
