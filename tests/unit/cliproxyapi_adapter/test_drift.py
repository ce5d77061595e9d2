"""What the running program changed in its copy, and taking it over."""

import os
import stat
import unittest
import unittest.mock

from flowgate_engine.errors import ConfigError, FlowgateError, RefusedError
from flowgate_engine.io import faults
from flowgate_engine.services.cliproxyapi import adapter, adopt, diff, drift
from flowgate_engine.services.cliproxyapi.blocks import Block
from tests.unit.cliproxyapi_adapter.ground import Ground
from tests.unit.cliproxyapi_adapter.samples import COPY, ENV, USER

SECRETS = (*ENV.values(), "hunter2", "k-two-is-long", "k-three-is-new", "$2a$")


class Drift(unittest.TestCase):
    def lines(self, before: str, after: str) -> tuple[str, ...]:
        return drift.describe(drift.changes(before.encode(), after.encode(), "copy.yaml"))

    def test_layout_and_the_hashed_key_are_none(self) -> None:
        before = "remote-management:\n    # c\n    secret-key: 'plain'   # mine\n\napi-keys:\n- a\n\n- b\n"
        after = "remote-management:\n# c\n  secret-key: '$2a$10$abc' # mine\napi-keys:\n  - a\n  - b\n"
        self.assertEqual((), self.lines(before, after))

    def test_the_home_folder_written_out_is_none_another_folder_is(self) -> None:
        with unittest.mock.patch.dict(os.environ, {"HOME": "/home/me"}):
            self.assertEqual((), self.lines("auth-dir: ~/.cpa\n", "auth-dir: /home/me/.cpa\n"))
            self.assertEqual(1, len(self.lines("auth-dir: ~/.cpa\n", "auth-dir: /home/you/.cpa\n")))

    def test_a_new_hash_or_a_new_key_is_drift(self) -> None:
        key = "remote-management: {secret-key: %s}\n"
        self.assertEqual(("~ remote-management.secret-key: *** -> ***",), self.lines(key % "$2a$1", key % "$2a$2"))
        self.assertEqual(1, len(self.lines("remote-management: {}\n", key % "$2a$2")))
        self.assertEqual(1, len(self.lines(key % "plain", "remote-management: {}\n")))

    def test_keys_are_named_and_values_shown(self) -> None:
        before = "debug: false\nrequest-retry: 1\nrouting: {strategy: a}\nproxy-url: x\n"
        after = "debug: true\nrouting: {strategy: b}\nproxy-url: x\nlogging-to-file: true\n"
        wanted = (
            "~ debug: false -> true",
            "- request-retry: 1",
            "~ routing.strategy: a -> b",
            "+ logging-to-file: true",
        )
        self.assertEqual(wanted, self.lines(before, after))

    def test_secrets_are_masked(self) -> None:
        for line in self.lines("api-keys: [aaa]\nx: [{api-key: bbb}]\n", "api-keys: [ccc, ddd]\nx: [{api-key: eee}]\n"):
            self.assertRegex(line, r"\*\*\*")
            self.assertNotRegex(line, "aaa|bbb|ccc|ddd|eee")

    def test_everything_below_a_secret_key_is_masked(self) -> None:
        self.assertEqual(("~ tokens-of.inner[0].x: *** -> ***",), self.lines(*(
            f"tokens-of: {{inner: [{{x: {value}}}]}}\n" for value in ("hush", "husht")
        )))  # fmt: skip

    def test_spelled_out_defaults_are_none(self) -> None:
        self.assertEqual((), self.lines("debug: true\n", "debug: true\nredis-usage-queue-retention-seconds: 60\n"))
        self.assertEqual(1, len(self.lines("debug: true\n", "debug: true\nredis-usage-queue-retention-seconds: 61\n")))
        # before 7 that was off by default
        self.assertEqual(("+ ws-auth: true",), self.lines("debug: true\n", "debug: true\nws-auth: true\n"))

    def test_a_copy_caught_empty(self) -> None:
        with self.assertRaisesRegex(ConfigError, "being written"):
            self.lines("debug: true\n", "")


class TheSample(Ground):
    def test_drift_of_a_generation(self) -> None:
        folder = self.generation()
        spec = self.prepared()
        found = adapter.describe_drift(spec, folder, self.objects.read)
        self.assertEqual(("~ api-keys[1]: *** -> ***", "~ request-retry: 1 -> 3"), found)

    def test_fresh_there_is_none(self) -> None:
        folder = self.generation(copy=None)
        self.assertEqual((), adapter.describe_drift(self.prepared(), folder, self.objects.read))


class Adopt(Ground):
    def adopted(self, copy: str = COPY, user: bytes = USER) -> bytes:
        self.generation(copy=copy, user=user)
        done = adopt.run(self.workspace, yes=True)
        self.assertEqual(done.plan.new, self.workspace.cliproxyapi_config.read_bytes())
        return done.plan.new

    def test_only_what_changed_changes(self) -> None:
        new = self.adopted()
        wanted = USER.replace(b'"k-two-is-long"', b"k-three-is-new").replace(b"request-retry: 1", b"request-retry: 3")
        self.assertEqual(wanted, new)

    def test_without_yes_nothing_is_written(self) -> None:
        self.generation()
        done = adopt.run(self.workspace, yes=False)
        self.assertEqual((False, None), (done.written, done.kept))
        self.assertNotEqual(done.plan.former, done.plan.new)
        self.assertEqual(USER, self.workspace.cliproxyapi_config.read_bytes())

    def test_the_former_bytes_are_kept_and_the_mode_too(self) -> None:
        self.generation()
        self.workspace.cliproxyapi_config.chmod(0o640)
        done = adopt.run(self.workspace, yes=True)
        self.assertTrue(done.written)
        self.assertEqual(USER, self.objects.read(done.kept or ""))
        self.assertEqual(0o640, stat.S_IMODE(self.workspace.cliproxyapi_config.stat().st_mode))

    def test_the_diff_shows_the_change_and_no_secret(self) -> None:
        self.generation()
        text = adopt.plan(self.workspace).diff
        self.assertIn("\n-request-retry: 1   # tries\n", text)
        self.assertIn("\n+request-retry: 3   # tries\n", text)
        self.assertIn("\n@@ -8,8 +8,8 @@\n", text)
        for secret in SECRETS:
            self.assertNotIn(secret, text)

    def test_a_commented_secret_is_masked_too(self) -> None:
        self.generation(user=USER + b"# secret-key: of-last-year\n", copy=COPY)
        text = adopt.plan(self.workspace).diff
        self.assertNotIn("of-last-year", text)
        shown = diff.masked(USER + b"# - api-key: 'of-last-year' # x\n# just: words\n", "x.yaml")
        self.assertEqual("tokens-of: {inner: [{x: ***}]}", diff.masked(b"tokens-of: {inner: [{x: hush}]}\n", "x.yaml"))
        self.assertTrue(shown.endswith("# - api-key: ***\n# just: words"))
        self.assertIn("- os.environ/FIRST_KEY     # first\n", shown)

    def test_nothing_changed_nothing_done(self) -> None:
        self.generation(copy=None)
        done = adopt.run(self.workspace, yes=True)
        self.assertEqual((False, "", ()), (done.written, done.plan.diff, done.plan.changes))

    def test_a_list_that_lost_its_first_item(self) -> None:
        copy = COPY.replace('  - "value-of-first" # first\n  - k-three-is-new\n', "  - k-two-is-long\n")
        new = self.adopted(copy)
        self.assertIn(b"api-keys:\n  - k-two-is-long\nrequest-retry: 3   # tries\n", new)
        for value in ENV.values():
            self.assertNotIn(value.encode(), new)

    def test_a_reference_that_moved_in_its_list_stays_a_reference(self) -> None:
        copy = COPY.replace('  - "value-of-first" # first\n', '  - new\n  - "value-of-first" # first\n')
        new = self.adopted(copy)
        self.assertIn(b"api-keys:\n  - new\n  - os.environ/FIRST_KEY # first\n  - k-three-is-new\n", new)

    def test_keys_that_came_and_went(self) -> None:
        copy = (
            COPY.replace("request-retry: 3 # tries\n", "") + "proxy-url: socks5://x\nrouting:\n  strategy: fill-first\n"
        )
        new = self.adopted(copy)
        body = USER.replace(b"request-retry: 1   # tries\n", b"").replace(b'"k-two-is-long"', b"k-three-is-new")
        self.assertEqual(body + b"proxy-url: socks5://x\nrouting:\n  strategy: fill-first\n", new)

    def test_a_block_keeps_references_and_the_own_management_key(self) -> None:
        copy = COPY.replace("  allow-remote: false\n", "  allow-remote: false\n  disable-control-panel: true\n")
        copy = copy.replace('        alias: "m"\n', '        alias: "m"\n      - name: more\n')
        new = self.adopted(copy)
        self.assertIn(b"  disable-control-panel: true\n  secret-key: 'hunter2' # my key\n", new)
        self.assertIn(b'      - api-key: "os.environ/UPSTREAM_KEY" # secret\n', new)
        self.assertIn(b"      - name: more\n# end\n", new)
        self.assertNotIn(b"$2a$", new)
        self.assertIn(b"host: localhost   # h\n", new)
        self.assertIn(b"auth-dir: acc\n", new)
        self.assertNotIn(b"port:", new)

    def test_a_short_reference_stays_one_too(self) -> None:
        user = USER.replace(b"request-retry: 1 ", b"nested: {retry: os.environ/SHORT, debug: false}\nrequest-retry: 1 ")
        copy = COPY.replace("request-retry: 3", "nested:\n  retry: 5\n  debug: false\n  more: true\nrequest-retry: 3")
        with unittest.mock.patch.dict(ENV, SHORT="5"):
            new = self.adopted(copy, user)
        self.assertIn(b"nested:\n  retry: os.environ/SHORT\n  debug: false\n  more: true\n", new)

    def test_a_relative_path_stays_relative(self) -> None:
        user = USER + b"tls: {enable: false, cert: c.pem}\n"
        new = self.adopted(COPY + "tls:\n  enable: false\n  cert: {root}/c.pem\n  key: k.pem\n", user)
        self.assertTrue(new.endswith(b"tls:\n  enable: false\n  cert: c.pem\n  key: k.pem\n"), new[-80:])

    def test_comments_behind_a_removed_key_stay(self) -> None:
        user = USER.replace(b"# tries\n", b"# tries\n# about what follows\n")
        new = self.adopted(COPY.replace("request-retry: 3 # tries\n", ""), user)
        self.assertIn(b"# about what follows\n", new)
        self.assertNotIn(b"request-retry", new)

    def test_a_line_of_text_that_looks_like_a_comment(self) -> None:
        user = USER + b"routing:\n  note: |\n    text\n    # and more\n"
        copy = COPY + "routing:\n  note: |\n    text\n    # and more\n  sticky: true\n"
        new = self.adopted(copy, user)
        self.assertTrue(new.endswith(b"# end\nrouting:\n  note: |\n    text\n    # and more\n  sticky: true\n"))

    def test_what_came_out_wrong_is_refused(self) -> None:
        self.generation(copy=COPY + "routing:\n  strategy: fill-first\n")
        wrong = {"api-keys": Block(0, 5), "routing": Block(0, 5)}
        with unittest.mock.patch.object(adopt, "blocks", return_value=wrong), self.assertRaises(RefusedError):
            adopt.plan(self.workspace)

    def test_line_ends_stay(self) -> None:
        user = USER.replace(b"\n", b"\r\n")
        new = self.adopted(COPY + "routing:\n  strategy: fill-first\n", user)
        self.assertEqual(new.count(b"\n"), new.count(b"\r\n"))
        self.assertTrue(new.endswith(b"# end\r\nrouting:\r\n  strategy: fill-first\r\n"))

    def test_host_and_port_are_not_taken_over(self) -> None:
        self.generation(copy=COPY.replace("port: 18317", "port: 9999").replace('"127.0.0.1"', '"0.0.0.0"'))
        made = adopt.plan(self.workspace)
        self.assertEqual({("host",), ("port",)}, {change.path for change in made.left})
        self.assertNotIn(b"9999", made.new)
        self.assertIn(b"host: localhost", made.new)

    def test_the_newest_generation_counts(self) -> None:
        self.generation(9)
        self.generation(10, copy=None)
        self.assertEqual((), adopt.plan(self.workspace).changes)
        self.assertEqual(2, len(adopt.plan(self.workspace, generation=9).changes))

    def test_refused_when_the_file_was_edited_since(self) -> None:
        folder = self.generation()
        self.workspace.cliproxyapi_config.write_bytes(USER + b"# mine\n")
        with self.assertRaisesRegex(RefusedError, "was edited") as caught:
            adopt.run(self.workspace, yes=True)
        self.assertIn(f"diff {folder / adapter.RENDERED}", caught.exception.problems[0].hint or "")
        self.assertEqual(USER + b"# mine\n", self.workspace.cliproxyapi_config.read_bytes())

    def test_an_edit_in_the_last_moment_is_not_lost(self) -> None:
        self.generation()
        mine = USER + b"# at the last moment\n"

        def edit(name: str) -> None:
            if name == "adopt.kept":
                self.workspace.cliproxyapi_config.write_bytes(mine)

        faults.set_hook(edit)
        self.addCleanup(faults.set_hook, None)
        with self.assertRaisesRegex(RefusedError, "at this moment"):
            adopt.run(self.workspace, yes=True)
        self.assertEqual(mine, self.workspace.cliproxyapi_config.read_bytes())

    def test_flow_style_is_refused_unless_a_scalar_is_enough(self) -> None:
        user = b"{request-retry: 1, api-keys: [abc]} # mine\n"
        copy = (
            '{host: "127.0.0.1", port: 18317, auth-dir: "{root}/.flowgate/auth", request-retry: %s, api-keys: [%s]}\n'
        )
        self.assertEqual(b"{request-retry: 3, api-keys: [abc]} # mine\n", self.adopted(copy % (3, "abc"), user))
        self.workspace.cliproxyapi_config.write_bytes(user)
        self.generation(2, copy % (1, "abc, def"), user)
        with self.assertRaisesRegex(RefusedError, "cannot be put into"):
            adopt.plan(self.workspace)

    def test_never_started(self) -> None:
        with self.assertRaisesRegex(FlowgateError, "has not run here") as caught:
            adopt.plan(self.workspace)
        self.assertIn("up", caught.exception.problems[0].hint or "")

    def test_a_linked_file_stays_a_link(self) -> None:
        self.generation()
        file = self.workspace.cliproxyapi_config
        target = file.with_name("real.yaml")
        os.replace(file, target)
        file.symlink_to(target)
        adopt.run(self.workspace, yes=True)
        self.assertTrue(file.is_symlink())
        self.assertIn(b"request-retry: 3", target.read_bytes())


if __name__ == "__main__":
    unittest.main()
