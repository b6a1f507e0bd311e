-- name: alarm_states
-- Of each job what tells whether it ran when it should have; replays are of other days.
SELECT j.job_type, j.job_status, j.scheduled_since, j.missed_since, j.missed_after_s, j.last_error,
       (SELECT e.tick FROM job_executions e
        WHERE e.job_type = j.job_type AND e.execution_status <> 'skipped' AND e.triggered_by <> 'replay'
        ORDER BY e.tick DESC LIMIT 1) AS ran_for,
       EXISTS (SELECT FROM job_executions e
               WHERE e.job_type = j.job_type AND e.triggered_by = 'schedule'
                 AND e.tick >= CAST(:opens_at AS timestamptz)) AS was_on
FROM scheduled_jobs j ORDER BY j.job_type;

-- name: set_missed_since
-- Raises or (NULL) ends an alarm; answers a row when it was not so already.
UPDATE scheduled_jobs SET missed_since = :missed_since
WHERE job_type = CAST(:job_type AS job_type) AND (missed_since IS NULL) <> (CAST(:missed_since AS timestamptz) IS NULL)
RETURNING job_type;

-- name: slow_executions
-- Successes of the last minutes that took longer than the mean of those before them by three deviations, and by
-- a floor below which nobody cares.
SELECT e.job_type, e.run_id, e.tick, e.duration_ms, s.mean_ms, s.deviation_ms
FROM job_executions e
CROSS JOIN LATERAL (
    SELECT avg(b.duration_ms) AS mean_ms, stddev_samp(b.duration_ms) AS deviation_ms, count(*) AS number
    FROM (SELECT p.duration_ms FROM job_executions p
          WHERE p.job_type = e.job_type AND p.execution_status = 'completed' AND p.triggered_by <> 'replay'
            AND p.started_at < e.started_at
          ORDER BY p.started_at DESC LIMIT 200) b
) s
WHERE e.execution_status = 'completed' AND e.triggered_by <> 'replay'
  AND e.started_at > clock_timestamp() - make_interval(secs => :within_s)
  AND s.number >= :runs_min
  AND e.duration_ms > s.mean_ms + greatest(3 * s.deviation_ms, CAST(:floor_ms AS numeric))
ORDER BY e.id;

-- name: failing_jobs
-- Jobs of whose runs of the last day too many failed.
SELECT job_type, count(*) FILTER (WHERE execution_status = 'failed') AS failed, count(*) AS runs
FROM job_executions
WHERE execution_status IN ('completed', 'failed') AND triggered_by <> 'replay'
  AND started_at > clock_timestamp() - interval '1 day'
GROUP BY job_type
HAVING count(*) >= :runs_min
   AND count(*) FILTER (WHERE execution_status = 'failed') > :failure_rate_max * count(*)
ORDER BY job_type;

-- name: snapshot_attempts
-- How often each session was tried since an instant of its own (NULL: ever), by whatever run was to end with it,
-- and whether the last try is long enough ago.
SELECT n.session, count(*) AS attempts,
       max(e.started_at) < clock_timestamp() - make_interval(secs => :pause_s) AS is_rested
FROM unnest(CAST(:sessions AS date[]), CAST(:sinces AS timestamptz[])) AS n (session, since)
JOIN job_executions e ON e.job_type = 'portfolio_snapshot' AND e.session = n.session
     AND (n.since IS NULL OR e.started_at > n.since)
GROUP BY n.session;
