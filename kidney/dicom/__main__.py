"""Answer the CT series of a DICOMweb archive: kidney dicom, or python -m kidney.dicom.

Without a command it runs until it is ended. `failed` lists what could not be answered, `retry`
tries it again. Its settings are variables KIDNEY_DICOM_...; docs/pacs.md has them all.
"""

import argparse
import datetime
import importlib.util
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType

from prometheus_client import CollectorRegistry, start_http_server

from kidney.dicom.settings import Settings, from_environment
from kidney.dicom.state import State
from kidney.errors import ConfigError, KidneyError
from kidney.serving.monitoring.logs import configure


def main(argv: Sequence[str] | None = None) -> int:
    """Read the arguments and do what they say; return the exit status."""
    parser = argparse.ArgumentParser(prog="kidney dicom", description=__doc__)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser("failed", help="list the series that failed or wait for another attempt")
    retry = commands.add_parser("retry", help="try failed series again at once")
    retry.add_argument("series", metavar="UID|all", help="SeriesInstanceUID, or all that failed")
    options = parser.parse_args(argv)
    try:
        settings = from_environment()
        if options.command == "failed":
            print_failed(settings)
        elif options.command == "retry":
            retry_series(settings, options.series)
        else:
            run(settings)
    except KidneyError as error:
        print(f"kidney dicom: {error}", file=sys.stderr)
        return 2
    return 0


def print_failed(settings: Settings) -> None:
    """Print a table: series, state, attempts, next attempt (UTC), kind of error."""
    state = State(settings.state)
    print("series\tstate\tattempts\tnext attempt\terror")
    for one in state.troubled():
        later = one.state == "waiting"
        at = datetime.datetime.fromtimestamp(one.next_time, datetime.UTC)
        when = at.isoformat(timespec="seconds") if later else "-"
        print(one.uid, one.state, one.attempts, when, one.error, sep="\t")
    state.close()


def retry_series(settings: Settings, series: str) -> None:
    """Let a series, or all that failed, be tried at once.

    Raises:
        ConfigError: the series is not known.
    """
    state = State(settings.state)
    count = state.retry(None if series == "all" else series)
    state.close()
    if series != "all" and not count:
        raise ConfigError(
            "Expected the SeriesInstanceUID of a series that was seen, but got another text.",
            "Take it from `kidney dicom failed`, or say all.",
        )
    print(f"{count} series will be tried again.")


def run(settings: Settings) -> None:
    """Work until SIGTERM or SIGINT: the first lets the series in hand be finished."""
    if importlib.util.find_spec("highdicom") is None:
        raise ConfigError(
            "Expected highdicom to be installed, but it is not.",
            "Install the extra: pip install 'kidney-tumor-identification[dicom]'.",
        )
    from kidney.dicom.process import Process

    configure()
    registry = CollectorRegistry()
    process = Process(settings, registry)

    def end(number: int, _: FrameType | None) -> None:
        process.stop.set()
        signal.signal(number, signal.SIG_DFL)  # the second one ends it at once

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, end)
        signal.signal(signal.SIGINT, end)
    if settings.metrics_port:
        start_http_server(settings.metrics_port, settings.metrics_host, registry)
    process.run()


if __name__ == "__main__":
    sys.exit(main())
