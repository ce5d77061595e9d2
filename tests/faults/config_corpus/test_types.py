"""Every key of both configs with values of a wrong type; the list is held against the schema."""

from __future__ import annotations

import json
import typing
import unittest
from pathlib import Path

from pydantic import BaseModel

from flowgate_engine.config import cliproxyapi, schema
from flowgate_engine.config.cliproxyapi import parse_cliproxyapi
from flowgate_engine.config.load import parse_config
from flowgate_engine.errors import ConfigError, Problem
from flowgate_engine.paths import workspace_of

from . import edits
from .case import CorpusCase
from .corpus import CANARY, Wrong, wrong_types


def keys(model: type[BaseModel], above: str = "") -> set[str]:
    """Every key below a model, unions and services included."""
    found: set[str] = set()
    for name, field in model.model_fields.items():
        path = f"{above}.{name}".lstrip(".")
        found.add(path)
        for inner in (field.annotation, *typing.get_args(field.annotation)):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                found |= keys(inner, path)
    return found


class Types(CorpusCase):
    """In this process, and as bytes: the command is tested with the other cases."""

    def problems(self, wrong: Wrong) -> tuple[Problem, ...]:
        workspace = workspace_of(self.folder / "config" / "flowgate.yaml")
        try:
            if wrong.file == "flowgate":
                parse_config(workspace, wrong.text.encode())
            else:
                parse_cliproxyapi(wrong.text.encode(), str(workspace.cliproxyapi_config))
        except ConfigError as error:
            return error.problems
        return ()

    def test_each_has_its_place_its_reason_and_a_hint_that_ends_it(self) -> None:
        (self.folder / "config").mkdir()
        checked = 0
        for wrong in wrong_types():
            with self.subTest(wrong.name):
                checked += 1
                found = self.problems(wrong)
                self.assertEqual(1, len(found), [p.message for p in found])
                self.assertIn(wrong.says, found[0].message)
                place = found[0].place
                assert place is not None and found[0].hint is not None
                self.assertEqual(len(wrong.text.splitlines()), place.line)
                self.assertGreaterEqual(place.column or 0, 1)
                self.assertNotIn(CANARY, json.dumps(found[0].message) + found[0].hint)
                if '"KIND"' not in found[0].hint:
                    self.follow(wrong, found[0])

    def follow(self, wrong: Wrong, problem: Problem) -> None:
        path = Path(problem.place.file if problem.place else "")
        path.write_text(wrong.text)
        edits.apply(problem.hint or "", {})
        left = self.problems(wrong._replace(text=path.read_text()))
        self.assertEqual([], [p.message for p in left if (p.message, p.place) == (problem.message, problem.place)])

    def test_no_key_is_forgotten(self) -> None:
        tried = {w.path for w in wrong_types() if w.file == "flowgate"}
        self.assertGreater(len(tried), 60)
        self.assertEqual(set(), keys(schema.Config) - tried)
        ours = {".".join(map(str, path)) for path, _, _ in cliproxyapi._TYPES}
        self.assertEqual(set(), ours - {w.path for w in wrong_types() if w.file == "cliproxyapi"})


if __name__ == "__main__":
    unittest.main()
