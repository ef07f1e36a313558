-- What is remembered: one table per thing that METRICS counts, columns in the order of ccsvc/domain/records.py.
-- Instants are timestamptz, durations seconds. NULL: not known (yet). No foreign keys: rows arrive in the order
-- in which things were learnt, and a repaired call may come after its own legs.

-- migrate:up

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

-- migrate:down

DROP TABLE ccsvc.rejected_row, ccsvc.writer_checkpoint, ccsvc.queue_definition, ccsvc.cdr, ccsvc.ivr_step,
    ccsvc.audit, ccsvc.supervision, ccsvc.recording, ccsvc.agent_state, ccsvc.agent_session, ccsvc.segment,
    ccsvc.offer, ccsvc.queue_refusal, ccsvc.queue_entry, ccsvc.call, ccsvc.schema_migration;
