"""The suite and the pytest plugin in the project of a stranger."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path


def pytest_run(folder: Path, test: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run pytest on one file of a stranger's project."""
    (folder / "test_stranger.py").write_text(textwrap.dedent(test))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rs", *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=55, check=False)


def test_pytest_is_not_slowed_down_where_the_package_is_merely_installed(tmp_path: Path) -> None:
    run = pytest_run(
        tmp_path,
        """
        import sys

        def test_nothing():
            assert "backburner_pytest" in sys.modules
            assert "backburner" not in sys.modules
            assert "msgspec" not in sys.modules
        """,
    )
    assert run.returncode == 0, run.stdout


STRANGERS_BROKER = """
    import pytest

    from backburner.brokers.base import Capability
    from backburner.brokers.sqlite.broker import SqliteBroker
    from backburner.testing.conformance import *

    class Plain(SqliteBroker):
        capabilities = frozenset({Capability.LOOKUP, Capability.ORDER, Capability.UPKEEP})

        def enqueue(self, jobs, bounds):
            if bounds:
                raise self.unsupported(Capability.BOUNDED)
            if any(job.key for job in jobs):
                raise self.unsupported(Capability.UNIQUE)
            return super().enqueue(jobs, bounds)

        def run_on(self, connection, operation):
            operation.close()
            raise self.unsupported(Capability.TRANSACTIONS)

        def schedules(self):
            raise self.unsupported(Capability.SCHEDULES)

        def save_schedule(self, stored):
            raise self.unsupported(Capability.SCHEDULES)

    @pytest.fixture
    def make_broker():
        brokers = []

        def make(clock):
            brokers.append(brokers[0] if brokers else Plain("sqlite://", clock))
            return brokers[0]

        return make
    """


def test_the_suite_runs_over_a_strangers_broker_and_skips_what_it_cannot_do(tmp_path: Path) -> None:
    chosen = "capab or key_twice or is_dropped or fire_that_was_missed or first_in_first_out or transaction"
    run = pytest_run(tmp_path, STRANGERS_BROKER, "-k", chosen)
    assert run.returncode == 0, run.stdout
    for missing in ("unique", "bounded", "schedules"):
        assert f"declared as missing: Plain has no {missing}" in run.stdout
    assert " passed, " in run.stdout


def test_the_suite_catches_a_broker_that_forgets_the_fence(tmp_path: Path) -> None:
    wrong = STRANGERS_BROKER.replace(
        "def enqueue(self",
        """def exchange(self, settlements, claim):
            for each in settlements:
                [now] = yield from self.get([each.job.id])
                each.job.token, each.job.worker = now.token, now.worker
            return (yield from super().exchange(settlements, claim))

        def enqueue(self""",
    )
    run = pytest_run(tmp_path, wrong, "-k", "old_token", "--tb=line")
    assert run.returncode == 1, run.stdout
    assert "assert [] == [" in run.stdout, "assertions are explained"
