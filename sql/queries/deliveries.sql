-- name: serve_channels
-- Writes down that a sender serves these channels; rows that are fresh stay as they are.
INSERT INTO notification_channels AS c (name, served_at)
SELECT name, :at FROM unnest(CAST(:channels AS text[])) AS n (name) ORDER BY name
ON CONFLICT (name) DO UPDATE SET served_at = excluded.served_at
WHERE c.served_at < excluded.served_at - make_interval(secs => :fresh_s);

-- name: unrouted_notifications
-- Messages of which nobody has decided yet which channels want them; what another sender decides on is left out.
SELECT id, severity, kind, occurred_at FROM notifications
WHERE routed_at IS NULL
ORDER BY id LIMIT :limit
FOR UPDATE SKIP LOCKED;

-- name: insert_deliveries
-- Messages on their way to channels, side by side.
INSERT INTO notification_deliveries (notification_id, channel, due_at)
SELECT n.id, n.channel, :at
FROM unnest(CAST(:notification_ids AS bigint[]), CAST(:channels AS text[])) AS n (id, channel)
ON CONFLICT DO NOTHING;

-- name: set_routed
-- Messages for which all deliveries are there.
UPDATE notifications SET routed_at = :at WHERE id = ANY(CAST(:notification_ids AS bigint[]));

-- name: abandon_deliveries
-- Gives up what nobody could deliver for so long.
UPDATE notification_deliveries d
SET status = 'abandoned', last_error = coalesce(d.last_error, 'No sender served the channel.')
FROM notifications n
WHERE n.id = d.notification_id AND d.status IN ('waiting', 'sending') AND d.due_at <= :at
  AND n.routed_at < :routed_before;

-- name: hold_channel
-- One sender at a time claims messages of a channel.
SELECT name FROM notification_channels WHERE name = :channel FOR UPDATE;

-- name: claim_message
-- Takes the next message of a channel: the most severe first, then the oldest. A message that was tried before
-- stays what it was; else all that waits of a kind and severity becomes one, unless one of them was sent so
-- recently that more may come. A critical one waits only for one of the same words.
WITH due AS (
    SELECT d.notification_id, d.message_id, n.kind, n.severity, n.portfolio_id, n.title, n.body
    FROM notification_deliveries d JOIN notifications n ON n.id = d.notification_id
    WHERE d.channel = :channel AND d.status IN ('waiting', 'sending') AND d.due_at <= :at
      AND (n.severity = 'critical' OR NOT CAST(:is_quiet AS boolean))
), recent AS (
    SELECT n.kind, n.severity, n.portfolio_id, n.title, n.body
    FROM notification_deliveries d JOIN notifications n ON n.id = d.notification_id
    WHERE d.channel = :channel AND d.status = 'sent' AND d.sent_at > :sent_after
), first AS (
    SELECT message_id, kind, severity FROM due
    WHERE message_id IS NOT NULL OR NOT EXISTS (
        SELECT FROM recent r
        WHERE (r.kind, r.severity) = (due.kind, due.severity)
          AND (due.severity <> 'critical' OR (r.title, r.body) = (due.title, due.body)
               AND r.portfolio_id IS NOT DISTINCT FROM due.portfolio_id))
    ORDER BY severity DESC, notification_id LIMIT 1
), chosen AS (
    SELECT due.notification_id FROM due JOIN first USING (kind, severity)
    WHERE due.message_id IS NOT DISTINCT FROM first.message_id
    ORDER BY due.notification_id LIMIT :limit
)
UPDATE notification_deliveries d
SET status = 'sending', message_id = coalesce(d.message_id, CAST(:message_id AS uuid)), attempts = d.attempts + 1,
    is_in_doubt = d.is_in_doubt OR d.status = 'sending', due_at = :lease_until
FROM chosen JOIN notifications n ON n.id = chosen.notification_id LEFT JOIN portfolios p ON p.id = n.portfolio_id
WHERE d.notification_id = chosen.notification_id AND d.channel = :channel
RETURNING d.message_id, d.attempts, d.is_in_doubt, n.id, n.severity, n.kind, n.title, n.body, n.occurred_at,
          p.name AS portfolio;

-- name: set_message_sent
-- A message has arrived; whoever else took it meanwhile finds nothing left to do.
UPDATE notification_deliveries SET status = 'sent', sent_at = :at, last_error = NULL
WHERE message_id = :message_id AND channel = :channel AND status IN ('waiting', 'sending');

-- name: set_message_failed
-- An attempt failed and is made again; nothing where another sender has made a further one.
UPDATE notification_deliveries
SET status = 'waiting', due_at = :due_at, last_error = :error, is_in_doubt = is_in_doubt OR :is_in_doubt
WHERE message_id = :message_id AND channel = :channel AND status = 'sending' AND attempts = :attempts;

-- name: notifications
-- Messages to people, newest first, with what became of each.
SELECT n.id, n.occurred_at, n.severity, n.kind, n.title, n.body, p.name AS portfolio, n.routed_at,
       coalesce(d.deliveries, '[]') AS deliveries
FROM notifications n
LEFT JOIN portfolios p ON p.id = n.portfolio_id
CROSS JOIN LATERAL (
    SELECT jsonb_agg(jsonb_build_object(
               'channel', d.channel, 'status', d.status, 'attempts', d.attempts, 'sent_at', d.sent_at,
               'is_in_doubt', d.is_in_doubt, 'last_error', d.last_error) ORDER BY d.channel) AS deliveries
    FROM notification_deliveries d WHERE d.notification_id = n.id
) d
WHERE (CAST(:kind AS text) IS NULL OR n.kind = :kind)
  AND n.severity >= CAST(:severity AS notification_severity)
ORDER BY n.id DESC LIMIT :limit;

-- name: channel_states
-- Of each channel: when it was last served and used, what waits for how long, and why.
SELECT c.name, c.served_at, max(d.sent_at) AS last_sent_at,
       count(*) FILTER (WHERE d.status IN ('waiting', 'sending')) AS waiting,
       min(n.occurred_at) FILTER (WHERE d.status IN ('waiting', 'sending')) AS waiting_since,
       count(*) FILTER (WHERE d.status = 'abandoned') AS abandoned,
       (array_agg(d.last_error ORDER BY d.notification_id DESC)
            FILTER (WHERE d.last_error IS NOT NULL AND d.status <> 'sent'))[1] AS last_error
FROM notification_channels c
LEFT JOIN notification_deliveries d ON d.channel = c.name
LEFT JOIN notifications n ON n.id = d.notification_id
GROUP BY c.name ORDER BY c.name;

-- name: stuck_messages
-- How many critical messages have been under way for too long to channels that are served, and how many messages
-- nobody has looked at.
SELECT (SELECT count(*) FROM notification_deliveries d JOIN notifications n ON n.id = d.notification_id
        JOIN notification_channels c ON c.name = d.channel
        WHERE d.status IN ('waiting', 'sending') AND n.severity = 'critical' AND n.routed_at < :before
          AND c.served_at > :before) AS critical,
       (SELECT count(*) FROM notifications WHERE routed_at IS NULL AND occurred_at < :before) AS unrouted;
