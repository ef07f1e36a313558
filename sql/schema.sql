-- The whole schema, as it is after all migrations: for reading, and for whoever sets up a database by hand.
-- Every migration changes this file too; a test compares the two databases, object by object.

CREATE SCHEMA IF NOT EXISTS ccsvc;

CREATE TABLE ccsvc.schema_migration (
    version text PRIMARY KEY,
    name text NOT NULL,
    sha256 text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE ccsvc.schema_migration IS 'The files of sql/ that were applied, and what they were.';

CREATE TABLE ccsvc.call (
    call_id text PRIMARY KEY,
    pbx text NOT NULL,
    channel text NOT NULL,
    direction text NOT NULL CHECK (direction IN ('inbound', 'outbound', 'internal')),
    started_at timestamptz NOT NULL,
    caller text NOT NULL,
    caller_name text NOT NULL,
    did text NOT NULL,
    language text NOT NULL,
    ivr_path text[] NOT NULL,
    queues text[] NOT NULL,
    ended_at timestamptz,
    outcome text CHECK (outcome IN ('answered', 'abandoned', 'short_abandoned', 'self_served', 'refused',
                                    'voicemail', 'callback', 'system_lost', 'unknown')),
    ended_by text CHECK (ended_by IN ('customer', 'agent', 'third_party', 'system')),
    answered_at timestamptz,
    wait_s double precision,
    talk_s double precision,
    hold_s double precision,
    first_agent_id text,
    segment_count bigint NOT NULL,
    transfers_attempted bigint NOT NULL,
    transfers_completed bigint NOT NULL,
    repaired boolean NOT NULL
);
CREATE INDEX call_started_at ON ccsvc.call (started_at);
CREATE INDEX call_caller ON ccsvc.call (caller, started_at);
COMMENT ON TABLE ccsvc.call IS 'One customer''s contact, first ring to last hangup, all transfers included.';

CREATE TABLE ccsvc.queue_entry (
    entry_id text PRIMARY KEY,
    call_id text NOT NULL,
    pbx text NOT NULL,
    queue text NOT NULL,
    entered_at timestamptz NOT NULL,
    priority bigint NOT NULL,
    target_s double precision NOT NULL,
    short_abandon_s double precision NOT NULL,
    left_at timestamptz,
    exit text CHECK (exit IN ('answered', 'abandoned', 'timed_out', 'exited_by_key', 'callback_requested',
                              'left_empty', 'withdrawn', 'transferred', 'system_lost')),
    wait_s double precision,
    in_target boolean,
    short boolean,
    agent_id text,
    repaired boolean NOT NULL
);
CREATE INDEX queue_entry_call_id ON ccsvc.queue_entry (call_id);
COMMENT ON TABLE ccsvc.queue_entry IS
    'One stay of a call in one queue; ends exactly once. target_s and short_abandon_s are those in force then.';

CREATE TABLE ccsvc.queue_refusal (
    call_id text NOT NULL,
    pbx text NOT NULL,
    queue text NOT NULL,
    at timestamptz NOT NULL,
    reason text NOT NULL CHECK (reason IN ('full', 'empty', 'closed')),
    PRIMARY KEY (call_id, queue, at)
);
COMMENT ON TABLE ccsvc.queue_refusal IS 'A call that asked for a queue and was never let in.';

CREATE TABLE ccsvc.offer (
    offer_id text PRIMARY KEY,
    entry_id text NOT NULL,
    call_id text NOT NULL,
    pbx text NOT NULL,
    queue text NOT NULL,
    agent_id text NOT NULL,
    device text NOT NULL,
    offered_at timestamptz NOT NULL,
    ended_at timestamptz,
    result text CHECK (result IN ('accepted', 'no_answer', 'rejected', 'unreachable', 'caller_gone', 'lost_race',
                                  'agent_dropped')),
    repaired boolean NOT NULL
);
CREATE INDEX offer_call_id ON ccsvc.offer (call_id);
CREATE INDEX offer_agent ON ccsvc.offer (agent_id, offered_at);
CREATE INDEX offer_offered_at ON ccsvc.offer (offered_at);
COMMENT ON TABLE ccsvc.offer IS 'One ring of one queue entry at one agent.';

CREATE TABLE ccsvc.segment (
    segment_id text PRIMARY KEY,
    call_id text NOT NULL,
    entry_id text,
    pbx text NOT NULL,
    queue text,
    agent_id text NOT NULL,
    device text NOT NULL,
    channel text NOT NULL,
    started_at timestamptz NOT NULL,
    ended_at timestamptz,
    talk_s double precision,
    hold_s double precision,
    wrap_up_ended_at timestamptz,
    wrap_up_s double precision,
    repaired boolean NOT NULL
);
CREATE INDEX segment_call_id ON ccsvc.segment (call_id);
CREATE INDEX segment_entry_id ON ccsvc.segment (entry_id);
CREATE INDEX segment_agent ON ccsvc.segment (agent_id, started_at);
CREATE INDEX segment_started_at ON ccsvc.segment (started_at);
COMMENT ON TABLE ccsvc.segment IS 'One agent''s handling inside a call: talk, hold, wrap-up.';

CREATE TABLE ccsvc.agent_session (
    agent_id text NOT NULL,
    pbx text NOT NULL,
    device text NOT NULL,
    started_at timestamptz NOT NULL,
    ended_at timestamptz,
    end_reason text CHECK (end_reason IN ('logged_out', 'moved', 'unreachable', 'forced', 'removed')),
    PRIMARY KEY (agent_id, started_at)
);
COMMENT ON TABLE ccsvc.agent_session IS 'Attendance: from login to logout.';

CREATE TABLE ccsvc.agent_state (
    agent_id text NOT NULL,
    pbx text NOT NULL,
    started_at timestamptz NOT NULL,
    seq bigint NOT NULL,
    status text NOT NULL CHECK (status IN ('logged_out', 'ready', 'paused')),
    activity text NOT NULL CHECK (activity IN ('idle', 'ringing', 'talking', 'wrap_up')),
    reason text NOT NULL,
    call_id text,
    ended_at timestamptz,
    PRIMARY KEY (agent_id, started_at, seq)
);
CREATE INDEX agent_state_started_at ON ccsvc.agent_state (started_at);
CREATE INDEX agent_state_ended_at ON ccsvc.agent_state (ended_at);
COMMENT ON TABLE ccsvc.agent_state IS 'One stretch of time in which an agent''s status and activity stayed the same.';

CREATE TABLE ccsvc.recording (
    recording_id text PRIMARY KEY,
    call_id text NOT NULL,
    pbx text NOT NULL,
    path text NOT NULL,
    started_at timestamptz NOT NULL,
    talk_offset_s double precision,
    ended_at timestamptz,
    duration_s double precision,
    size_bytes bigint,
    talk_s double precision,
    verdict text CHECK (verdict IN ('ok', 'short', 'missing', 'no_talk'))
);
CREATE INDEX recording_call_id ON ccsvc.recording (call_id);
COMMENT ON TABLE ccsvc.recording IS 'One recording of one call; verdict compares the file with the talk it must hold.';

CREATE TABLE ccsvc.supervision (
    supervisor_id text NOT NULL,
    pbx text NOT NULL,
    agent_id text NOT NULL,
    call_id text,
    mode text NOT NULL CHECK (mode IN ('listen', 'whisper', 'barge')),
    started_at timestamptz NOT NULL,
    ended_at timestamptz,
    PRIMARY KEY (supervisor_id, started_at)
);
CREATE INDEX supervision_call_id ON ccsvc.supervision (call_id);
CREATE INDEX supervision_agent ON ccsvc.supervision (agent_id, started_at);
COMMENT ON TABLE ccsvc.supervision IS 'A supervisor listened, whispered or barged: no talk, no answer, no call.';

CREATE TABLE ccsvc.audit (
    pbx text NOT NULL,
    at timestamptz NOT NULL,
    seq bigint NOT NULL,
    actor text NOT NULL,
    verb text NOT NULL,
    target text NOT NULL,
    allowed boolean NOT NULL,
    reason text NOT NULL,
    PRIMARY KEY (pbx, at, seq)
);
CREATE INDEX audit_actor ON ccsvc.audit (actor, at);
COMMENT ON TABLE ccsvc.audit IS 'An act that somebody asked for, allowed or not.';

CREATE TABLE ccsvc.ivr_step (
    call_id text NOT NULL,
    n bigint NOT NULL,
    pbx text NOT NULL,
    ivr text NOT NULL,
    node text NOT NULL,
    at timestamptz NOT NULL,
    pressed text NOT NULL,
    result text NOT NULL CHECK (result IN ('key', 'next', 'invalid', 'no_input', 'failed', 'hung_up')),
    PRIMARY KEY (call_id, n)
);
COMMENT ON TABLE ccsvc.ivr_step IS 'One node of a menu that a caller went through, and what came of it.';

CREATE TABLE ccsvc.cdr (
    pbx text NOT NULL,
    uniqueid text NOT NULL,
    linkedid text NOT NULL,
    call_id text NOT NULL,
    calldate timestamptz NOT NULL,
    clid text NOT NULL,
    src text NOT NULL,
    dst text NOT NULL,
    channel text NOT NULL,
    dstchannel text NOT NULL,
    duration double precision NOT NULL,
    billsec double precision NOT NULL,
    dial_result text NOT NULL CHECK (dial_result IN ('ANSWERED', 'NO ANSWER', 'BUSY', 'FAILED')),
    role text NOT NULL CHECK (role IN ('customer', 'agent', 'supervisor', 'external')),
    PRIMARY KEY (pbx, uniqueid)
);
CREATE INDEX cdr_call_id ON ccsvc.cdr (call_id);
CREATE INDEX cdr_calldate ON ccsvc.cdr (calldate);
COMMENT ON TABLE ccsvc.cdr IS 'One leg, in the words of Asterisk''s own call detail records.';

CREATE TABLE ccsvc.queue_definition (
    pbx text NOT NULL,
    queue text NOT NULL,
    valid_from timestamptz NOT NULL,
    service_level text NOT NULL CHECK (service_level IN ('answered_of_offered_less_short', 'answered_of_answered',
                                                         'answered_of_all', 'served_of_all')),
    target_s double precision NOT NULL,
    short_abandon_s double precision NOT NULL,
    PRIMARY KEY (pbx, queue, valid_from)
);
COMMENT ON TABLE ccsvc.queue_definition IS
    'How a queue''s numbers were defined, and since when: a new definition never changes the numbers of old days.';

CREATE TABLE ccsvc.writer_checkpoint (
    pbx text PRIMARY KEY,
    file bigint NOT NULL,
    file_id text NOT NULL,
    byte_offset bigint NOT NULL,
    row_count bigint NOT NULL,
    written jsonb NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE ccsvc.writer_checkpoint IS
    'Up to where a daemon''s spool is in these tables; moves in the same transaction as the rows.';

CREATE TABLE ccsvc.rejected_row (
    pbx text NOT NULL,
    file bigint NOT NULL,
    file_id text NOT NULL,
    byte_offset bigint NOT NULL,
    table_name text NOT NULL,
    content text NOT NULL,
    problem text NOT NULL,
    rejected_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (pbx, file, file_id, byte_offset)
);
COMMENT ON TABLE ccsvc.rejected_row IS 'Rows that their table would not take, kept so that nothing is silently absent.';

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

CREATE FUNCTION ccsvc.quarter_of(at timestamptz) RETURNS timestamptz
    LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT
    RETURN date_bin(interval '15 minutes', at, timestamptz '2000-01-01 00:00:00+00');
COMMENT ON FUNCTION ccsvc.quarter_of IS 'The start of the 15-minute interval that holds this instant.';

CREATE INDEX queue_entry_quarter ON ccsvc.queue_entry (ccsvc.quarter_of(entered_at), queue);
CREATE INDEX queue_refusal_quarter ON ccsvc.queue_refusal (ccsvc.quarter_of(at), queue);
CREATE INDEX segment_without_entry ON ccsvc.segment (ccsvc.quarter_of(started_at), queue) WHERE entry_id IS NULL;

CREATE VIEW ccsvc.queue_interval AS
WITH fact AS (
    SELECT queue, ccsvc.quarter_of(entered_at) AS bucket_start, 'entry' AS kind, exit, in_target, short, wait_s,
           NULL::text AS refused, NULL::double precision AS handle_s
    FROM ccsvc.queue_entry
    UNION ALL
    SELECT queue, ccsvc.quarter_of(at), 'refusal', NULL, NULL, NULL, NULL, reason, NULL
    FROM ccsvc.queue_refusal
    UNION ALL
    SELECT e.queue, ccsvc.quarter_of(e.entered_at), 'segment', NULL, NULL, NULL, NULL, NULL,
           coalesce(s.talk_s, 0) + coalesce(s.hold_s, 0) + s.wrap_up_s
    FROM ccsvc.queue_entry AS e
    JOIN ccsvc.segment AS s ON s.entry_id = e.entry_id AND s.wrap_up_s IS NOT NULL
    UNION ALL
    SELECT queue, ccsvc.quarter_of(started_at), 'segment', NULL, NULL, NULL, NULL, NULL,
           coalesce(talk_s, 0) + coalesce(hold_s, 0) + wrap_up_s
    FROM ccsvc.segment
    WHERE entry_id IS NULL AND queue IS NOT NULL AND wrap_up_s IS NOT NULL
),
counted AS (
    SELECT queue,
           bucket_start,
           count(*) FILTER (WHERE kind = 'entry') AS entered,
           count(*) FILTER (WHERE kind = 'entry' AND exit IS NULL) AS waiting,
           count(*) FILTER (WHERE exit = 'answered') AS answered,
           count(*) FILTER (WHERE exit = 'abandoned') AS abandoned,
           count(*) FILTER (WHERE exit = 'timed_out') AS timed_out,
           count(*) FILTER (WHERE exit = 'exited_by_key') AS exited_by_key,
           count(*) FILTER (WHERE exit = 'callback_requested') AS callback_requested,
           count(*) FILTER (WHERE exit = 'left_empty') AS left_empty,
           count(*) FILTER (WHERE exit = 'withdrawn') AS withdrawn,
           count(*) FILTER (WHERE exit = 'transferred') AS transferred,
           count(*) FILTER (WHERE exit = 'system_lost') AS system_lost,
           count(*) FILTER (WHERE refused = 'full') AS refused_full,
           count(*) FILTER (WHERE refused = 'empty') AS refused_empty,
           count(*) FILTER (WHERE refused = 'closed') AS refused_closed,
           count(*) FILTER (WHERE exit = 'abandoned' AND short) AS short_abandoned,
           count(*) FILTER (WHERE exit = 'answered' AND in_target) AS answered_in_target,
           count(*) FILTER (WHERE exit = 'abandoned' AND in_target) AS abandoned_in_target,
           coalesce(sum(wait_s) FILTER (WHERE exit = 'answered'), 0) AS wait_answered_s,
           coalesce(sum(wait_s) FILTER (WHERE exit = 'abandoned'), 0) AS wait_abandoned_s,
           count(*) FILTER (WHERE kind = 'segment') AS segments,
           coalesce(sum(handle_s), 0) AS handle_s
    FROM fact
    GROUP BY queue, bucket_start
)
SELECT c.queue,
       c.bucket_start,
       c.entered,
       c.answered,
       c.abandoned,
       c.timed_out,
       c.exited_by_key,
       c.callback_requested,
       c.left_empty,
       c.withdrawn,
       c.transferred,
       c.system_lost,
       c.waiting,
       c.refused_full,
       c.refused_empty,
       c.refused_closed,
       c.short_abandoned,
       c.answered_in_target,
       c.wait_answered_s,
       c.wait_abandoned_s,
       c.wait_answered_s / nullif(c.answered, 0) AS asa_s,
       c.handle_s / nullif(c.segments, 0) AS aht_s,
       (c.abandoned - c.short_abandoned)::double precision / nullif(c.entered - c.short_abandoned, 0)
           AS abandonment_rate,
       CASE d.service_level
           WHEN 'answered_of_answered' THEN
               c.answered_in_target::double precision / nullif(c.answered, 0)
           WHEN 'answered_of_all' THEN
               c.answered_in_target::double precision / nullif(c.answered + c.abandoned, 0)
           WHEN 'served_of_all' THEN
               (c.answered_in_target + c.abandoned_in_target)::double precision
               / nullif(c.answered + c.abandoned, 0)
           ELSE
               c.answered_in_target::double precision
               / nullif(c.answered + c.abandoned - c.short_abandoned, 0)
       END AS service_level,
       coalesce(d.service_level, 'answered_of_offered_less_short') AS service_level_variant,
       c.abandoned_in_target,
       c.segments,
       c.handle_s
FROM counted AS c
LEFT JOIN LATERAL (
    SELECT service_level
    FROM ccsvc.queue_definition
    WHERE queue_definition.queue = c.queue AND valid_from < c.bucket_start + interval '15 minutes'
    ORDER BY valid_from DESC
    LIMIT 1
) AS d ON true;
COMMENT ON VIEW ccsvc.queue_interval IS
    'Cohort of 15 minutes: entered = the sum of all exits + waiting. The service level follows the variant that was '
    'in force when the interval ended (service_level_variant).';

CREATE FUNCTION ccsvc.agent_interval_between(since timestamptz, until timestamptz)
    RETURNS TABLE (
        agent_id text, bucket_start timestamptz, logged_in_s double precision, idle_s double precision,
        ringing_s double precision, talk_s double precision, hold_s double precision, wrap_up_s double precision,
        paused_s double precision, segments bigint, offers bigint, accepted bigint, no_answer bigint,
        rejected bigint, unreachable bigint, caller_gone bigint, lost_race bigint, agent_dropped bigint,
        occupancy double precision)
    LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    WITH stretch AS (
        SELECT s.agent_id, s.status, s.activity, s.started_at, coalesce(s.ended_at, now()) AS ended_at
        FROM ccsvc.agent_state AS s
        WHERE s.started_at < until AND (s.ended_at > since OR s.ended_at IS NULL)
          AND NOT (s.status = 'logged_out' AND s.activity = 'idle')
    ),
    fact AS (
        SELECT t.agent_id, b.at AS bucket_start, t.status,
               CASE WHEN t.activity <> 'idle' THEN t.activity WHEN t.status = 'paused' THEN 'paused' ELSE 'idle' END
                   AS what,
               extract(epoch FROM least(t.ended_at, b.at + interval '15 minutes') - greatest(t.started_at, b.at))
                   ::double precision AS seconds
        FROM stretch AS t
        CROSS JOIN LATERAL generate_series(ccsvc.quarter_of(t.started_at), t.ended_at, interval '15 minutes') AS b (at)
        WHERE t.ended_at > b.at
        UNION ALL
        SELECT g.agent_id, b.at, NULL, 'hold',
               g.hold_s * extract(epoch FROM least(g.ended_at, b.at + interval '15 minutes')
                                             - greatest(g.started_at, b.at))::double precision
               / extract(epoch FROM g.ended_at - g.started_at)::double precision
        FROM ccsvc.segment AS g
        CROSS JOIN LATERAL generate_series(ccsvc.quarter_of(g.started_at), g.ended_at, interval '15 minutes') AS b (at)
        WHERE g.started_at < until AND g.ended_at > since AND g.hold_s > 0
          AND g.ended_at > g.started_at AND g.ended_at > b.at
        UNION ALL
        SELECT g.agent_id, ccsvc.quarter_of(g.started_at), NULL, 'segment', NULL
        FROM ccsvc.segment AS g
        WHERE g.started_at >= since AND g.started_at < until
        UNION ALL
        SELECT o.agent_id, ccsvc.quarter_of(o.offered_at), o.result, 'offer', NULL
        FROM ccsvc.offer AS o
        WHERE o.offered_at >= since AND o.offered_at < until
    ),
    summed AS (
        SELECT f.agent_id,
               f.bucket_start,
               coalesce(sum(f.seconds) FILTER (WHERE f.status IN ('ready', 'paused')), 0) AS logged_in_s,
               coalesce(sum(f.seconds) FILTER (WHERE f.what = 'idle'), 0) AS idle_s,
               coalesce(sum(f.seconds) FILTER (WHERE f.what = 'ringing'), 0) AS ringing_s,
               coalesce(sum(f.seconds) FILTER (WHERE f.what = 'talking'), 0) AS talking_s,
               coalesce(sum(f.seconds) FILTER (WHERE f.what = 'hold'), 0) AS hold_s,
               coalesce(sum(f.seconds) FILTER (WHERE f.what = 'wrap_up'), 0) AS wrap_up_s,
               coalesce(sum(f.seconds) FILTER (WHERE f.what = 'paused'), 0) AS paused_s,
               count(*) FILTER (WHERE f.what = 'segment') AS segments,
               count(*) FILTER (WHERE f.what = 'offer') AS offers,
               count(*) FILTER (WHERE f.what = 'offer' AND f.status = 'accepted') AS accepted,
               count(*) FILTER (WHERE f.what = 'offer' AND f.status = 'no_answer') AS no_answer,
               count(*) FILTER (WHERE f.what = 'offer' AND f.status = 'rejected') AS rejected,
               count(*) FILTER (WHERE f.what = 'offer' AND f.status = 'unreachable') AS unreachable,
               count(*) FILTER (WHERE f.what = 'offer' AND f.status = 'caller_gone') AS caller_gone,
               count(*) FILTER (WHERE f.what = 'offer' AND f.status = 'lost_race') AS lost_race,
               count(*) FILTER (WHERE f.what = 'offer' AND f.status = 'agent_dropped') AS agent_dropped
        FROM fact AS f
        WHERE f.bucket_start >= ccsvc.quarter_of(since) AND f.bucket_start < until
        GROUP BY f.agent_id, f.bucket_start
    )
    SELECT s.agent_id,
           s.bucket_start,
           s.logged_in_s,
           s.idle_s,
           s.ringing_s,
           greatest(s.talking_s - s.hold_s, 0),
           least(s.hold_s, s.talking_s),
           s.wrap_up_s,
           s.paused_s,
           s.segments,
           s.offers,
           s.accepted,
           s.no_answer,
           s.rejected,
           s.unreachable,
           s.caller_gone,
           s.lost_race,
           s.agent_dropped,
           (s.talking_s + s.wrap_up_s) / nullif(s.talking_s + s.wrap_up_s + s.idle_s, 0)
    FROM summed AS s;
END;
COMMENT ON FUNCTION ccsvc.agent_interval_between IS
    'agent_interval of the intervals between two instants (give whole quarters); reads no more than that time.';

CREATE VIEW ccsvc.agent_interval AS
SELECT *
FROM ccsvc.agent_interval_between('-infinity', 'infinity');
COMMENT ON VIEW ccsvc.agent_interval IS
    'Wall clock, 15 minutes: logged_in_s = idle + ringing + talk + hold + wrap_up + paused of a logged-in agent; time '
    'in hand counts as what the calls do, paused_s as pause without a call. Hold is spread evenly over its segment. '
    'What lasts counts until now. A segment or offer is booked where it began.';

CREATE VIEW ccsvc.agent_pause AS
WITH stretch AS (
    SELECT agent_id, reason, started_at, seq, ended_at,
           lag(ended_at) OVER agent IS NOT DISTINCT FROM started_at
               AND lag(reason) OVER agent IS NOT DISTINCT FROM reason AS goes_on
    FROM ccsvc.agent_state
    WHERE status = 'paused'
    WINDOW agent AS (PARTITION BY agent_id ORDER BY started_at, seq)
),
numbered AS (
    SELECT agent_id, reason, started_at, ended_at,
           count(*) FILTER (WHERE NOT goes_on) OVER (PARTITION BY agent_id ORDER BY started_at, seq) AS pause
    FROM stretch
)
SELECT agent_id,
       reason,
       min(started_at) AS started_at,
       CASE WHEN bool_and(ended_at IS NOT NULL) THEN max(ended_at) END AS ended_at,
       CASE WHEN bool_and(ended_at IS NOT NULL)
            THEN extract(epoch FROM max(ended_at) - min(started_at))::double precision END AS seconds
FROM numbered
GROUP BY agent_id, reason, pause;
COMMENT ON VIEW ccsvc.agent_pause IS
    'One row per pause, however many calls or queues it touched; ended_at and seconds are NULL while it lasts.';
