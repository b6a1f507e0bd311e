-- name: job_history
-- Executions of a job (NULL: of all), newest first.
SELECT job_type, run_id, triggered_by, tick, session, execution_status, is_probe, started_at, finished_at,
       duration_ms, counts, skip_reason, error_class, error_message
FROM job_executions
WHERE (CAST(:job_type AS text) IS NULL OR job_type = CAST(:job_type AS job_type))
ORDER BY id DESC LIMIT :limit;

-- name: job_stats
-- Outcomes and durations of each job since an instant.
SELECT j.job_type, j.job_status, j.is_scheduled, j.needs_person, j.consecutive_failures, j.retry_at,
       j.average_duration_ms, j.last_run_at, j.last_success_at, j.last_failure_at, j.last_error,
       count(e.id) FILTER (WHERE e.execution_status IN ('completed', 'failed')) AS runs,
       count(e.id) FILTER (WHERE e.execution_status = 'completed') AS completed,
       count(e.id) FILTER (WHERE e.execution_status = 'failed') AS failed,
       count(e.id) FILTER (WHERE e.execution_status = 'skipped') AS skipped,
       count(e.id) FILTER (WHERE e.execution_status = 'started') AS running,
       round(avg(e.duration_ms) FILTER (WHERE e.execution_status = 'completed'), 3) AS mean_ms,
       round(var_samp(e.duration_ms) FILTER (WHERE e.execution_status = 'completed'), 3) AS duration_variance,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY e.duration_ms)
           FILTER (WHERE e.execution_status = 'completed') AS median_ms,
       percentile_cont(0.95) WITHIN GROUP (ORDER BY e.duration_ms)
           FILTER (WHERE e.execution_status = 'completed') AS p95_ms,
       percentile_cont(0.99) WITHIN GROUP (ORDER BY e.duration_ms)
           FILTER (WHERE e.execution_status = 'completed') AS p99_ms
FROM scheduled_jobs j
LEFT JOIN job_executions e ON e.job_type = j.job_type
     AND (CAST(:since AS timestamptz) IS NULL OR e.started_at >= :since)
GROUP BY j.job_type
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
