-- What is old enough to go, and what must stay for it, is found without reading whole tables.
CREATE INDEX notifications_by_creation ON notifications (created_at);
CREATE INDEX discrepancies_by_run ON discrepancies (run_id);
CREATE INDEX breaker_events_by_run ON breaker_events (run_id);
