"""The notifier process: ``python -m worker.notifier``."""

from __future__ import annotations

from worker.notifier.notifier import main

if __name__ == "__main__":
    main()
