"""`python -m azsyncd`, and the `azsyncd` command."""

from __future__ import annotations

from azsyncd.cli import main

if __name__ == "__main__":
    main()
