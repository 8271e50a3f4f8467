"""systemd's notify protocol: tells the service manager that the worker is ready, stopping, and alive.

Does nothing unless NOTIFY_SOCKET is set, as systemd does for ``Type=notify``. A message that cannot be sent
is logged and costs no job.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

logger = logging.getLogger(__name__)


class Notify:
    """The service manager named in `environment`, by default this process's own."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        if self._address.startswith("@"):
            self._address = "\0" + self._address[1:]  # a name in Linux's abstract namespace, not a file
        mine = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self._watchdog = int(environment.get("WATCHDOG_USEC", "0")) / 1_000_000 if mine else 0.0

    def ready(self) -> None:
        """Say that the worker claims jobs: what depends on its service may start."""
        self._send("READY=1")

    def stopping(self) -> None:
        """Say that the worker finishes its jobs and then ends."""
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """Set the line that ``systemctl status`` shows."""
        self._send("STATUS=" + " ".join(text.split()))

    async def watchdog(self, alive: Callable[[], bool]) -> None:
        """Send a sign of life at half of WATCHDOG_USEC while `alive()`, until cancelled.

        Returns at once when systemd did not ask this process for one.
        """
        while self._address and self._watchdog > 0:
            if alive():
                self._send("WATCHDOG=1")
            await asyncio.sleep(self._watchdog / 2)

    def _send(self, message: str) -> None:
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.setblocking(False)  # a full socket must not hold the loop up
            try:
                channel.sendto(message.encode(), self._address)
            except OSError as error:
                logger.warning("cannot send %s to NOTIFY_SOCKET %r: %s", message, self._address, error)
