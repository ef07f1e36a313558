-- Views of one call: its summary, its course, and who listened in.

-- migrate:up

CREATE VIEW ccsvc.call_detail AS
SELECT c.call_id,
       c.pbx,
       c.direction,
       c.started_at,
       c.ended_at,
       c.caller,
       c.did,
       c.language,
       c.ivr_path,
       c.queues,
       c.outcome,
       c.answered_at,
       c.wait_s,
       c.talk_s,
       c.hold_s,
       c.ended_by,
       c.first_agent_id,
       c.segment_count,
       c.transfers_attempted,
       c.transfers_completed,
       0::bigint AS callback_attempts,
       r.recording_count,
       r.recorded_s,
       c.repaired,
       c.caller_name
FROM ccsvc.call AS c
CROSS JOIN LATERAL (
    SELECT count(*) AS recording_count, coalesce(sum(duration_s), 0) AS recorded_s
    FROM ccsvc.recording
    WHERE recording.call_id = c.call_id
) AS r;
COMMENT ON VIEW ccsvc.call_detail IS
    'One row per call. The sums are NULL while it lasts; callback_attempts is 0 as long as there are no callbacks.';

CREATE VIEW ccsvc.call_timeline AS
SELECT call_id, at, what, detail, rank
FROM (
    SELECT call_id, started_at AS at, 'call_started' AS what, 10 AS rank,
           jsonb_build_object('pbx', pbx, 'direction', direction, 'caller', caller, 'caller_name', caller_name,
                              'did', did, 'language', language) AS detail
    FROM ccsvc.call
    UNION ALL
    SELECT call_id, at, 'ivr_step', 20,
           jsonb_build_object('n', n, 'ivr', ivr, 'node', node, 'pressed', pressed, 'result', result)
    FROM ccsvc.ivr_step
    UNION ALL
    SELECT call_id, at, 'queue_refused', 30, jsonb_build_object('queue', queue, 'reason', reason)
    FROM ccsvc.queue_refusal
    UNION ALL
    SELECT call_id, entered_at, 'queue_entered', 31,
           jsonb_build_object('entry_id', entry_id, 'queue', queue, 'priority', priority)
    FROM ccsvc.queue_entry
    UNION ALL
    SELECT call_id, offered_at, 'offer_started', 40,
           jsonb_build_object('offer_id', offer_id, 'queue', queue, 'agent_id', agent_id, 'device', device)
    FROM ccsvc.offer
    UNION ALL
    SELECT call_id, ended_at, 'offer_ended', 41,
           jsonb_build_object('offer_id', offer_id, 'agent_id', agent_id, 'result', result)
    FROM ccsvc.offer
    WHERE result IS NOT NULL
    UNION ALL
    SELECT call_id, left_at, 'queue_left', 42,
           jsonb_build_object('entry_id', entry_id, 'queue', queue, 'exit', exit, 'wait_s', wait_s,
                              'in_target', in_target, 'short', short, 'agent_id', agent_id)
    FROM ccsvc.queue_entry
    WHERE exit IS NOT NULL
    UNION ALL
    SELECT call_id, started_at, 'talk_started', 50,
           jsonb_build_object('segment_id', segment_id, 'queue', queue, 'agent_id', agent_id, 'device', device)
    FROM ccsvc.segment
    UNION ALL
    SELECT call_id, started_at, 'recording_started', 51,
           jsonb_build_object('recording_id', recording_id, 'path', path, 'talk_offset_s', talk_offset_s)
    FROM ccsvc.recording
    UNION ALL
    SELECT call_id, started_at, 'supervision_started', 52,
           jsonb_build_object('supervisor_id', supervisor_id, 'agent_id', agent_id, 'mode', mode)
    FROM ccsvc.supervision
    WHERE call_id IS NOT NULL
    UNION ALL
    SELECT call_id, ended_at, 'supervision_ended', 60,
           jsonb_build_object('supervisor_id', supervisor_id, 'agent_id', agent_id, 'mode', mode)
    FROM ccsvc.supervision
    WHERE call_id IS NOT NULL AND ended_at IS NOT NULL
    UNION ALL
    SELECT call_id, ended_at, 'recording_ended', 61,
           jsonb_build_object('recording_id', recording_id, 'duration_s', duration_s, 'size_bytes', size_bytes,
                              'talk_s', talk_s, 'verdict', verdict)
    FROM ccsvc.recording
    WHERE ended_at IS NOT NULL
    UNION ALL
    SELECT call_id, ended_at, 'talk_ended', 62,
           jsonb_build_object('segment_id', segment_id, 'agent_id', agent_id, 'talk_s', talk_s, 'hold_s', hold_s)
    FROM ccsvc.segment
    WHERE ended_at IS NOT NULL
    UNION ALL
    SELECT call_id, calldate + make_interval(secs => duration), 'leg_ended', 70,
           jsonb_build_object('channel', channel, 'dstchannel', dstchannel, 'role', role, 'src', src, 'dst', dst,
                              'duration', duration, 'billsec', billsec, 'dial_result', dial_result)
    FROM ccsvc.cdr
    UNION ALL
    SELECT call_id, ended_at, 'call_ended', 80,
           jsonb_build_object('outcome', outcome, 'ended_by', ended_by, 'wait_s', wait_s, 'talk_s', talk_s,
                              'hold_s', hold_s, 'repaired', repaired)
    FROM ccsvc.call
    WHERE ended_at IS NOT NULL
    UNION ALL
    SELECT call_id, wrap_up_ended_at, 'wrap_up_ended', 90,
           jsonb_build_object('segment_id', segment_id, 'agent_id', agent_id, 'wrap_up_s', wrap_up_s)
    FROM ccsvc.segment
    WHERE wrap_up_ended_at IS NOT NULL
) AS moment
ORDER BY call_id, at, rank;
COMMENT ON VIEW ccsvc.call_timeline IS
    'Everything that happened to one call, in order; rank orders what happened in the same microsecond.';

CREATE VIEW ccsvc.supervision_detail AS
SELECT supervisor_id,
       agent_id,
       call_id,
       mode,
       started_at,
       ended_at,
       extract(epoch FROM ended_at - started_at)::double precision AS seconds,
       pbx
FROM ccsvc.supervision;
COMMENT ON VIEW ccsvc.supervision_detail IS 'Supervision time by mode; seconds is NULL while it lasts.';

-- migrate:down

DROP VIEW ccsvc.supervision_detail, ccsvc.call_timeline, ccsvc.call_detail;
