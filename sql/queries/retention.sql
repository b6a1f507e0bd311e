-- name: purge_executions
-- Removes executions that ended long ago, but never the newest success of a job, which says up to when it kept up.
DELETE FROM job_executions e
WHERE e.finished_at < clock_timestamp() - make_interval(days => :keep_days)
  AND NOT EXISTS (SELECT FROM scheduled_jobs j WHERE j.probe_run_id = e.run_id)
  AND e.id NOT IN (SELECT DISTINCT ON (job_type) id FROM job_executions
                   WHERE execution_status = 'completed' ORDER BY job_type, tick DESC, id DESC);

-- name: purge_notifications
-- Removes messages that nobody needs any more.
DELETE FROM notifications WHERE created_at < clock_timestamp() - make_interval(days => :keep_days);
