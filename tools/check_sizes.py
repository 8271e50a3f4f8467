"""Fail when a source file is longer than 500 lines: it does more than one thing, and should be split.

Looks at every file that git tracks or would track, so run it inside a clone.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

LIMIT = 500
SUFFIXES = {".py", ".sql", ".lua", ".js", ".html", ".css"}


def source_files() -> list[Path]:
    git = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(git, check=True, capture_output=True, text=True).stdout.split("\0")
    return [path for name in set(names) if (path := Path(name)).suffix in SUFFIXES and path.is_file()]


def main() -> int:
    sizes = sorted(((len(path.read_bytes().splitlines()), path) for path in source_files()), reverse=True)
    too_long = [(lines, path) for lines, path in sizes if lines > LIMIT]
    for lines, path in too_long:
        print(f"{path}: {lines} lines, the limit is {LIMIT}: split it")
    if sizes and not too_long:
        print(f"File sizes: {len(sizes)} files, the longest is {sizes[0][1]} with {sizes[0][0]} lines")
    return 1 if too_long else 0


if __name__ == "__main__":
    sys.exit(main())
