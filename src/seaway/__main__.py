"""`python -m seaway`: the command, wherever its script lies."""

from __future__ import annotations

from seaway.cli import main

if __name__ == "__main__":
    main()
