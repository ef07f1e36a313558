-- The indicators of METRICS per quarter of an hour. queue_interval books by cohort (the interval in which an entry
-- entered), agent_interval by wall clock. A ratio without a denominator is NULL.

-- migrate:up

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

-- migrate:down

DROP VIEW ccsvc.agent_pause, ccsvc.agent_interval, ccsvc.queue_interval;
DROP FUNCTION ccsvc.agent_interval_between;
DROP INDEX ccsvc.segment_without_entry, ccsvc.queue_refusal_quarter, ccsvc.queue_entry_quarter;
DROP FUNCTION ccsvc.quarter_of;
