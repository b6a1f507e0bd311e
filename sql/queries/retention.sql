-- name: purge_executions
-- Removes some executions that ended long ago: never the newest success of a job, which says up to when it kept
-- up, nor one that found a difference from a broker's books or moved a breaker, whose row names it.
DELETE FROM job_executions WHERE id IN (
    SELECT e.id FROM job_executions e
    WHERE e.job_type = CAST(:job_type AS job_type)
      AND e.started_at < now() - make_interval(days => :keep_days) AND e.finished_at IS NOT NULL
      AND e.id <> ALL (SELECT id FROM job_executions
                       WHERE job_type = CAST(:job_type AS job_type) AND execution_status = 'completed'
                       ORDER BY tick DESC, id DESC LIMIT 1)
      AND NOT EXISTS (SELECT FROM scheduled_jobs j WHERE j.probe_run_id = e.run_id)
      AND NOT EXISTS (SELECT FROM discrepancies d WHERE d.run_id = e.run_id)
      AND NOT EXISTS (SELECT FROM breaker_events b WHERE b.run_id = e.run_id)
    ORDER BY e.started_at LIMIT :limit);

-- name: purge_notifications
-- Removes some messages that nobody needs any more, with their deliveries; none that is still under way.
DELETE FROM notifications WHERE id IN (
    SELECT n.id FROM notifications n
    WHERE n.created_at < now() - make_interval(days => :keep_days)
      AND NOT EXISTS (SELECT FROM notification_deliveries d
                      WHERE d.notification_id = n.id AND d.status IN ('waiting', 'sending'))
    ORDER BY n.created_at LIMIT :limit);
