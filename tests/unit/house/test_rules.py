"""The code keeps the rules of the house, and each rule notices when it does not."""

import unittest
from collections import defaultdict

from tests.unit.house import sources
from tests.unit.house.sources import Source


def _of(rule: str, text: str) -> list[str]:
    return list(getattr(sources, rule)(Source("x.py", text)))


class TheCode(unittest.TestCase):
    def check(self, rule: str, folders: tuple[str, ...]) -> None:
        files = sources.python_files(folders)
        self.assertGreater(len(files), 5)
        found = [finding for file in files for finding in getattr(sources, rule)(file)]
        self.assertEqual([], found, "\n" + "\n".join(found))

    def test_everything_public_has_a_docstring(self) -> None:
        self.check("undocumented", sources.PROGRAM)

    def test_who_catches_everything_says_why(self) -> None:
        self.check("broad_excepts", sources.PROGRAM + sources.TESTS)

    def test_tests_do_not_sleep(self) -> None:
        self.check("sleeps", sources.TESTS)

    def test_fault_points_are_unique_literals(self) -> None:
        places: dict[str, list[str]] = defaultdict(list)
        for file in sources.python_files(sources.PROGRAM):
            for name, place in sources.fault_points(file):
                places[name].append(place)
        self.assertGreater(len(places), 3)
        self.assertEqual([], places.pop("", []), "not a literal")
        self.assertEqual({}, {name: where for name, where in places.items() if len(where) > 1})

    def test_no_registry_and_no_folder_of_one_machine_is_named(self) -> None:
        found: list[str] = []
        for name in sources.project_files():
            data = (sources.ROOT / name).read_bytes()
            if b"\0" not in data[:4096]:
                found += sources.foreign_places(Source(name, data.decode(errors="replace")))
        self.assertEqual([], found, "\n" + "\n".join(found))


class TheRules(unittest.TestCase):
    """Each rule, shown what it forbids and what it allows."""

    def test_docstrings(self) -> None:
        bad = "def f(): pass\nclass C:\n    '''Doc.'''\n    def m(self): pass\nasync def g(): pass\n"
        self.assertEqual(3, len(_of("undocumented", bad)))
        good = (
            "def _f(): pass\nclass C:\n    '''Doc.'''\n    @property\n    def p(self): pass\n    def on_x(self): pass\n"
        )
        self.assertEqual([], _of("undocumented", good + "class _D:\n    def m(self): pass\n"))

    def test_broad_excepts(self) -> None:
        for kind in ("", " Exception", " BaseException as e", " (OSError, Exception)"):
            text = f"try: pass\nexcept{kind}:{{why}}\n    pass\n"
            with self.subTest(kind):
                self.assertEqual(1, len(_of("broad_excepts", text.format(why=""))))
                self.assertEqual([], _of("broad_excepts", text.format(why="  # why: because")))
        self.assertEqual(1, len(_of("broad_excepts", "with contextlib.suppress(Exception): pass")))
        self.assertEqual([], _of("broad_excepts", "try: pass\nexcept (OSError, ValueError): pass\n"))

    def test_sleeps(self) -> None:
        for call in ("time.sleep(1)", "await_(asyncio.sleep(0.1))", "sleep(n)"):
            with self.subTest(call):
                self.assertEqual(1, len(_of("sleeps", call)))
                self.assertEqual([], _of("sleeps", f"{call}  # why: because"))
        self.assertEqual([], _of("sleeps", "asyncio.sleep(0)"))

    def test_fault_points(self) -> None:
        text = "point('a.b')\nfaults.point('c')\npoint(name)\nother.point('d')\n"
        self.assertEqual(["a.b", "c", ""], [name for name, _ in sources.fault_points(Source("x.py", text))])

    def test_imports(self) -> None:
        text = "import os.path\nfrom . import x\ndef f():\n    from yaml.nodes import y\n"
        found = list(sources.imported(Source("x.py", text)))
        self.assertEqual({("os.path", 1), (".", 2), ("yaml.nodes", 4)}, set(found))

    def test_foreign_places(self) -> None:
        bad = (
            "https://pypi" + ".org/simple",
            "see /work" + "/main/x",
            "cd /tmp" + "/lab/x",
            "url = 'https://mirror.company.com/api" + "/simple/'",
        )
        good = (
            "x/work/y",
            "http://127.0.0.1:8000/simple",
            "https://index.example/simple",
            "https://me:p@x.test/simple",
            "the work/ folder",
        )
        for line in bad:
            self.assertEqual(1, len(_of("foreign_places", line)), line)
        for line in good:
            self.assertEqual([], _of("foreign_places", line), line)


if __name__ == "__main__":
    unittest.main()
