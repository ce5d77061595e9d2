"""Known secrets are replaced before a byte reaches the disk, also where two reads cut them in two."""

from __future__ import annotations

from . import wire

MASK = b"********"
#: A shorter value would blacken half the log; a secret this short protects nothing.
SHORTEST = 4
#: What a writer of JSON escapes that leaves other letters as they are.
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def _forms(secret: str) -> set[bytes]:
    """A secret as it is, as it stands in JSON (UTF-8 or ASCII), and as it stands in an address."""
    raw = secret.encode("utf-8", "surrogateescape")
    quoted = wire.dumps(secret)[1:-1]
    readable = "".join(_ESCAPES.get(character, character) for character in secret)
    plain = b"-._~"
    address = b"".join(bytes([b]) if bytes([b]).isalnum() or b in plain else b"%%%02X" % b for b in raw)
    return {raw, quoted.encode(), readable.encode("utf-8", "surrogateescape"), address}


class Masker:
    """Replaces exact secrets in a stream of blocks."""

    def __init__(self, secrets: list[str]) -> None:
        values = {form for secret in secrets if len(secret) >= SHORTEST for form in _forms(secret)}
        self._secrets = sorted(values, key=len, reverse=True)
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
        if not any(secret in data for secret in self._secrets):
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
