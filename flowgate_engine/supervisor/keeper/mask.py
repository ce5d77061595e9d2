"""Known secrets are replaced before a byte reaches the disk, also where two reads cut them in two."""

from __future__ import annotations

from . import wire

MASK = b"********"
#: A shorter value would blacken half the log; a secret this short protects nothing.
SHORTEST = 4
_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~")
#: A run of letters this long is hardly met by chance.
_RARE = 8
#: What a writer of JSON escapes that leaves other letters as they are.
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def _forms(secret: str) -> set[bytes]:
    """A secret as it is, as it stands in JSON (UTF-8 or ASCII), and as it stands in an address."""
    raw = secret.encode("utf-8", "surrogateescape")
    quoted = wire.dumps(secret)[1:-1]
    readable = "".join(_ESCAPES.get(character, character) for character in secret)
    address = b"".join(bytes([b]) if b in _PLAIN else b"%%%02X" % b for b in raw)
    return {raw, quoted.encode(), readable.encode("utf-8", "surrogateescape"), address}


def _needles(forms: set[bytes]) -> set[bytes]:
    """What is searched for: if none of it is there, none of the forms is. The longest run that no form escapes, where
    it is long enough to be rare: a search for each form would cost as much as all the rest."""
    shortest = min(forms, key=len)
    runs = bytes(b if b in _PLAIN else 32 for b in shortest).split()
    run = max(runs, key=len, default=b"")
    return {run} if len(run) >= _RARE and all(run in form for form in forms) else forms


class Masker:
    """Replaces exact secrets in a stream of blocks."""

    def __init__(self, secrets: list[str]) -> None:
        known = [_forms(secret) for secret in secrets if len(secret) >= SHORTEST]
        self._secrets = sorted({form for forms in known for form in forms}, key=len, reverse=True)
        self._needles = {needle for forms in known for needle in _needles(forms)}
        self._lines_only = not any(b"\n" in v for v in self._secrets)
        self._held = b""

    def feed(self, block: bytes) -> bytes:
        """What of the stream may be written now. A tail that may begin a secret waits for the next block."""
        if not self._secrets:
            return block
        data = self._held + block
        if self._lines_only and data.endswith(b"\n"):
            keep = len(data)  # no secret spans lines
        else:
            keep = self._hold_from(data, 0)
        if not any(needle in data for needle in self._needles):
            self._held = data[keep:]
            return data[:keep]
        return self._replace(data, keep)

    def flush(self) -> bytes:
        """The rest, when nothing follows: masked when it is the recognisable beginning of a secret."""
        rest, self._held = self._held, b""
        return MASK if len(rest) >= SHORTEST else rest

    def _hold_from(self, data: bytes, start: int) -> int:
        """Where the longest tail of `data` begins that a secret begins with; its end when there is none."""
        found = len(data)
        for secret in self._secrets:
            at = data.find(secret[:1], max(start, len(data) - len(secret) + 1))
            while 0 <= at < found:
                if secret.startswith(data[at:]):
                    found = at
                    break
                at = data.find(secret[:1], at + 1)
        return found

    def _replace(self, data: bytes, keep: int) -> bytes:
        """Mask from left to right, the longest secret first, up to `keep`; hold what is behind it."""
        out = []
        position = 0
        following = {secret: data.find(secret) for secret in self._secrets}
        while True:
            for secret, at in following.items():
                if 0 <= at < position:
                    following[secret] = data.find(secret, position)
            hits = [(at, -len(secret)) for secret, at in following.items() if at >= 0]
            start, length = min(hits, default=(keep, 0))
            if start >= keep:
                break
            out += [data[position:start], MASK]
            position = start - length
            if position > keep:  # a whole secret reached into the tail: another tail may wait
                keep = self._hold_from(data, position)
        out.append(data[position:keep])
        self._held = data[keep:]
        return b"".join(out)
