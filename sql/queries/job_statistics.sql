-- name: job_history
-- Executions of a job (NULL: of all), newest first.
SELECT job_type, run_id, triggered_by, tick, session, execution_status, is_probe, started_at, finished_at,
       duration_ms, counts, skip_reason, error_class, error_message
FROM job_executions
WHERE (CAST(:job_type AS text) IS NULL OR job_type = CAST(:job_type AS job_type))
ORDER BY id DESC LIMIT :limit;

-- name: job_stats
-- Outcomes and durations of each job since an instant, and its rates of failure in the hour, the day and the
-- week before another.
SELECT j.job_type, j.job_status, j.is_scheduled, j.needs_person, j.consecutive_failures, j.retry_at,
       j.missed_since, j.average_duration_ms, j.last_run_at, j.last_success_at, j.last_failure_at, j.last_error,
       e.runs, e.completed, e.failed, e.skipped, e.running, e.mean_ms, e.duration_variance, e.median_ms,
       e.p95_ms, e.p99_ms, r.failure_rate_1h, r.failure_rate_1d, r.failure_rate_7d
FROM scheduled_jobs j
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE execution_status IN ('completed', 'failed')) AS runs,
           count(*) FILTER (WHERE execution_status = 'completed') AS completed,
           count(*) FILTER (WHERE execution_status = 'failed') AS failed,
           count(*) FILTER (WHERE execution_status = 'skipped') AS skipped,
           count(*) FILTER (WHERE execution_status = 'started') AS running,
           round(avg(duration_ms) FILTER (WHERE execution_status = 'completed'), 3) AS mean_ms,
           round(var_samp(duration_ms) FILTER (WHERE execution_status = 'completed'), 3) AS duration_variance,
           percentile_cont(0.5) WITHIN GROUP (ORDER BY duration_ms)
               FILTER (WHERE execution_status = 'completed') AS median_ms,
           percentile_cont(0.95) WITHIN GROUP (ORDER BY duration_ms)
               FILTER (WHERE execution_status = 'completed') AS p95_ms,
           percentile_cont(0.99) WITHIN GROUP (ORDER BY duration_ms)
               FILTER (WHERE execution_status = 'completed') AS p99_ms
    FROM job_executions
    WHERE job_type = j.job_type AND (CAST(:since AS timestamptz) IS NULL OR started_at >= :since)
) e
CROSS JOIN LATERAL (
    SELECT avg(is_failure) FILTER (WHERE started_at >= CAST(:now AS timestamptz) - interval '1 hour')
               AS failure_rate_1h,
           avg(is_failure) FILTER (WHERE started_at >= CAST(:now AS timestamptz) - interval '1 day')
               AS failure_rate_1d,
           avg(is_failure) AS failure_rate_7d
    FROM (SELECT started_at, CASE execution_status WHEN 'failed' THEN 1.0 ELSE 0.0 END AS is_failure
          FROM job_executions
          WHERE job_type = j.job_type AND execution_status IN ('completed', 'failed')
            AND started_at BETWEEN CAST(:now AS timestamptz) - interval '7 days' AND :now) of_week
) r
ORDER BY j.job_type;

-- name: last_counts
-- What the newest completed execution of a job counted.
SELECT counts FROM job_executions
WHERE job_type = CAST(:job_type AS job_type) AND execution_status = 'completed'
ORDER BY started_at DESC LIMIT 1;

-- name: newest_completed_run
-- The run of the newest completed execution of a job.
SELECT run_id FROM job_executions
WHERE job_type = CAST(:job_type AS job_type) AND execution_status = 'completed'
ORDER BY started_at DESC LIMIT 1;
