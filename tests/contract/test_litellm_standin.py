"""The stand-in LiteLLM under our runner, and the plain command, the real one and the stand-in alike."""

from __future__ import annotations

import unittest
from pathlib import Path

from tests.support.litellm_contract import LitellmContract, real_python
from tests.support.litellm_plain_contract import PlainContract
from tests.support.stack import standin_python


class TestRunnerStandin1_75_8(LitellmContract, unittest.TestCase):
    version = "1.75.8"
    no_key_status = 401
    needs_master_key = False

    @classmethod
    def python(cls) -> Path:
        return standin_python(cls.version)


class TestRunnerStandin1_106_2(LitellmContract, unittest.TestCase):
    version = "1.106.2"
    no_key_status = 500
    needs_master_key = True

    @classmethod
    def python(cls) -> Path:
        return standin_python(cls.version)


class TestPlainStandin1_75_8(PlainContract, unittest.TestCase):
    version = "1.75.8"
    modern = False

    @classmethod
    def python(cls) -> Path:
        return standin_python(cls.version)


class TestPlainStandin1_106_2(PlainContract, unittest.TestCase):
    version = "1.106.2"
    modern = True

    @classmethod
    def python(cls) -> Path:
        return standin_python(cls.version)


class TestPlainReal1_75_8(PlainContract, unittest.TestCase):
    version = "1.75.8"
    modern = False

    @classmethod
    def python(cls) -> Path:
        return real_python(cls.version)


class TestPlainReal1_106_2(PlainContract, unittest.TestCase):
    version = "1.106.2"
    modern = True

    @classmethod
    def python(cls) -> Path:
        return real_python(cls.version)


if __name__ == "__main__":
    unittest.main()
