-- name: insert_alert
-- A new price alert.
INSERT INTO price_alerts (symbol, condition, threshold, reference_price, note)
VALUES (:symbol, CAST(:condition AS alert_condition), :threshold, :reference_price, :note)
RETURNING id;

-- name: alerts
-- Every price alert.
SELECT id, symbol, condition, threshold, reference_price, status, note, triggered_at, triggered_price
FROM price_alerts ORDER BY id;

-- name: active_alerts
-- Alerts that have not fired, with their symbol's newest price, locked so that each fires once.
SELECT a.id, a.symbol, a.condition, a.threshold, a.reference_price, a.note, q.price, q.quoted_at
FROM price_alerts a JOIN quotes q ON q.symbol = a.symbol
WHERE a.status = 'active'
ORDER BY a.id
FOR UPDATE OF a;

-- name: trigger_alerts
-- Marks alerts as fired.
UPDATE price_alerts a SET status = 'triggered', triggered_at = :at, triggered_price = n.price
FROM unnest(CAST(:alert_ids AS bigint[]), CAST(:prices AS numeric[])) AS n (id, price)
WHERE a.id = n.id AND a.status = 'active';

-- name: insert_notifications
-- Puts messages into the outbox; one with a known key is there already, and left out of the answer.
INSERT INTO notifications (severity, kind, title, body, portfolio_id, dedupe_key, occurred_at)
SELECT n.severity, n.kind, n.title, n.body, n.portfolio_id, n.dedupe_key, :occurred_at
FROM unnest(CAST(:severities AS notification_severity[]), CAST(:kinds AS text[]), CAST(:titles AS text[]),
            CAST(:bodies AS text[]), CAST(:portfolio_ids AS bigint[]), CAST(:dedupe_keys AS text[]))
     AS n (severity, kind, title, body, portfolio_id, dedupe_key)
ON CONFLICT (dedupe_key) DO NOTHING
RETURNING title;
