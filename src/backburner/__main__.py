"""`python -m backburner` is `backburner`."""

from __future__ import annotations

from backburner.cli import main

if __name__ == "__main__":
    main()
