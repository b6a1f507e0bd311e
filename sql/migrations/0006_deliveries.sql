-- What becomes of a notification on its way to people: one row for each channel that wants it.
CREATE TYPE delivery_status AS ENUM (
    'waiting',   -- → sending; also after an attempt that failed
    'sending',   -- → sent, waiting; past its lease the sender died, and the next one takes it over
    'sent',
    'abandoned'  -- it could not be delivered for days, or its channel is gone
);

-- Channels as senders last served them. Their addresses are secrets, and stand in the environment alone.
CREATE TABLE notification_channels (
    name      text        PRIMARY KEY,
    served_at timestamptz NOT NULL
);

CREATE TABLE notification_deliveries (
    notification_id bigint          NOT NULL REFERENCES notifications ON DELETE CASCADE,
    channel         text            NOT NULL REFERENCES notification_channels,
    status          delivery_status NOT NULL DEFAULT 'waiting',
    -- The message that carries it, with others of its kind that waited then; it stays the same over attempts.
    message_id      uuid,
    attempts        integer         NOT NULL DEFAULT 0,
    -- An attempt ended without an answer: the message may have arrived already.
    is_in_doubt     boolean         NOT NULL DEFAULT false,
    -- Waiting: not to be tried before. Sending: the end of the sender's lease.
    due_at          timestamptz     NOT NULL,
    sent_at         timestamptz,
    last_error      text,
    PRIMARY KEY (notification_id, channel),
    CONSTRAINT sent_with_its_time_or_not_at_all CHECK ((status = 'sent') = (sent_at IS NOT NULL)),
    CONSTRAINT attempted_with_a_message CHECK ((attempts > 0) = (message_id IS NOT NULL))
) WITH (fillfactor = 70);
CREATE INDEX open_deliveries ON notification_deliveries (channel, due_at) WHERE status IN ('waiting', 'sending');
CREATE INDEX sent_deliveries_by_time ON notification_deliveries (channel, sent_at) WHERE status = 'sent';
CREATE INDEX open_deliveries_by_message ON notification_deliveries (message_id)
    WHERE status IN ('waiting', 'sending');

ALTER TABLE notifications ADD COLUMN routed_at timestamptz;
-- Nothing was sent before there were channels; it is no news any more.
UPDATE notifications SET routed_at = created_at;
DROP INDEX unsent_notifications;
ALTER TABLE notifications DROP COLUMN sent_at, DROP COLUMN attempts, DROP COLUMN last_error;
CREATE INDEX unrouted_notifications ON notifications (id) WHERE routed_at IS NULL;
