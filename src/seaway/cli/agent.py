"""`seaway agent`: what the service runs."""

from __future__ import annotations

import logging
import sys

import click

from seaway.errors import SeawayError


@click.command()
def agent() -> None:
    """Run the agent in the foreground.

    It ends at SIGTERM; the data plane goes on without it. Its settings are in
    /etc/seaway/seaway.toml, its log goes to standard error.
    """
    without_colours()
    import asyncio  # noqa: PLC0415

    from seaway import agent as process  # noqa: PLC0415
    from seaway import config  # noqa: PLC0415
    from seaway.setup.beginning import must_be_root  # noqa: PLC0415

    must_be_root("run the agent")
    settings = config.load()
    log_to_stderr(settings.agent.log_level)
    try:
        asyncio.run(process.serve(settings))
    except BaseExceptionGroup as group:
        expected = _expected(group)
        if expected is None:
            raise
        raise expected from group


def _expected(group: BaseExceptionGroup[BaseException]) -> SeawayError | OSError | None:
    """What ended the agent, if nothing in it is a defect: that is told in one line."""
    _, defects = group.split((SeawayError, OSError))
    if defects:
        return None
    first: BaseException = group
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return first if isinstance(first, (SeawayError, OSError)) else None


def without_colours() -> None:
    """For a process that only logs: structlog loads whatever could show a traceback in colours,
    which is 3 MB of each that runs all the time.
    """
    sys.modules.setdefault("rich", None)  # type: ignore[arg-type]  # as `import` takes it


def log_to_stderr(level: str) -> None:
    """One line for each event, with its fields, on standard error."""
    import structlog  # noqa: PLC0415

    number = logging.getLevelNamesMapping()[level.upper()]
    logging.basicConfig(level=max(number, logging.WARNING), stream=sys.stderr)  # of libraries
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(number),
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.LogfmtRenderer(
                key_order=["timestamp", "level", "event"], drop_missing=True, bool_as_flag=False
            ),
        ],
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
