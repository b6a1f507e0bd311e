-- name: jobs
-- Every scheduled job: its settings, its breaker, what happened so far.
SELECT * FROM scheduled_jobs ORDER BY job_type;

-- name: hold_job
-- A job, locked: admission, outcome and breaker of one job are decided one at a time.
SELECT * FROM scheduled_jobs WHERE job_type = CAST(:job_type AS job_type) FOR UPDATE;

-- name: read_job
-- A job as it is now.
SELECT * FROM scheduled_jobs WHERE job_type = CAST(:job_type AS job_type);

-- name: save_breaker
-- The breaker's state after a transition or a count.
UPDATE scheduled_jobs
SET job_status = CAST(:job_status AS job_status), consecutive_failures = :consecutive_failures,
    half_open_successes = :half_open_successes, open_count = :open_count, opened_at = :opened_at,
    retry_at = :retry_at, closed_at = :closed_at, recent_outcomes = CAST(:recent_outcomes AS boolean[]),
    needs_person = :needs_person, probe_run_id = :probe_run_id, last_failure_at = :last_failure_at,
    last_error = :last_error
WHERE job_type = CAST(:job_type AS job_type);

-- name: insert_breaker_event
-- The audit trail of a breaker.
INSERT INTO breaker_events (job_type, old_status, new_status, reason, run_id, actor, at)
VALUES (CAST(:job_type AS job_type), CAST(:old_status AS job_status), CAST(:new_status AS job_status),
        :reason, :run_id, :actor, :at);

-- name: breaker_events
-- A breaker's history, newest first.
SELECT old_status, new_status, reason, run_id, actor, at FROM breaker_events
WHERE job_type = CAST(:job_type AS job_type) ORDER BY id DESC LIMIT :limit;

-- name: running_execution
-- The execution that holds a job's lease.
SELECT id, run_id, tick, lease_until, lease_until < clock_timestamp() AS is_expired
FROM job_executions
WHERE job_type = CAST(:job_type AS job_type) AND execution_status = 'started';

-- name: execution_of_tick
-- Whether a tick was run, or is running.
SELECT run_id, execution_status FROM job_executions
WHERE job_type = CAST(:job_type AS job_type) AND tick = :tick
  AND execution_status IN ('started', 'completed') AND triggered_by IN ('schedule', 'replay');

-- name: is_tick_done
-- Whether some run of a tick has ended.
SELECT EXISTS (SELECT FROM job_executions
               WHERE job_type = CAST(:job_type AS job_type) AND tick = :tick
                 AND execution_status IN ('completed', 'failed'));

-- name: execution_statuses
-- What became of some runs, as far as they are on record.
SELECT run_id, execution_status FROM job_executions WHERE run_id = ANY(CAST(:run_ids AS text[]));

-- name: execution_of_run
-- The row of a run.
SELECT * FROM job_executions WHERE run_id = :run_id;

-- name: hold_execution_of_run
-- The row of a run, locked.
SELECT * FROM job_executions WHERE run_id = :run_id FOR UPDATE;

-- name: insert_started
-- A run that was admitted; it holds the job's lease.
INSERT INTO job_executions (job_type, run_id, triggered_by, tick, session, execution_status, is_probe,
                            started_at, lease_until)
VALUES (CAST(:job_type AS job_type), :run_id, CAST(:triggered_by AS execution_trigger), :tick, :session,
        'started', :is_probe, clock_timestamp(), clock_timestamp() + make_interval(secs => :lease_s))
RETURNING id, started_at, lease_until;

-- name: insert_skipped
-- A run that was refused at admission.
INSERT INTO job_executions (job_type, run_id, triggered_by, tick, session, execution_status, started_at,
                            finished_at, skip_reason, folded_at)
VALUES (CAST(:job_type AS job_type), :run_id, CAST(:triggered_by AS execution_trigger), :tick, :session,
        'skipped', clock_timestamp(), clock_timestamp(), :skip_reason, clock_timestamp())
ON CONFLICT (run_id, job_type) DO NOTHING;

-- name: insert_failed
-- A run that ended before it was admitted, as Dagster tells it.
INSERT INTO job_executions (job_type, run_id, triggered_by, tick, session, execution_status, started_at,
                            finished_at, error_class, error_message)
VALUES (CAST(:job_type AS job_type), :run_id, CAST(:triggered_by AS execution_trigger), :tick, :session,
        'failed', CAST(:started_at AS timestamptz),
        greatest(CAST(:finished_at AS timestamptz), CAST(:started_at AS timestamptz)),
        :error_class, :error_message)
ON CONFLICT (run_id, job_type) DO NOTHING
RETURNING id;

-- name: hold_lease
-- Answers a row while this run may still act: not given up by the sweeper, and the lease not over.
SELECT id FROM job_executions
WHERE id = :execution_id AND execution_status = 'started' AND lease_until > clock_timestamp()
FOR SHARE;

-- name: finish_execution
-- Closes a started row, or corrects the outcome of a closed one.
UPDATE job_executions
SET execution_status = CAST(:execution_status AS execution_status), lease_until = NULL,
    finished_at = greatest(coalesce(:finished_at, finished_at, clock_timestamp()), started_at),
    counts = CASE WHEN CAST(:counts AS jsonb) IS NULL THEN counts ELSE CAST(:counts AS jsonb) END,
    error_class = :error_class, error_message = :error_message
WHERE id = :execution_id
RETURNING duration_ms, finished_at;

-- name: set_folded
-- The outcome is in scheduled_jobs.
UPDATE job_executions SET folded_at = clock_timestamp() WHERE id = :execution_id;

-- name: fold_outcome
-- Counts an outcome; the duration's weighted mean is of successes: 0.8 × old + 0.2 × new.
UPDATE scheduled_jobs
SET run_count = run_count + 1,
    success_count = success_count + CASE WHEN :is_success THEN 1 ELSE 0 END,
    failure_count = failure_count + CASE WHEN :is_success THEN 0 ELSE 1 END,
    average_duration_ms = CASE WHEN NOT :is_success THEN average_duration_ms
                               WHEN average_duration_ms IS NULL THEN :duration_ms
                               ELSE round(0.8 * average_duration_ms + 0.2 * :duration_ms, 3) END,
    last_run_at = greatest(last_run_at, :at),
    last_success_at = CASE WHEN :is_success THEN greatest(last_success_at, :at) ELSE last_success_at END
WHERE job_type = CAST(:job_type AS job_type);

-- name: refold_as_failure
-- A run that was counted as a success turned out to have failed.
UPDATE scheduled_jobs SET success_count = success_count - 1, failure_count = failure_count + 1
WHERE job_type = CAST(:job_type AS job_type);

-- name: started_executions
-- Rows that are still open, with what the sweeper needs to judge them.
SELECT id, job_type, run_id, tick, session, started_at, lease_until, lease_until < clock_timestamp() AS is_expired
FROM job_executions WHERE execution_status = 'started' ORDER BY id;

-- name: job_history
-- Executions of a job (NULL: of all), newest first.
SELECT job_type, run_id, triggered_by, tick, session, execution_status, is_probe, started_at, finished_at,
       duration_ms, counts, skip_reason, error_class, error_message
FROM job_executions
WHERE (CAST(:job_type AS text) IS NULL OR job_type = CAST(:job_type AS job_type))
ORDER BY id DESC LIMIT :limit;

-- name: last_executions
-- The newest execution of each job that was not skipped.
SELECT j.job_type, e.execution_status, e.tick, e.started_at, e.finished_at, e.duration_ms
FROM scheduled_jobs j
CROSS JOIN LATERAL (
    SELECT * FROM job_executions
    WHERE job_type = j.job_type AND execution_status <> 'skipped'
    ORDER BY started_at DESC LIMIT 1
) e
ORDER BY j.job_type;

-- name: job_stats
-- Outcomes and durations of each job since an instant.
SELECT j.job_type, j.job_status, j.consecutive_failures, j.retry_at, j.average_duration_ms, j.last_run_at,
       j.last_success_at, j.last_error,
       count(e.id) FILTER (WHERE e.execution_status IN ('completed', 'failed')) AS runs,
       count(e.id) FILTER (WHERE e.execution_status = 'completed') AS completed,
       count(e.id) FILTER (WHERE e.execution_status = 'failed') AS failed,
       count(e.id) FILTER (WHERE e.execution_status = 'skipped') AS skipped,
       count(e.id) FILTER (WHERE e.execution_status = 'started') AS running,
       round(var_samp(e.duration_ms) FILTER (WHERE e.execution_status = 'completed'), 3) AS duration_variance,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY e.duration_ms)
           FILTER (WHERE e.execution_status = 'completed') AS median_ms,
       percentile_cont(0.95) WITHIN GROUP (ORDER BY e.duration_ms)
           FILTER (WHERE e.execution_status = 'completed') AS p95_ms
FROM scheduled_jobs j
LEFT JOIN job_executions e ON e.job_type = j.job_type
     AND (CAST(:since AS timestamptz) IS NULL OR e.started_at >= :since)
GROUP BY j.job_type
ORDER BY j.job_type;

-- name: set_is_scheduled
-- Mirrors the switches of the Dagster UI.
UPDATE scheduled_jobs SET is_scheduled = (job_type = ANY(CAST(:running AS job_type[])))
WHERE is_scheduled <> (job_type = ANY(CAST(:running AS job_type[])));
