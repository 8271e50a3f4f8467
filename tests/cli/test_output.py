"""What is printed is safe to print: on terminals, in pipes, in any encoding."""

from __future__ import annotations

from click.testing import CliRunner

from backburner import Backburner, Dead
from backburner.cli import main
from backburner.testing import drain
from tests.cli.helpers import Operator


def test_codes_that_a_terminal_would_obey_are_shown_as_marks(app: Backburner, operator: Operator) -> None:
    """A user's file name, quoted by an exception, may not clear the operator's screen."""

    @app.task
    def hostile() -> None:
        raise Dead("\x1b[2J\x9b31m[bold]gone\r")

    job = hostile.enqueue()
    drain(app)
    for command in (["jobs"], ["dead", "show", job.id], ["explain", job.id]):
        printed = operator.read(*command)
        assert "\ufffd[2J\ufffd31m[bold]gone" in printed
        assert not {"\x1b", "\x9b", "\r"} & set(printed)
    assert operator.json("jobs", "show", job.id)["reason"] == "\x1b[2J\x9b31m[bold]gone\r"


def test_a_terminal_without_unicode_gets_question_marks(app: Backburner, operator: Operator) -> None:
    job = app.enqueue("shop.clean_up")
    result = CliRunner(charset="latin-1").invoke(main, ["explain", job.id], catch_exceptions=False)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[1:3] == [
        "?  no worker is alive",
        "   ? start one: backburner worker MODULE:APP --queues default",
    ]


def test_a_shell_completes_the_names_of_commands(operator: Operator) -> None:
    typed = {"_BACKBURNER_COMPLETE": "bash_complete", "COMP_WORDS": "backburner s", "COMP_CWORD": "1"}
    result = CliRunner().invoke(main, [], env=typed, prog_name="backburner")
    assert result.stdout.split() == ["plain,stats", "plain,schedules"]
    typed |= {"COMP_WORDS": "backburner dead ex", "COMP_CWORD": "2"}
    result = CliRunner().invoke(main, [], env=typed, prog_name="backburner")
    assert result.stdout.split() == ["plain,export"]
