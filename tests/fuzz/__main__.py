"""The long run: each harness under atheris, which looks for inputs that reach new code.

1. Each harness is a process of its own, with its seeds and what earlier runs have found in `.fuzz/NAME`.
2. It ends after its time, or with the first input that breaks a promise, or takes 10 s or a gigabyte.
3. Such an input is printed, to be added to `seeds.py` with the mend.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import subprocess
import sys
from pathlib import Path

from tests.fuzz.seeds import SEEDS

FOLDER = Path(".fuzz")


def main() -> int:
    parser = argparse.ArgumentParser(prog="make fuzz", description="Fuzz what is decoded.")
    parser.add_argument("names", nargs="*", metavar="HARNESS", help=f"of {', '.join(SEEDS)}; all by default")
    parser.add_argument("--seconds", type=int, default=30, help="for each harness (30)")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        return fuzz(given.one, given.seconds)
    failed = []
    for name in given.names or SEEDS:
        command = [sys.executable, "-m", "tests.fuzz", "--one", name, "--seconds", str(given.seconds)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        text = done.stdout.decode(errors="replace")
        runs = [line for line in text.splitlines() if line.startswith(("Done", "#"))][-1:]
        print(f"{name:16} {'failed' if done.returncode else 'holds'}  {' '.join(runs)}", flush=True)
        if done.returncode:
            failed.append(name)
            print(text[-4000:])
            for found in FOLDER.glob(f"{name}-found-*"):
                print(f"add to seeds.py, {name}: {found.read_bytes()[:2000]!r}")
    return 1 if failed else 0


def fuzz(name: str, seconds: int) -> int:
    import atheris

    with atheris.instrument_imports(include=["backburner"]):
        from tests.fuzz.harnesses import HARNESSES

    logging.disable(logging.CRITICAL)
    corpus = FOLDER / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(SEEDS[name]):
        (corpus / f"seed-{number}").write_bytes(seed)

    def once(data: bytes) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            HARNESSES[name](data)

    limits = (f"-max_total_time={seconds}", "-timeout=10", "-rss_limit_mb=1024", "-max_len=8192")
    atheris.Setup([name, str(corpus), *limits, f"-artifact_prefix={FOLDER / name}-found-"], once)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
