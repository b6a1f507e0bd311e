-- Whether a trade opens a position or adds to it: what a halt stops. The side does not tell, for a sell may open
-- a short position and a buy may cover one.
ALTER TABLE trades ADD COLUMN is_entry boolean NOT NULL DEFAULT false;
UPDATE trades t SET is_entry = true
FROM decisions d
WHERE d.id = t.decision_id AND d.strategy_id IS NOT NULL AND t.side = 'buy';
