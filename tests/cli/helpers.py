"""What an operator types and reads, in this process; and the states of a shop that it looks at."""

from __future__ import annotations

import json
import re
from typing import Any

from click.testing import CliRunner, Result

from backburner import Backburner, Job
from backburner.brokers.base import Beat, Claim
from backburner.cli import main
from backburner.testing import drain


class Operator:
    """Types commands. An exception that the command line does not handle fails the test."""

    def type(self, *arguments: str, answer: str = "") -> Result:
        return CliRunner().invoke(main, arguments, input=answer, catch_exceptions=False)

    def read(self, *arguments: str, answer: str = "") -> str:
        """What a command prints that goes well, and has nothing to say beside its output."""
        result = self.type(*arguments, answer=answer)
        assert (result.exit_code, result.stderr) == (0, ""), result.output
        return result.stdout

    def table(self, *arguments: str) -> list[list[str]]:
        """The lines of a table, split into the cells that are not empty."""
        printed = re.sub(r"\b[\d.]+ m?s ago\b", "now", self.read(*arguments))  # this machine may be slow
        return [re.split(r"\s{2,}", line.strip()) for line in printed.splitlines()]

    def json(self, *arguments: str) -> Any:
        return json.loads(self.read(*arguments, "--json"))

    def refused(self, *arguments: str, code: int = 1) -> str:
        """The one line that says why a command did nothing, or not all of it."""
        result = self.type(*arguments)
        assert result.exit_code == code, result.output
        [line] = result.stderr.splitlines()
        assert line.startswith("error: "), line
        return line.removeprefix("error: ")

    def misused(self, *arguments: str) -> str:
        """What a command says that was typed wrong: how it is used, and one line with the mistake."""
        result = self.type(*arguments)
        assert (result.exit_code, result.stdout) == (2, ""), result.output
        usage, hint, nothing, line = result.stderr.splitlines()
        assert usage.startswith("Usage: ")
        assert "--help" in hint
        assert not nothing
        return line.removeprefix("Error: ")


def dead_letters(app: Backburner, *user_ids: int) -> list[Job[Any]]:
    """Jobs that a worker has run and given up."""
    jobs = app.tasks["shop.send_mail"].enqueue_many([(user_id,) for user_id in user_ids])
    drain(app)
    return jobs


def working(app: Backburner, **beat: Any) -> None:
    """A worker says that it is alive."""
    app.broker.run(app.broker.heartbeat([Beat(**{"worker": "w1", "lease": 60, "new": True, **beat})]))


def claimed(app: Backburner, queue: str) -> None:
    """That worker takes the job that is next in the queue."""
    working(app)
    app.broker.run(app.broker.exchange([], Claim(worker="w1", queues=(queue,), limit=1)))
