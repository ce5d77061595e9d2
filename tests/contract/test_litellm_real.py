"""The runner inside real LiteLLM, the oldest version that is promised and the newest."""

from __future__ import annotations

import unittest
from pathlib import Path

from tests.support.litellm_contract import LitellmContract, real_python


class TestLitellm1_75_8(LitellmContract, unittest.TestCase):
    version = "1.75.8"
    no_key_status = 401
    needs_master_key = False

    @classmethod
    def python(cls) -> Path:
        return real_python(cls.version)


class TestLitellm1_106_2(LitellmContract, unittest.TestCase):
    version = "1.106.2"
    no_key_status = 500
    needs_master_key = True

    @classmethod
    def python(cls) -> Path:
        return real_python(cls.version)
