"""The running copy differs from the user's file in the scalars that are put in, and in nothing else."""

import json
import unittest

import yaml

from flowgate_engine.config.document import parse
from flowgate_engine.errors import ConfigError
from flowgate_engine.services.cliproxyapi import substitute
from flowgate_engine.services.cliproxyapi.substitute import Fields

FIELDS = Fields("127.0.0.1", 18317, "/ws", "/ws/.flowgate/auth")
ENV = {"KEY": "s3cret", "NUMBER": "42", "SWITCH": "true", "ODD": 'a"b\\c\n: #\u00e9\U0001f600\x7f', "PIN": "0042"}


def render(text: str | bytes, fields: Fields = FIELDS, env: dict[str, str] | None = None) -> bytes:
    data = text.encode() if isinstance(text, str) else text
    return substitute.render(data, parse(data, "cliproxyapi.yaml"), fields, (ENV if env is None else env).get)


def value(data: bytes) -> object:
    return yaml.safe_load(data.decode("utf-8-sig"))


class EveryOtherByte(unittest.TestCase):
    def test_comments_quotes_and_layout_stay(self) -> None:
        text = (
            "# mine\nhost:   'localhost'   # here\nport: 8317   # there\n\n\nauth-dir: '~/acc' \napi-keys:\n- k # one\n"
        )
        expected = text.replace("'localhost'", '"127.0.0.1"').replace("8317", "18317")
        self.assertEqual(expected.encode(), render(text))

    def test_crlf(self) -> None:
        text = b"host: x\r\nport: 1\r\nauth-dir: /a\r\ndebug: true\r\n"
        self.assertEqual(text.replace(b"x", b'"127.0.0.1"').replace(b"1\r", b"18317\r", 1), render(text))

    def test_bom(self) -> None:
        text = b"\xef\xbb\xbfhost: x\nport: 1\nauth-dir: /a\n"
        self.assertEqual(b'\xef\xbb\xbfhost: "127.0.0.1"\nport: 18317\nauth-dir: /a\n', render(text))

    def test_flow_style(self) -> None:
        text = "{host: x, port: 1, auth-dir: /a, api-keys: [os.environ/KEY, 'two']} # end"
        wanted = '{host: "127.0.0.1", port: 18317, auth-dir: /a, api-keys: ["s3cret", \'two\']} # end'
        self.assertEqual(wanted.encode(), render(text))

    def test_anchors_tags_and_other_letters(self) -> None:
        text = "x: &a ä€😀\nhost: &h !!str x # ü\nport: 1\nauth-dir: /ä\napi-keys: [&k os.environ/KEY, *k]\n"
        wanted = (
            text.replace("!!str x", '!!str "127.0.0.1"').replace(": 1", ": 18317").replace("os.environ/KEY", '"s3cret"')
        )
        self.assertEqual(wanted.encode(), render(text))
        self.assertEqual(["s3cret", "s3cret"], value(render(text))["api-keys"])  # type: ignore[index]

    def test_only_the_inserted_bytes_are_new(self) -> None:
        for text in ("debug: true\n", "# c\n\n  debug: true\n  x: 1", "{debug: true}", "---\ndebug: true\r\n", "{}"):
            with self.subTest(text):
                out = render(text)
                rest = iter(out)
                self.assertTrue(all(byte in rest for byte in text.encode()), out)
                found = value(out)
                assert isinstance(found, dict)
                self.assertEqual(
                    ("127.0.0.1", 18317, "/ws/.flowgate/auth"), tuple(found[k] for k in ("host", "port", "auth-dir"))
                )
                self.assertEqual(set(found) - {"host", "port", "auth-dir"}, set(value(text.encode()) or ()))  # type: ignore[call-overload]

    def test_lines_are_put_in_with_the_files_own_ends(self) -> None:
        wanted = b'host: "127.0.0.1"\r\nport: 18317\r\nauth-dir: "/ws/.flowgate/auth"\r\n'
        self.assertEqual(wanted + b"debug: true\r\n", render(b"debug: true\r\n"))
        self.assertEqual(b"# c\r\n" + wanted + b"debug: true\r\n", render(b"# c\r\ndebug: true\r\n"))

    def test_a_root_with_an_anchor_or_a_tag(self) -> None:
        for text in ("--- &root\nx: 1\n", "!!map\nx: 1\n", "--- !!map {x: 1}\n", "&k x: 1\n"):
            with self.subTest(text):
                found = value(render(text))
                assert isinstance(found, dict)
                self.assertEqual({"x", "host", "port", "auth-dir"}, set(found))


class WhatIsPutIn(unittest.TestCase):
    BASE = "host: x\nport: 1\nauth-dir: /a\n"

    def one(self, line: str, key: str = "k") -> object:
        found = value(render(self.BASE + line))
        assert isinstance(found, dict)
        return found[key]

    def test_a_reference_becomes_its_value_whatever_stands_in_it(self) -> None:
        for name, wanted in ENV.items():
            with self.subTest(name):
                self.assertEqual(wanted, self.one(f"k: 'os.environ/{name}'\n"))
                self.assertEqual(wanted, self.one(f'k: ["os.environ/{name}"]\n')[0])  # type: ignore[index]

    def test_a_plain_reference_may_be_a_number_or_a_switch(self) -> None:
        self.assertEqual(42, self.one("k: os.environ/NUMBER\n"))
        self.assertIs(True, self.one("k: os.environ/SWITCH # c\n"))
        self.assertEqual("0042", self.one("k: os.environ/PIN\n"))

    def test_the_text_is_ascii_and_one_line(self) -> None:
        text = substitute.scalar_text(ENV["ODD"])
        self.assertTrue(text.isascii())
        self.assertNotIn(b"\n", text)
        self.assertEqual(ENV["ODD"], yaml.safe_load(text))

    def test_what_only_looks_like_a_reference_stays(self) -> None:
        for text in ("os.environ/", "xos.environ/KEY", "os.environ/KEY/more", "OS.ENVIRON/KEY", "${KEY}"):
            self.assertEqual(text, self.one(f"k: {json.dumps(text)}\n"))

    def test_a_bare_colon_gets_its_value(self) -> None:
        out = render("host:\nport:   # none\nauth-dir: ~\n")
        self.assertEqual(b'host: "127.0.0.1"\nport: 18317   # none\nauth-dir: "/ws/.flowgate/auth"\n', out)

    def test_relative_folders_start_at_the_workspace(self) -> None:
        text = (
            "host: x\nport: 1\nauth-dir: ./acc/../a\ntls: {enable: true, cert: c.pem, key: /k.pem}\nplugins: {dir: p}\n"
        )
        found = value(render(text))
        assert isinstance(found, dict)
        self.assertEqual("/ws/a", found["auth-dir"])
        self.assertEqual({"enable": True, "cert": "/ws/c.pem", "key": "/k.pem"}, found["tls"])
        self.assertEqual("/ws/p", found["plugins"]["dir"])

    def test_absolute_and_home_folders_stay(self) -> None:
        for folder in ("/acc", "~/acc", "~"):
            found = value(render(f"host: x\nport: 1\nauth-dir: '{folder}'\n"))
            assert isinstance(found, dict)
            self.assertEqual(folder, found["auth-dir"])

    def test_a_folder_from_the_environment(self) -> None:
        for given, wanted in (("rel", "/ws/rel"), ("/abs", "/abs")):
            found = value(render("host: x\nport: 1\nauth-dir: os.environ/DIR\n", env={"DIR": given}))
            assert isinstance(found, dict)
            self.assertEqual(wanted, found["auth-dir"])

    def test_a_rehearsal_never_sees_the_accounts(self) -> None:
        for text in (self.BASE, "host: x\nport: 1\n", "host: x\nport: 1\nauth-dir: os.environ/KEY\n"):
            found = value(render(text, FIELDS._replace(auth_dir="/seat/auth", force_auth_dir=True)))
            assert isinstance(found, dict)
            self.assertEqual("/seat/auth", found["auth-dir"])

    def test_an_ipv6_host_gets_its_brackets(self) -> None:
        for host in ("::1", "[::1]"):
            found = value(render(self.BASE, FIELDS._replace(host=host)))
            assert isinstance(found, dict)
            self.assertEqual("[::1]", found["host"])


class Refused(unittest.TestCase):
    def test_every_missing_variable_at_each_of_its_places(self) -> None:
        text = "api-keys:\n  - os.environ/ONE\n  - 'os.environ/TWO'\nx: os.environ/ONE\n"
        text += "y: os.environ/KEY\nz: os.environ/EMPTY\n"
        with self.assertRaises(ConfigError) as caught:
            render(text, env={"KEY": "k", "EMPTY": ""})
        found = [(str(p.place), p.hint) for p in caught.exception.problems]
        self.assertIn(("cliproxyapi.yaml:2:5", "export ONE=..."), found)
        self.assertIn(("cliproxyapi.yaml:4:4", "export ONE=..."), found)
        self.assertIn(("cliproxyapi.yaml:3:5", "export TWO=..."), found)
        self.assertIn("EMPTY", caught.exception.message)
        self.assertEqual(4, len(found))

    def test_a_scalar_that_is_used_elsewhere_too(self) -> None:
        for text in (
            "x: &h abc\nhost: *h\nport: 1\nauth-dir: /a\n",
            "x: &m {host: a}\n<<: *m\nport: 1\nauth-dir: /a\n",
        ):
            with self.subTest(text), self.assertRaises(ConfigError) as caught:
                render(text)
            self.assertIn("write the value of", caught.exception.problems[0].hint or "")

    def test_a_block_scalar(self) -> None:
        with self.assertRaisesRegex(ConfigError, "block scalar"):
            render("k: |-\n  os.environ/KEY\n")

    def test_a_value_that_is_not_text(self) -> None:
        with self.assertRaisesRegex(ConfigError, "not UTF-8"):
            render("k: os.environ/BAD\n", env={"BAD": "\udcff"})

    def test_no_value_stands_in_an_error(self) -> None:
        with self.assertRaises(ConfigError) as caught:
            render("x: &h os.environ/KEY\nhost: *h\nport: 1\nauth-dir: /a\n")
        self.assertNotIn("s3cret", "\n".join(caught.exception.lines()))


if __name__ == "__main__":
    unittest.main()
