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
FROM scheduled_jobs j
JOIN job_executions e ON e.job_type = j.job_type AND e.started_at > now() - make_interval(secs => :within_s)
CROSS JOIN LATERAL (
    SELECT avg(b.duration_ms) AS mean_ms, stddev_samp(b.duration_ms) AS deviation_ms, count(*) AS number
    FROM (SELECT p.duration_ms FROM job_executions p
          WHERE p.job_type = e.job_type AND p.execution_status = 'completed' AND p.triggered_by <> 'replay'
            AND p.started_at < e.started_at
          ORDER BY p.started_at DESC LIMIT 200) b
) s
WHERE e.execution_status = 'completed' AND e.triggered_by <> 'replay'
  AND s.number >= :runs_min
  AND e.duration_ms > s.mean_ms + greatest(3 * s.deviation_ms, CAST(:floor_ms AS numeric))
ORDER BY e.id;

-- name: failing_jobs
-- Jobs that failed within the last day, and of whose last runs too many did: those of that day, or as many as
-- it takes to say anything, so that a job that runs once a session is looked at too.
SELECT j.job_type, f.failed, f.runs
FROM scheduled_jobs j
CROSS JOIN LATERAL (
    SELECT count(*) AS runs, count(*) FILTER (WHERE execution_status = 'failed') AS failed,
           max(started_at) FILTER (WHERE execution_status = 'failed') AS last_failed_at
    FROM (SELECT e.execution_status, e.started_at, row_number() OVER (ORDER BY e.started_at DESC) AS place
          FROM job_executions e
          WHERE e.job_type = j.job_type AND e.execution_status IN ('completed', 'failed')
            AND e.triggered_by <> 'replay'
          ORDER BY e.started_at DESC LIMIT 2000) r
    WHERE place <= :runs_min OR started_at > now() - interval '1 day'
) f
WHERE f.runs >= :runs_min AND f.failed > :failure_rate_max * f.runs
  AND f.last_failed_at > now() - interval '1 day'
ORDER BY j.job_type;

-- name: snapshot_attempts
-- How often each session was tried since an instant of its own (NULL: ever), by whatever run was to end with it,
-- and whether the last try is long enough ago.
SELECT n.session, count(*) AS attempts,
       max(e.started_at) < clock_timestamp() - make_interval(secs => :pause_s) AS is_rested
FROM unnest(CAST(:sessions AS date[]), CAST(:sinces AS timestamptz[])) AS n (session, since)
JOIN job_executions e ON e.job_type = 'portfolio_snapshot' AND e.session = n.session
     AND (n.since IS NULL OR e.started_at > n.since)
GROUP BY n.session;
