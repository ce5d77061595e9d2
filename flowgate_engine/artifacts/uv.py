"""Running uv: where it is, in which environment, and what it says."""

from __future__ import annotations

import os
import re
import selectors
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from ..errors import FlowgateError
from ..io.urls import is_loopback
from .job import Cancelled, Job

DEADLINE = 1800.0
#: Settings of uv that are the user's: where packages come from and where they are kept. All else is ours.
_KEPT = re.compile(
    r"UV_(CACHE_DIR|INDEX.*|DEFAULT_INDEX|EXTRA_INDEX_URL|FIND_LINKS|KEYRING_PROVIDER|NATIVE_TLS|SYSTEM_CERTS"
    r"|INSECURE_HOST|HTTP_.*|REQUEST_TIMEOUT|CONCURRENT_.*|OFFLINE|CONFIG_FILE|EXCLUDE_NEWER|PYTHON_INSTALL_DIR)"
)
_DROPPED = re.compile(r"UV_.*|PYTHON.*|PIP_.*|VIRTUAL_ENV.*|CONDA_.*|PYC_INVALIDATION_MODE|SOURCE_DATE_EPOCH")
_UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_DOWNLOADING = re.compile(r"Downloading (\S+) \(([\d.]+)(B|KiB|MiB|GiB)\)")
_DOWNLOADED = re.compile(r"Downloaded (\S+)")
_STEP = re.compile(r"(Resolved|Prepared|Installed) (\d+) packages?")
#: What uv begins when it says that it has done the other.
_NEXT = {"Resolved": "unpacking {} packages", "Prepared": "copying {} packages", "Installed": "compiling {} packages"}
#: Seconds between two looks at how a folder has grown: each costs a stat for every file.
LOOK = 2.0


def find() -> str:
    """The uv that Flowgate brings (package `uv`), else the one on PATH. Raises FlowgateError."""
    try:
        import uv

        return os.fsdecode(uv.find_uv_bin())
    except (ImportError, FileNotFoundError):
        found = shutil.which("uv")
    if found is None:
        raise FlowgateError(
            "uv is not installed; LiteLLM's environment is made with it",
            hint=f"{shlex.quote(sys.executable)} -m pip install 'uv>=0.9'",
        )
    return found


def environment(base: Mapping[str, str]) -> dict[str, str]:
    """`base` without what would change what uv makes; its proxy, cache and index settings stay."""
    out = {k: v for k, v in base.items() if _KEPT.fullmatch(k) or not _DROPPED.fullmatch(k)}
    out |= {"UV_NO_PROGRESS": "1", "UV_PYTHON_DOWNLOADS": "never", "NO_COLOR": "1"}
    # Bytecode that Python takes as it is and never writes anew in place, whatever times a copied file has.
    out["PYC_INVALIDATION_MODE"] = "UNCHECKED_HASH"
    return out


def only_index(index: str, base: Mapping[str, str]) -> dict[str, str]:
    """Variables that make `index` the only one; one on this machine is never asked through a proxy."""
    out = {"UV_INDEX": "", "UV_EXTRA_INDEX_URL": "", "UV_FIND_LINKS": "", "UV_INDEX_URL": "", "UV_DEFAULT_INDEX": index}
    if is_loopback(index):
        for name in ("NO_PROXY", "no_proxy"):
            out[name] = ",".join(filter(None, (base.get(name), "127.0.0.1", "localhost")))
    return out


def mask(text: str) -> str:
    """`text` without user and password in addresses."""
    return re.sub(r"(://)[^/\s@]+@", r"\1***@", text)


def run(job: Job, step: str, argv: list[str], *, extra: Mapping[str, str], watch: Path | None = None) -> str:
    """Run uv with `argv`, telling `step` and its progress; returns its standard output.

    `extra` goes over the environment (an index with a password belongs there, not on the command line). The
    working directory is `/`, so that no project's pyproject.toml takes part. `watch` is the folder whose growth is
    shown. Raises FlowgateError with uv's own words, Cancelled when the user interrupted; uv has then ended.
    """
    line = [find(), *argv]
    process = subprocess.Popen(
        line,
        cwd="/",
        env=environment(os.environ) | dict(extra),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        out, err = _listen(job, step, process, watch)
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
    if process.returncode != 0:
        said = [text for text in mask(err).strip().splitlines() if text.strip()]
        start = next((n for n, text in enumerate(said) if text.startswith("error") or "×" in text), -6)
        raise UvError(f"{step}: uv failed with exit code {process.returncode}", "\n".join(said[start:][:12]), job)
    return out


class UvError(FlowgateError):
    """uv did not do it. `said` are its own words."""

    def __init__(self, message: str, said: str, job: Job) -> None:
        offline = " (--offline: only what uv has in its cache)" if job.offline else ""
        full = "No space left on device" in said
        hint = f"df -h {shlex.quote(str(job.workspace.artifacts))}" if full else job.command
        super().__init__(f"{message}{offline}: {said}", hint=hint)
        self.said = said
        self.hint = hint
        self.another = "unsatisfiable" in said
        """Another version may do; else the same one may, later."""


class _Meter:
    """Bytes of the wheels that uv says it downloads, and the steps that it says it finished."""

    def __init__(self) -> None:
        self.sizes: dict[str, int] = {}
        self.done: set[str] = set()
        self.step: str | None = None

    def hear(self, line: str) -> None:
        if match := _DOWNLOADING.search(line):
            self.sizes[match[1]] = int(float(match[2]) * _UNITS[match[3]])
        elif match := _DOWNLOADED.search(line):
            self.done.add(match[1])
        elif match := _STEP.search(line):
            self.step = _NEXT[match[1]].format(match[2])

    def bytes(self) -> tuple[int, int | None]:
        total = sum(self.sizes.values())
        return sum(self.sizes.get(name, 0) for name in self.done), total or None


def _listen(job: Job, step: str, process: subprocess.Popen[bytes], watch: Path | None) -> tuple[str, str]:
    """Read both pipes to their end, telling progress at least twice a second."""
    assert process.stdout is not None and process.stderr is not None
    grown, looked = 0, 0.0
    meter, kept = _Meter(), {"out": bytearray(), "err": bytearray()}
    end = time.monotonic() + DEADLINE
    pending = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ, "out")
        selector.register(process.stderr, selectors.EVENT_READ, "err")
        while selector.get_map():
            for key, _ in selector.select(0.5):
                data = os.read(key.fd, 65536)
                if not data:
                    selector.unregister(key.fileobj)
                    continue
                kept[key.data] += data
                if key.data == "err":
                    *lines, pending = (pending + data).split(b"\n")
                    for line in lines:
                        meter.hear(line.decode("utf-8", "replace"))
            if time.monotonic() > end:
                raise FlowgateError(f"{step}: uv was not done after {DEADLINE:.0f} s", hint=job.command)
            done, total = meter.bytes()
            if watch is not None and (total is None or done >= total):
                if time.monotonic() - looked > LOOK:
                    grown, looked = folder_size(watch), time.monotonic()
                job.tell(meter.step or step, grown, None)
            else:
                job.tell(f"{step}: downloading" if total else step, done, total)
    while process.poll() is None:  # the pipes are closed, so it is about to end
        if job.cancelled.wait(0.01):
            raise Cancelled
    return kept["out"].decode("utf-8", "replace"), kept["err"].decode("utf-8", "replace")


def folder_size(folder: Path) -> int:
    """Bytes of the files below `folder`, while others may be writing there."""
    total, todo = 0, [os.fspath(folder)]
    while todo:
        try:
            with os.scandir(todo.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        todo.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_size
        except OSError:
            continue  # it went away while we looked
    return total
