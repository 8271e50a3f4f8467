"""Runs one page of the documentation as the session that it tells: `python -m tests.docs.page PAGE FOLDER`.

1. Split the page into its fenced blocks.
2. A block whose first line is a comment with a file name (`# shop/tasks.py`) is written to that file in
   FOLDER; if it is Python it is imported, too.
3. Any other `python` block is executed. The blocks of a page share one namespace and one event loop, so
   `await` works in them.
4. In a `console` block each line that begins with `$ ` is run by the shell; a line below it must match a line
   that it printed, in which `…` stands for anything. A command may go to the background with `&`.
5. Every other language is for reading. One not known here is a mistake, lest `pyhton` be passed over.

The first failure ends the run with the page and the line.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import importlib
import inspect
import re
import subprocess
import sys
import tempfile
import textwrap
import types
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

FENCE = re.compile(r"^ *(`{3,}) *(\S*)")
FILE_NAME = re.compile(r"^(?:#|--|//) ([\w./-]+\.\w+)$")
RUN = {"python", "console"}
READ = {"erlang", "html", "ini", "json", "mermaid", "sh", "sql", "text", "toml"}


class Failed(Exception):
    """A block did not do what the page says."""


class Block(NamedTuple):
    """One fenced block: its language, its text and the number of its first line."""

    language: str
    code: str
    line: int

    @property
    def file_name(self) -> str | None:
        title = FILE_NAME.match(self.code.split("\n", 1)[0])
        return title[1] if title else None


def blocks(page: str) -> Iterator[Block]:
    fence, language, first, lines = "", "", 0, list[str]()
    for number, text in enumerate(page.splitlines(), start=1):
        mark = FENCE.match(text)
        if fence and text.strip() == fence:
            yield Block(language, textwrap.dedent("\n".join(lines)) + "\n", first)
            fence = ""
        elif fence:
            lines.append(text)
        elif mark:
            fence, language, first, lines = mark[1], mark[2], number + 1, []
    if fence:
        raise Failed(f"line {first - 1}: this block is never closed")


class Session:
    """The reader at the keyboard: a folder, a Python prompt and a shell."""

    def __init__(self, page: Path, folder: Path, runner: asyncio.Runner) -> None:
        self.page, self.folder, self.runner = page, folder, runner
        self.prompt = types.ModuleType("__main__")
        sys.modules["__main__"] = self.prompt

    def run(self, block: Block) -> None:
        if block.language not in RUN | READ:
            known = ", ".join(sorted(RUN | READ))
            raise Failed(f"{block.language!r} is not a known block language; known are {known}")
        if block.file_name:
            self.write(block, block.file_name)
        elif block.language == "python":
            self.execute(block)
        elif block.language == "console":
            self.type_commands(block)

    def write(self, block: Block, name: str) -> None:
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(block.code)
        if file.suffix == ".py":
            module = ".".join(Path(name).with_suffix("").parts)
            sys.modules.pop(module, None)  # a later block may tell a better version of the same file
            importlib.invalidate_caches()
            importlib.import_module(module)

    def execute(self, block: Block) -> None:
        # Leading newlines give the code the line numbers of the page, so that a traceback points there.
        source = "\n" * (block.line - 1) + block.code
        code = compile(source, str(self.page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        result = eval(code, self.prompt.__dict__)
        if inspect.iscoroutine(result):
            self.runner.run(result)

    def type_commands(self, block: Block) -> None:
        command, expected = "", list[str]()
        for line in [*block.code.replace("\\\n", "").splitlines(), "$ "]:
            if line.startswith("$ "):
                if command:
                    check_output(command, expected, self.shell(command))
                command, expected = line[2:], []
            elif line.strip():
                expected.append(line.rstrip())

    def shell(self, command: str) -> str:
        # A file rather than a pipe: a command in the background keeps its output open.
        with tempfile.TemporaryFile("w+") as output:
            bash = ["bash", "-c", command]
            exit_code = subprocess.call(bash, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
            output.seek(0)
            printed = output.read()
        if exit_code:
            raise Failed(f"$ {command}\nended with exit code {exit_code}:\n{printed}")
        return printed


def check_output(command: str, expected: list[str], printed: str) -> None:
    remaining = iter(printed.splitlines())
    for line in expected:
        pattern = re.compile(".*".join(re.escape(part) for part in line.split("…")) + r"\s*")
        if not any(pattern.fullmatch(candidate) for candidate in remaining):
            raise Failed(f"$ {command}\ndid not print, in its place:\n{line}\nbut printed:\n{printed}")


def main(page: Path, folder: Path) -> None:
    with contextlib.chdir(folder), asyncio.Runner() as runner:
        sys.path.insert(0, str(folder))
        session = Session(page, folder, runner)
        for block in blocks(page.read_text()):
            print(f"{page}:{block.line}: {block.file_name or block.language}", flush=True)
            try:
                session.run(block)
            except Exception as error:
                error.add_note(f"{page}:{block.line}: this block failed")
                raise


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
