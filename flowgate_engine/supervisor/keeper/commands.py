"""What clients may ask of a keeper."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .control import Connection
    from .main import Keeper


def handle(keeper: Keeper, client: Connection, request: dict[str, Any]) -> None:
    """Carry out one request and answer it; `stop` is answered when it is over."""
    command = _COMMANDS.get(str(request.get("cmd")))
    if command is None:
        client.reply(error=f"no such command: {request.get('cmd')}")
    else:
        command(keeper, client, request)


def _status(keeper: Keeper, client: Connection, _request: dict[str, Any]) -> None:
    keeper.refresh()
    client.send(keeper.status.line())


def _subscribe(keeper: Keeper, client: Connection, request: dict[str, Any]) -> None:
    client.subscribed = True
    _status(keeper, client, request)


def _stop(keeper: Keeper, client: Connection, request: dict[str, Any]) -> None:
    drain, kill = float(request["drain_timeout"]), float(request["kill_after"])
    keeper.waiting.append(client)
    if keeper.over:
        keeper.answer()
    else:
        keeper.stop(drain, kill)


def _socket(keeper: Keeper, client: Connection, _request: dict[str, Any]) -> None:
    client.reply(keeper.listen_fd, socket=keeper.listen_fd is not None)


def _document(keeper: Keeper, client: Connection, _request: dict[str, Any]) -> None:
    client.reply(document=keeper.document)


def _signal(keeper: Keeper, client: Connection, request: dict[str, Any]) -> None:
    child = keeper.child if keeper.fields["exit"] is None else None
    client.reply(sent=child is not None and child.signal(int(request["number"])))


def _supervisor(keeper: Keeper, client: Connection, request: dict[str, Any]) -> None:
    keeper.watch.teach(request.get("argv"), request.get("log"))
    client.reply(watching=keeper.watch.follow(int(request["pid"]), int(request["start_ticks"])))


def _log(keeper: Keeper, client: Connection, request: dict[str, Any]) -> None:
    limits = {"max_size": int(request["max_size"]), "keep": int(request["keep"])}
    keeper.document["log"].update(limits)
    keeper.log.limit(**limits)
    client.reply(limited=True)


def _release(keeper: Keeper, client: Connection, _request: dict[str, Any]) -> None:
    if keeper.over:
        client.reply(released=True)
        keeper.end()
    else:
        client.reply(released=False, error="the child is not over")


_COMMANDS = {
    "status": _status,
    "subscribe": _subscribe,
    "stop": _stop,
    "socket": _socket,
    "document": _document,
    "signal": _signal,
    "supervisor": _supervisor,
    "log": _log,
    "release": _release,
}
