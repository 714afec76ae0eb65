"""`python -m headgate`: the command line."""

from __future__ import annotations

from headgate.surfaces.cli import main

if __name__ == "__main__":
    main()
