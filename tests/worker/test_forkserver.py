"""Processes that are forked on request, each in a program of its own: the tests' has threads."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import asyncio, os, signal, socket, sys, time
from backburner.worker.forkserver import ForkServer

def work(descriptor):
    return eval(os.read(descriptor, 100))

{before}
forks = ForkServer.start(work)

async def begin(told):
    ours, theirs = socket.socketpair()
    with theirs:
        process = await forks.fork(theirs.fileno())
    ours.sendall(told.encode())
    return process, ours

async def main():
    listening = asyncio.create_task(forks.listen())
    try:
{script}
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)

asyncio.run(main())
forks.close()
"""


def run(script: str, before: str = "") -> list[str]:
    """What the program printed, which ends well."""
    indented = "".join(f"        {line}\n" for line in script.strip().splitlines())
    program = PROGRAM.format(script=indented, before=before)
    ended = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60
    )
    return (ended.stdout + ended.stderr).splitlines()


def test_each_process_has_what_it_was_sent_and_its_end_is_told() -> None:
    said = run(
        """
several = await asyncio.gather(*[begin(str(number)) for number in range(3)])
print([await process.wait() for process, _ in several], len({process.pid for process, _ in several}))
process, _ = await begin("time.sleep(60)")
print(process.ended)
process.signal(signal.SIGKILL)
print(await process.wait(), process.ended)
"""
    )
    assert said == ["[0, 1, 2] 3", "False", "-9 True"]


def test_no_program_that_a_process_starts_has_its_descriptors() -> None:
    said = run("""
process, _ = await begin("os.system(f'test -e /dev/fd/{descriptor}') >> 8")
print(await process.wait())
""")
    assert said == ["1"]


def test_what_a_process_raises_is_printed_and_is_no_success() -> None:
    said = run("""
process, _ = await begin("1 / 0")
print(await process.wait())
""")
    assert said[0] == "1"
    assert said[-1] == "ZeroDivisionError: division by zero"
    assert not any("fork server" in line or "asyncio.run" in line for line in said[1:])


def test_a_process_hears_none_of_the_signals_that_a_group_is_sent_and_says_nothing_of_others() -> None:
    said = run(
        """
process, _ = await begin("signal.pause()")
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
    process.signal(number)
process.signal(signal.SIGALRM)
print(await process.wait() == -signal.SIGALRM)
"""
    )
    assert said == ["True"]


def test_where_the_system_refuses_a_process_the_next_one_may_be_had() -> None:
    said = run(
        """
try:
    await begin("1")
except OSError as error:
    print(error)
process, _ = await begin("2")
print(await process.wait())
""",
        before="""
def refused(real=os.fork, calls=[]):
    calls.append(1)
    if len(calls) == 2:
        raise OSError(11, "no more")
    return real()

os.fork = refused
""",
    )
    assert said == ["[Errno 11] Resource temporarily unavailable", "2"]


def test_a_server_that_is_killed_takes_its_processes_with_it_and_the_next_step_is_told() -> None:
    said = run(
        """
process, _ = await begin("time.sleep(60)")
os.kill(forks.pid, signal.SIGKILL)
print(await process.wait())
print(*await asyncio.gather(listening, return_exceptions=True))
"""
    )
    assert said[0] == "-9"
    assert said[1].startswith("the fork server was killed")
    assert "start the worker again" in said[1]
