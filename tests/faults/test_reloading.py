"""`--reload`: the workers follow the code as it is edited."""

from __future__ import annotations

from pathlib import Path

from backburner import Backburner, State
from tests.faults.harness import node, open_gate, ran_by, started, wait_until

CODE = """
from fault_tasks import app


@app.task
def answer() -> int:
    return {answer}
"""


def write(folder: Path, answer: str) -> None:
    (folder / "shop.py").write_text(CODE.format(answer=answer))


def test_edited_code_runs_next_and_what_runs_ends_with_the_code_that_it_began_with(
    app: Backburner, tmp_path: Path
) -> None:
    write(tmp_path, "1")
    with node(tmp_path, "--reload", app="shop:app") as workers:
        workers.wait_ready()
        lasting = app.enqueue("fault_tasks.gated")
        wait_until(lambda: started(tmp_path) == 1, "the job runs")
        assert app.enqueue("shop.answer").result(timeout=30) == 1
        old = ran_by(lasting)
        for times in (1, 2):
            write(tmp_path, f"10 ** {times}")
            workers.wait_ready(1 + times)
            # Only the process of the running job stays, and it has one successor, not one for each change.
            wait_until(lambda: len(workers.pids()) <= 2, "others end")
            assert app.enqueue("shop.answer").result(timeout=30) == 10**times
            assert len(workers.pids()) == 2
        assert old in workers.pids()
        assert "reloading: shop.py changed" in workers.said()
        open_gate(tmp_path)
        assert lasting.result(timeout=30) == old
        wait_until(lambda: len(workers.pids()) == 1, "the old process ends")
        assert workers.stop() == 0
    assert (lasting.refresh().state, lasting.record.attempt) == (State.SUCCEEDED, 1)


def test_a_mistake_in_the_code_is_told_and_mended_code_runs_again(app: Backburner, tmp_path: Path) -> None:
    write(tmp_path, "1")
    with node(tmp_path, "--reload", app="shop:app") as workers:
        workers.wait_ready()
        write(tmp_path, "(")
        workers.wait_said("SyntaxError", times=2)  # it is tried again, in case that the mistake is elsewhere
        assert workers.process.poll() is None
        job = app.enqueue("shop.answer")
        write(tmp_path, "4444")
        assert job.result(timeout=30) == 4444
        wait_until(lambda: len(workers.pids()) == 1, "one process works")
        assert workers.stop() == 0
