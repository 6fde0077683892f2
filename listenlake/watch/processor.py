"""The record processor of the live check: one process a shard, started by the MultiLangDaemon, which speaks over stdio.

In: records of its shard. Out: a line an event in a file of its own, then, once a second, a checkpoint and a pulse.
What must hold: nothing is checkpointed that was not written; nothing but the protocol goes to stdout.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any, Final

from lakehouse.errors import ListenlakeError
from listenlake.watch.errors import KinesisClientMissingError
from listenlake.watch.folder import FOLDER_VARIABLE, WORKER_VARIABLE, WatchFolder
from listenlake.watch.observations import ObservationsFile, describe_record
from listenlake.watch.pulse import ENDED, READING, Pulse

try:
    from amazon_kclpy import kcl  # type: ignore[import-untyped]
    from amazon_kclpy.v3 import processor as kcl_processor  # type: ignore[import-untyped]
except ModuleNotFoundError:
    raise KinesisClientMissingError from None

CHECKPOINT_SECONDS: Final = 1.0


class EventRecorder(kcl_processor.RecordProcessorBase):  # type: ignore[misc]
    """Writes down every event of one shard."""

    def __init__(self, folder: WatchFolder, worker_id: str) -> None:
        self._folder = folder
        self._worker_id = worker_id
        self._latencies: list[int] = []
        self._events_before = 0
        self._last_pulse = time.monotonic()

    def initialize(self, initialize_input: Any) -> None:
        """Open the file of this shard and process."""
        self._file = ObservationsFile(self._folder.observations, initialize_input.shard_id)
        self._pulse = Pulse(shard_id=initialize_input.shard_id, worker_id=self._worker_id)
        self._folder.pulses.mkdir(parents=True, exist_ok=True)
        self._pulse.write(self._folder.pulses)

    def process_records(self, process_records_input: Any) -> None:
        """Write down the events; checkpoint and pulse when it is time.

        The client passes over any exception and checkpoints as if all was well, so an error ends the process here:
        the daemon then ends as well, and its successor gets the records again.
        """
        try:
            self._write_down(process_records_input.records)
            self._pulse.behind_ms = process_records_input.millis_behind_latest
            if self._pulse.state != READING or time.monotonic() - self._last_pulse >= CHECKPOINT_SECONDS:
                self._checkpoint(process_records_input.checkpointer)
                self._beat(READING)
        except Exception:
            traceback.print_exc()
            sys.exit(1)

    def lease_lost(self, _lease_lost_input: Any) -> None:
        """Another worker has the shard now; checkpointing is its business."""
        self._beat(ENDED)

    def shard_ended(self, shard_ended_input: Any) -> None:
        """Checkpoint the end of the shard, so that its children can be read."""
        shard_ended_input.checkpointer.checkpoint()
        self._beat(ENDED)

    def shutdown_requested(self, shutdown_requested_input: Any) -> None:
        """Checkpoint before the worker ends."""
        self._checkpoint(shutdown_requested_input.checkpointer)
        self._beat(ENDED)

    def _write_down(self, records: list[Any]) -> None:
        if not records:
            return
        now = time.time()
        seen_us = int(now * 1_000_000)
        lines: list[str] = []
        for record in records:
            arrived_ms = record.timestamp_millis
            before = len(lines)
            lines += describe_record(record.binary_data, record.sequence_number, arrived_ms, seen_us)
            self._latencies += [seen_us // 1000 - arrived_ms] * (len(lines) - before)
        self._file.append(lines)
        self._pulse.events += len(lines)
        self._pulse.first_seen_at = self._pulse.first_seen_at or now

    def _checkpoint(self, checkpointer: Any) -> None:
        try:
            checkpointer.checkpoint()
        except kcl.CheckpointError as error:
            # The lease is gone, or DynamoDB is slow: the next second, or the shard's next owner, tries again.
            sys.stderr.write(f"not checkpointed: {error.value}\n")

    def _beat(self, state: str) -> None:
        now = time.monotonic()
        pulse, latencies = self._pulse, sorted(self._latencies)
        pulse.state = state
        pulse.rate = (pulse.events - self._events_before) / max(now - self._last_pulse, 0.001)
        pulse.p50_ms, pulse.p95_ms = (
            (latencies[len(latencies) // 2], latencies[len(latencies) * 95 // 100]) if latencies else (None, None)
        )
        pulse.write(self._folder.pulses)
        self._last_pulse, self._events_before, self._latencies = now, pulse.events, []


def main() -> None:
    """Process records until the daemon closes stdin."""
    protocol, sys.stdout = sys.stdout, sys.stderr  # whoever prints must not garble the protocol
    recorder = EventRecorder(WatchFolder(Path(os.environ[FOLDER_VARIABLE])), os.environ[WORKER_VARIABLE])
    kcl.KCLProcess(recorder, output_file=protocol).run()


if __name__ == "__main__":
    try:
        main()
    except ListenlakeError as error:
        sys.exit(str(error))
