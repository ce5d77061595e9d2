"""Wheels made in memory: the stand-in LiteLLM, and what it needs, packed again from our own environment."""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import io
import re
import zipfile
from pathlib import Path
from typing import NamedTuple

from ..errors import FlowgateError

_STANDIN = Path(__file__).parent / "standins" / "litellm_package"
#: What an installer adds to what was in the wheel.
_ADDED = {"INSTALLER", "REQUESTED", "RECORD", "direct_url.json", "uv_cache.json"}
#: Everything that the stand-in needs in its environment, dependencies of dependencies included.
NEEDED = ("uvicorn", "click", "h11", "pyyaml", "typing-extensions")
_METADATA = """\
Metadata-Version: 2.1
Name: litellm
Version: {version}
Summary: Stand-in for LiteLLM's proxy, for the demo and the tests of Flowgate
Requires-Python: >=3.11
Provides-Extra: proxy
Requires-Dist: click
Requires-Dist: pyyaml; extra == "proxy"
Requires-Dist: uvicorn; extra == "proxy"
"""


class Wheel(NamedTuple):
    """One wheel. `metadata` is its METADATA file, which installers may ask for alone (PEP 658)."""

    project: str
    """Normalised name, as in the address of its page."""
    version: str
    filename: str
    data: bytes
    metadata: bytes
    requires_python: str | None

    @property
    def sha256(self) -> str:
        """Hash of the whole file."""
        return hashlib.sha256(self.data).hexdigest()


def normalise(name: str) -> str:
    """A project's name as it stands in addresses (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _record(name: str, files: dict[str, bytes]) -> bytes:
    lines = []
    for path, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        quoted = f'"{path}"' if "," in path else path
        lines.append(f"{quoted},sha256={digest},{len(data)}")
    return "\n".join([*lines, f"{name},,", ""]).encode()


def _pack(project: str, version: str, tags: list[str], files: dict[str, bytes]) -> Wheel:
    """A wheel of `files`, one `.dist-info` among them. The same input gives the same bytes."""
    info = next(path.partition("/")[0] for path in files if path.endswith(".dist-info/METADATA"))
    metadata = files[f"{info}/METADATA"]
    record = f"{info}/RECORD"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for path, data in {**files, record: _record(record, files)}.items():
            entry = zipfile.ZipInfo(path)
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, data)
    python, abi, platform = (".".join(sorted({t.split("-")[n] for t in tags})) for n in range(3))
    stem = info.removesuffix(".dist-info")
    found = re.search(rb"(?m)^Requires-Python: *(.+)$", metadata)
    needs = found[1].decode().strip() if found else None
    name = f"{stem}-{python}-{abi}-{platform}.whl"
    return Wheel(normalise(project), version, name, buffer.getvalue(), metadata, needs)


def standin(version: str) -> Wheel:
    """The stand-in `litellm`, saying that it is `version`."""
    info = f"litellm-{version}.dist-info"
    sources = sorted(_STANDIN.rglob("*.py"))
    files = {path.relative_to(_STANDIN).as_posix(): path.read_bytes() for path in sources}
    files[f"{info}/METADATA"] = _METADATA.format(version=version).encode()
    files[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: flowgate-demo\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files[f"{info}/entry_points.txt"] = b"[console_scripts]\nlitellm = litellm.proxy.proxy_cli:run_server\n"
    return _pack("litellm", version, ["py3-none-any"], files)


def repack(project: str) -> Wheel:
    """The wheel from which `project` was installed into the environment that Flowgate runs in.

    Raises FlowgateError when it is not there or was not installed from a wheel.
    """
    try:
        found = importlib.metadata.distribution(project)
    except importlib.metadata.PackageNotFoundError as error:
        raise FlowgateError(f"{project} is not in Flowgate's own environment", hint="uv sync") from error
    tags = re.findall(r"(?m)^Tag: *(\S+)", found.read_text("WHEEL") or "")
    if not tags or not found.files:
        raise FlowgateError(
            f"{project} in Flowgate's own environment was not installed from a wheel, so the demo cannot pass it on",
            hint="uv sync --reinstall",
        )
    files = {}
    for path in found.files:
        installed = path.name in _ADDED and path.parent.name.endswith(".dist-info")
        if installed or ".." in path.parts or path.suffix == ".pyc":
            continue
        files[path.as_posix()] = Path(str(found.locate_file(path))).read_bytes()
    return _pack(project, found.version, tags, files)
