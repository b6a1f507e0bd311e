-- name: jobs
-- Every scheduled job: its settings, its breaker, what happened so far.
SELECT * FROM scheduled_jobs ORDER BY job_type;

-- name: hold_job
-- A job, locked: admission, outcome and breaker of one job are decided one at a time.
SELECT * FROM scheduled_jobs WHERE job_type = CAST(:job_type AS job_type) FOR UPDATE;

-- name: hold_job_if_free
-- A job, locked, unless somebody else holds it just now.
SELECT * FROM scheduled_jobs WHERE job_type = CAST(:job_type AS job_type) FOR UPDATE SKIP LOCKED;

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
        :reason, :run_id, :actor, :at)
RETURNING id;

-- name: breaker_events
-- A breaker's history, newest first.
SELECT old_status, new_status, reason, run_id, actor, at FROM breaker_events
WHERE job_type = CAST(:job_type AS job_type) ORDER BY id DESC LIMIT :limit;

-- name: job_settings
-- What a person may change about a job.
SELECT failure_threshold, probe_successes, wait_base_s, wait_cap_s, stale_after_s, lease_s, missed_after_s
FROM scheduled_jobs WHERE job_type = CAST(:job_type AS job_type);

-- name: save_job_settings
-- All of a job's settings at once; the job must be held.
UPDATE scheduled_jobs
SET failure_threshold = :failure_threshold, probe_successes = :probe_successes, wait_base_s = :wait_base_s,
    wait_cap_s = :wait_cap_s, stale_after_s = :stale_after_s, lease_s = :lease_s,
    missed_after_s = :missed_after_s
WHERE job_type = CAST(:job_type AS job_type);

-- name: insert_setting_change
-- Who changed a setting, and why.
INSERT INTO job_setting_changes (job_type, setting, old_value, new_value, reason, actor, at)
VALUES (CAST(:job_type AS job_type), :setting, :old_value, :new_value, :reason, :actor, :at);

-- name: setting_changes
-- The changes of a job's settings, newest first.
SELECT setting, old_value, new_value, reason, actor, at FROM job_setting_changes
WHERE job_type = CAST(:job_type AS job_type) ORDER BY id DESC LIMIT :limit;

-- name: running_execution
-- The execution that holds a job's lease.
SELECT id, run_id, tick, lease_until, lease_until < clock_timestamp() AS is_expired, worker
FROM job_executions
WHERE job_type = CAST(:job_type AS job_type) AND execution_status = 'started';

-- name: take_started
-- An execution that is still open, locked; none while its worker is in a transaction.
SELECT * FROM job_executions WHERE id = :execution_id AND execution_status = 'started'
FOR UPDATE SKIP LOCKED;

-- name: execution_of_tick
-- Whether a tick was run, or is running.
SELECT run_id, execution_status FROM job_executions
WHERE job_type = CAST(:job_type AS job_type) AND tick = :tick
  AND execution_status IN ('started', 'completed') AND triggered_by IN ('schedule', 'replay');

-- name: is_tick_over
-- Whether some run of a tick has ended, or was refused.
SELECT EXISTS (SELECT FROM job_executions
               WHERE job_type = CAST(:job_type AS job_type) AND tick = :tick AND execution_status <> 'started');

-- name: completed_ticks
-- The newest tick for which each of some jobs succeeded.
SELECT j.job_type, (SELECT e.tick FROM job_executions e
                    WHERE e.job_type = j.job_type AND e.execution_status = 'completed'
                    ORDER BY e.tick DESC LIMIT 1) AS tick
FROM scheduled_jobs j WHERE j.job_type = ANY(CAST(:job_types AS job_type[]));

-- name: execution_statuses
-- What became of some runs, as far as they are on record.
SELECT run_id, job_type, execution_status FROM job_executions WHERE run_id = ANY(CAST(:run_ids AS text[]));

-- name: executions_of_run
-- The rows of a run: one for each job it did.
SELECT * FROM job_executions WHERE run_id = :run_id ORDER BY id;

-- name: hold_execution
-- A row, locked.
SELECT * FROM job_executions WHERE id = :execution_id FOR UPDATE;

-- name: runs_that_are_over
-- Those of some runs that have no open row: given up, or ended longer ago than a grace.
SELECT run_id FROM job_executions WHERE run_id = ANY(CAST(:run_ids AS text[]))
GROUP BY run_id
HAVING bool_and(execution_status <> 'started')
   AND (bool_or(error_class = 'LeaseLostError')
        OR max(finished_at) < clock_timestamp() - make_interval(secs => :grace_s));

-- name: insert_started
-- A run that was admitted; it holds the job's lease.
INSERT INTO job_executions (job_type, run_id, triggered_by, tick, session, execution_status, is_probe,
                            started_at, lease_until, worker)
SELECT CAST(:job_type AS job_type), :run_id, CAST(:triggered_by AS execution_trigger),
       CAST(:tick AS timestamptz), CAST(:session AS date), 'started', :is_probe, at,
       at + make_interval(secs => :lease_s), CAST(:worker AS text)
FROM clock_timestamp() AS at
RETURNING id;

-- name: insert_skipped
-- A run that was refused at admission.
INSERT INTO job_executions (job_type, run_id, triggered_by, tick, session, execution_status, started_at,
                            finished_at, skip_reason, folded_at)
VALUES (CAST(:job_type AS job_type), :run_id, CAST(:triggered_by AS execution_trigger), :tick, :session,
        'skipped', clock_timestamp(), clock_timestamp(), :skip_reason, clock_timestamp())
ON CONFLICT (run_id, job_type) DO NOTHING;

-- name: insert_ended
-- A run that ended without ever being admitted, as Dagster tells it.
INSERT INTO job_executions (job_type, run_id, triggered_by, tick, session, execution_status, started_at,
                            finished_at, error_class, error_message, folded_at)
VALUES (CAST(:job_type AS job_type), :run_id, CAST(:triggered_by AS execution_trigger), :tick, :session,
        CAST(:execution_status AS execution_status), CAST(:started_at AS timestamptz),
        greatest(CAST(:finished_at AS timestamptz), CAST(:started_at AS timestamptz)),
        :error_class, :error_message, clock_timestamp())
ON CONFLICT DO NOTHING
RETURNING *;

-- name: hold_lease
-- Answers a row while this run may still act: not given up by the sweeper, and the lease not over.
SELECT id FROM job_executions
WHERE id = :execution_id AND execution_status = 'started' AND lease_until > clock_timestamp()
FOR SHARE;

-- name: finish_execution
-- Closes a started row, or corrects the outcome of a closed one; tells how long ago that was.
UPDATE job_executions
SET execution_status = CAST(:execution_status AS execution_status), lease_until = NULL,
    finished_at = greatest(coalesce(:finished_at, finished_at, clock_timestamp()), started_at),
    counts = coalesce(CAST(:counts AS jsonb), counts),
    error_class = :error_class, error_message = :error_message, folded_at = clock_timestamp()
WHERE id = :execution_id
RETURNING duration_ms, EXTRACT(EPOCH FROM clock_timestamp() - finished_at) AS age_s;

-- name: fold_outcome
-- Counts an outcome; the duration's weighted mean is of successes: 0.8 × old + 0.2 × new.
UPDATE scheduled_jobs
SET run_count = run_count + 1,
    success_count = success_count + CASE WHEN :is_success THEN 1 ELSE 0 END,
    failure_count = failure_count + CASE WHEN :is_success THEN 0 ELSE 1 END,
    average_duration_ms = CASE WHEN NOT :is_success OR CAST(:duration_ms AS numeric) IS NULL
                               THEN average_duration_ms
                               WHEN average_duration_ms IS NULL THEN :duration_ms
                               ELSE round(0.8 * average_duration_ms + 0.2 * :duration_ms, 3) END,
    last_run_at = greatest(last_run_at, :at),
    last_success_at = CASE WHEN :is_success THEN greatest(last_success_at, :at) ELSE last_success_at END
WHERE job_type = CAST(:job_type AS job_type);

-- name: unfold_success
-- A run that was counted as a success turned out to have failed.
UPDATE scheduled_jobs
SET run_count = greatest(run_count - 1, 0), success_count = greatest(success_count - 1, 0)
WHERE job_type = CAST(:job_type AS job_type);

-- name: started_executions
-- Rows that are still open, with what the sweeper needs to judge them.
SELECT id, job_type, run_id, tick, session, started_at, lease_until,
       lease_until < clock_timestamp() AS is_expired, worker
FROM job_executions WHERE execution_status = 'started' ORDER BY id;

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

-- name: set_scheduled
-- Mirrors the switches of the Dagster UI, and when they were thrown.
UPDATE scheduled_jobs
SET scheduled_since = CASE WHEN job_type = ANY(CAST(:running AS job_type[])) THEN CAST(:at AS timestamptz) END
WHERE is_scheduled <> (job_type = ANY(CAST(:running AS job_type[])));
