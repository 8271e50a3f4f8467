"""RabbitMQ: one node without plugins, which no other node and no port mapper of the machine knows.

1. An Erlang node is known to others by its name, which the machine's port mapper (epmd) turns into a port.
   Ours is told its port on the command line, and so needs no mapper: all have the same name, and do not meet.
2. Started by its own script as if by systemd, the node replaces the script: the process we started is it.
3. The script takes the folder that it lies in for RabbitMQ's. It is given one of links, without the plugins
   that nobody enables: when a node starts, Erlang loads a thousand modules, and looks for each of them in one
   library after the other. With half of the libraries it starts in two thirds of the time.
4. What a test wants of the node from within goes through `erl_call`, an Erlang node in C, in milliseconds.
   `rabbitmqctl` starts a whole Erlang for each command, in half a second of processor time.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from tests.servers.base import Server, free_port
from tests.servers.certificates import Certificates
from tools.packages import find
from tools.servers import RABBITMQ


class RabbitServer(Server):
    """`settings` are lines of rabbitmq.conf: `"heartbeat = 1"`; `advanced` is what advanced.config says of
    `rabbit`: `"{name, 1}"`. Its user is `guest`.
    """

    need = RABBITMQ
    node = "backburner@localhost"
    host = "127.0.0.1"

    def __init__(
        self,
        folder: Path | None = None,
        *settings: str,
        advanced: str = "",
        password: str = "guest",
        tls: bool = False,
    ) -> None:
        super().__init__(folder)
        self.settings = settings
        self.advanced = advanced
        self.password = password
        self.certificates = Certificates(self.folder) if tls else None
        self.distribution = 0
        self.home = self.folder / "rabbitmq"

    @property
    def url(self) -> str:
        return self._url("")

    def _url(self, vhost: str) -> str:
        scheme = "amqps" if self.certificates else "amqp"
        trust = f"?cacertfile={self.certificates.authority}" if self.certificates else ""
        return f"{scheme}://guest:{quote(self.password)}@127.0.0.1:{self.port}/{quote(vhost, safe='')}{trust}"

    def prepare(self) -> None:
        self.distribution = self.port
        while self.distribution == self.port:
            self.distribution = free_port()
        if not self.home.exists():
            self._make_home()
        (self.folder / "rabbitmq.conf").write_text(self._configuration())
        (self.folder / "advanced.config").write_text(f"[{{rabbit, [{self.advanced}]}}].\n")

    def _make_home(self) -> None:
        original = self.program.resolve().parents[1]
        (self.home / "plugins").mkdir(parents=True)
        for name in "sbin", "escript":
            (self.home / name).symlink_to(original / name)
        for library in (original / "plugins").iterdir():
            if library.name.startswith("rabbitmq_prelaunch-") or not library.name.startswith("rabbitmq_"):
                (self.home / "plugins" / library.name).symlink_to(library)

    def _configuration(self) -> str:
        listeners = [f"listeners.tcp.1 = {self.host}:{self.port}"]
        if self.certificates:
            listeners = [
                "listeners.tcp = none",
                f"listeners.ssl.1 = 127.0.0.1:{self.port}",
                f"ssl_options.cacertfile = {self.certificates.authority}",
                f"ssl_options.certfile = {self.certificates.certificate}",
                f"ssl_options.keyfile = {self.certificates.key}",
            ]
        lines = [
            *listeners,
            f"default_pass = {self.password}",
            "vm_memory_high_watermark.absolute = 2GB",  # no alarm but the tests' own, on any machine
            "disk_free_limit.absolute = 1MB",
            *self.settings,
        ]
        return "\n".join([*lines, ""])

    def command(self) -> list[str]:
        return [
            *self._environment(),
            str(self.program),
            *(*self._name(), "-start_epmd", "false", "-erl_epmd_port", str(self.distribution)),
            *("-kernel", "inet_dist_use_interface", f"{{{self.host.replace('.', ',')}}}"),
            *("+S", "2:2", "+stbt", "u"),  # two threads, bound to no core: it is not alone on the machine
        ]

    def _name(self) -> list[str]:
        return ["-sname", self.node]

    def _environment(self) -> list[str]:
        """The command before every command: nothing of the machine's own RabbitMQ is read or written."""
        environment = {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "HOME": self.folder,  # Erlang puts there the secret that its nodes share
            "ERL_EPMD_PORT": 1,  # where nobody listens: it would tell the machine's port mapper its name
            "ERL_CRASH_DUMP_SECONDS": 0,
            "RUNNING_UNDER_SYSTEMD": "true",
            "RABBITMQ_SCRIPTS_DIR": self.home / "sbin",
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_CONFIG_FILE": self.folder / "rabbitmq.conf",
            "RABBITMQ_CONFIG_FILES": self.folder / "conf.d",
            "RABBITMQ_ADVANCED_CONFIG_FILE": self.folder / "advanced.config",
            "RABBITMQ_ENABLED_PLUGINS_FILE": self.folder / "enabled_plugins",
            "RABBITMQ_MNESIA_BASE": self.folder / "data",
            "RABBITMQ_LOG_BASE": self.folder,
            "RABBITMQ_LOGS": "-",
        }
        return ["env", "-i", *(f"{name}={value}" for name, value in environment.items())]

    def is_ready(self) -> bool:
        """It says so once it listens, past its log: that drops lines when there are many, as where clients
        come back at once or hundreds of queues are read.
        """
        return self.has_said(" completed with ")

    def evaluate(self, expressions: str) -> str:
        """Let the node evaluate Erlang, as `node()`, and return the last value as Erlang writes it."""
        call = [str(find("erl_call")), "-address", f"{self.host}:{self.distribution}", "-r", "-e"]
        done = self._ask(call, expressions)
        while self.running and "failed to connect" in done.stderr:
            # It takes a name that another call, which is about to end, may still have.
            done = self._ask(call, expressions)
        assert done.stdout.startswith("{ok, "), f"{done.stdout}{done.stderr}"
        return done.stdout.removeprefix("{ok, ").removesuffix("}")

    def _ask(self, call: list[str], expressions: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self._environment(), *call],
            input=f"{expressions}.\n",
            capture_output=True,
            text=True,
            check=False,
        )

    def vhost(self, name: str) -> str:
        """The URL of a virtual host of this name, which is made if there is none: a test's own name space."""
        host, user, all_names = _binary(name), _binary("guest"), _binary(".*")
        self.evaluate(
            f"ok = rabbit_vhost:add({host}, {user}), ok = rabbit_auth_backend_internal:set_permissions("
            f"{user}, {host}, {all_names}, {all_names}, {all_names}, {user})"
        )
        return self._url(name)

    def drop_vhost(self, name: str) -> None:
        """End its connections, and remove all that is in it."""
        self.evaluate(f"rabbit_vhost:delete({_binary(name)}, {_binary('guest')})")

    def purge(self) -> None:
        """Delete all that waits in the queues of the first virtual host, and leave the queues."""
        self.evaluate('[rabbit_amqqueue:purge(Queue) || Queue <- rabbit_amqqueue:list(<<"/">>)]')

    def sync(self) -> None:
        """Put on disk that the newest queues exist.

        RabbitMQ itself does so about a second after they were declared. A node killed before that no longer
        knows a classic queue, nor what was confirmed in a quorum queue, which answers nobody from then on.
        """
        self.evaluate("ok = mnesia:sync_log(), [ok = dets:sync(Table) || Table <- dets:all()]")

    def close_connections(self, reason: str) -> None:
        """As an operator does: the server says CONNECTION_FORCED and the reason to every client."""
        self.evaluate(
            "rabbit_networking:close_connections("
            f"rabbit_networking:connections(), binary_to_list({_binary(reason)}))"
        )

    def raise_alarm(self, resource: Literal["memory", "disk"] = "memory") -> None:
        """From now on nothing is read from connections that publish, until it is cleared or restarted."""
        self._alarm(f"set_alarm({{{{resource_limit, {resource}, node()}}, []}})")

    def clear_alarm(self, resource: Literal["memory", "disk"] = "memory") -> None:
        self._alarm(f"clear_alarm({{resource_limit, {resource}, node()}})")

    def _alarm(self, change: str) -> None:
        """The change is a message; the answer to the question comes after it has had effect."""
        self.evaluate(f"rabbit_alarm:{change}, rabbit_alarm:get_alarms()")

    def ctl(self, *arguments: str) -> str:
        """What `rabbitmqctl` prints; CalledProcessError with `stderr` if it fails."""
        unheard = f"-start_epmd false -erl_epmd_port {self.distribution} -dist_listen false"
        done = subprocess.run(
            [
                *self._environment(),
                f"RABBITMQ_CTL_ERL_ARGS={unheard}",
                *(str(find("rabbitmqctl")), "--node", self.node, "--quiet", *arguments),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout


def _binary(text: str) -> str:
    """As Erlang writes it, whatever is in it."""
    return f"<<{','.join(map(str, text.encode()))}>>"
