-- name: publish_price_batch
-- Numbers a batch of changed prices and announces it at commit: "<sequence>", or "<sequence> <symbol> …".
WITH batch AS (SELECT nextval('price_batch_sequence') AS sequence)
SELECT sequence, pg_notify('price_batches', CAST(sequence AS text) || CAST(:names AS text)) FROM batch;

-- name: newest_price_batch
-- The number that was given out last; its batch may not be committed yet. 0 before the first.
SELECT CASE WHEN is_called THEN last_value ELSE 0 END AS sequence FROM price_batch_sequence;

-- name: streamed_quotes
-- Every price there is, for a listener that starts, comes back, or missed a number.
SELECT symbol, price, bid, ask, previous_close, quoted_at, source FROM quotes;

-- name: streamed_quotes_of
-- The prices of the symbols that a batch named, as they are now.
SELECT symbol, price, bid, ask, previous_close, quoted_at, source FROM quotes
WHERE symbol = ANY (CAST(:symbols AS text[]));
