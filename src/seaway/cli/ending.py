"""Being told to end, by commands that must not leave their virtual hosts behind."""

from __future__ import annotations

import signal

ENDINGS = (signal.SIGTERM, signal.SIGHUP)


def clean_up_first() -> None:
    """Have whoever ends us wait as Ctrl-C does: until all that was made is taken down."""
    for ending in ENDINGS:
        signal.signal(ending, signal.default_int_handler)
