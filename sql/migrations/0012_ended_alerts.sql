-- Which delisting switched an alert off, so that withdrawing it switches the alert on again.
ALTER TABLE price_alerts
    ADD COLUMN disabled_by bigint REFERENCES corporate_actions,
    ADD CONSTRAINT only_a_disabled_alert_was_disabled_by_an_action CHECK (disabled_by IS NULL OR status = 'disabled');
