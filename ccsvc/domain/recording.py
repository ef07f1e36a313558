"""One recording follows the customer's channel through the whole call; afterwards it is held against the talk.

Promises: the path has nothing in it that a caller gave; recording starts before the first ring, so that not a
word is lost (`talk_offset_s` says where the talk begins); a file shorter than the talk that it must hold, or no
file at all, is found and said.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from ccsvc.domain.commands import MeasureRecording, RecordCall, Report
from ccsvc.domain.events import RecordingMeasured
from ccsvc.domain.ids import ChannelId
from ccsvc.domain.records import RecordingRow
from ccsvc.domain.resume import EPOCH
from ccsvc.domain.vocabulary import RecordingVerdict
from ccsvc.domain.world import Call, World, seconds

CLOSE_LIMIT_S = 5.0
"""If the switch does not say that it closed the file, it is looked at all the same after this time."""


def start_recording(world: World, call: Call) -> None:
    """Start the call's recording unless it runs already."""
    if call.recording is not None or call.session is None:
        return
    recording_id = re.sub(r"[^A-Za-z0-9]+", "-", call.id)
    path = recording_path(recording_id, world.now)
    call.recording = RecordingRow(recording_id, call.id, world.settings.pbx.name, path, world.now)
    world.recordings[recording_id] = call.recording
    world.recorded_channels[call.channel] = recording_id
    world.write(call.recording)
    world.emit(RecordCall(call.session, path))


def recording_path(recording_id: str, started_at: datetime) -> str:
    """`YYYY/MM/DD/<id>.wav`, relative to the recordings' folder."""
    return f"{started_at:%Y/%m/%d}/{recording_id}.wav"


def call_over(world: World, call: Call) -> None:
    """The call has ended: its recording will be whole in a moment."""
    recording = call.recording
    if recording is None or recording.verdict is not None:
        return
    talks = [(max(s.started_at, recording.started_at), s.ended_at) for s in call.segments if s.ended_at is not None]
    talks = sorted(talk for talk in talks if talk[0] < talk[1])
    call.recording = replace(
        recording,
        ended_at=max(world.now, recording.started_at),
        talk_s=_covered_s(talks),
        talk_offset_s=seconds(recording.started_at, talks[0][0]) if talks else None,
    )
    world.recordings[recording.recording_id] = call.recording
    world.write(call.recording)
    if recording.recording_id in world.closed_files:
        _measure(world, call.recording)
    else:
        world.timer("measure", recording.recording_id, CLOSE_LIMIT_S)


def _covered_s(stretches: Sequence[tuple[datetime, datetime]]) -> float:
    """How much time (s) the stretches cover together; they are in order of their start and may overlap."""
    covered_s, until = 0.0, EPOCH
    for start, end in stretches:
        covered_s += seconds(max(start, until), end)
        until = max(until, end)
    return covered_s


def file_closed(world: World, channel: ChannelId) -> None:
    """The switch closed the channel's file; it is measured as soon as the call has ended too."""
    recording_id = world.recorded_channels.pop(channel, None)
    recording = world.recordings.get(recording_id) if recording_id is not None else None
    if recording is None:
        return
    if recording.ended_at is not None:
        _measure(world, recording)
    else:
        world.closed_files.add(recording.recording_id)


def close_limit_reached(world: World, recording_id: str) -> None:
    """The switch did not say in time that it closed the file."""
    recording = world.recordings.get(recording_id)
    if recording is not None:
        _measure(world, recording)


def measured(world: World, event: RecordingMeasured) -> None:
    """Give the verdict and close the row. A file that was measured twice is judged once."""
    recording = world.recordings.pop(event.recording_id, None)
    world.closed_files.discard(event.recording_id)
    for channel in [c for c, known in world.recorded_channels.items() if known == event.recording_id]:
        del world.recorded_channels[channel]
    if recording is None:
        return
    verdict = judge(recording.talk_s, event.duration_s, world.settings.recording.tolerance_s)
    row = replace(recording, duration_s=event.duration_s, size_bytes=event.size_bytes, verdict=verdict)
    world.write(row)
    world.emit(Report("recording checked", recording.call_id, (("verdict", verdict),)))


def judge(talk_s: float | None, duration_s: float | None, tolerance_s: float) -> RecordingVerdict:
    """`ok` if the file can hold the whole talk (within the tolerance, seconds)."""
    if duration_s is None:
        return "missing" if talk_s else "no_talk"
    if not talk_s:
        return "no_talk"
    return "ok" if duration_s >= talk_s - tolerance_s else "short"


def _measure(world: World, recording: RecordingRow) -> None:
    world.emit(MeasureRecording(recording.recording_id, recording.path))
