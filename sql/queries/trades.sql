-- name: insert_decision
-- What a strategy concluded at a tick; nothing where it has decided already.
INSERT INTO decisions (portfolio_id, strategy_id, tick, session, equity, cash, signals)
VALUES (:portfolio_id, :strategy_id, :tick, :session, :equity, :cash, CAST(:signals AS jsonb))
ON CONFLICT (portfolio_id, strategy_id, tick) DO NOTHING
RETURNING id;

-- name: decided_portfolios
-- Portfolios that have decided at this tick: each begins with the decision that belongs to no strategy.
SELECT portfolio_id FROM decisions WHERE tick = :tick AND strategy_id IS NULL;

-- name: equity_at_open
-- What a portfolio was worth when it was first looked at since the open and its worth was known, with what was
-- put in or taken out since then.
SELECT d.equity + coalesce((SELECT sum(m.amount) FROM cash_movements m
                            WHERE m.portfolio_id = d.portfolio_id AND m.kind IN ('deposit', 'withdrawal')
                              AND m.occurred_at > d.tick), 0) AS equity
FROM decisions d
WHERE d.portfolio_id = :portfolio_id AND d.strategy_id IS NULL AND d.tick >= :since AND d.equity > 0
ORDER BY d.tick LIMIT 1;

-- name: list_stopped
-- What stop losses and take profits of a portfolio closed since an instant, and on which side; not what a halt
-- closed.
SELECT DISTINCT t.symbol, t.side FROM trades t JOIN decisions d ON d.id = t.decision_id
WHERE d.portfolio_id = :portfolio_id AND d.strategy_id IS NULL AND d.tick >= :since
  AND NOT EXISTS (SELECT FROM halts h
                  WHERE h.level = 'flatten' AND (h.portfolio_id IS NULL OR h.portfolio_id = d.portfolio_id)
                    AND h.halted_at <= d.tick AND (h.resumed_at IS NULL OR h.resumed_at > d.tick));

-- name: count_decided
-- How many trades of a portfolio were decided after an instant.
SELECT count(*) FROM trades t JOIN decisions d ON d.id = t.decision_id
WHERE d.portfolio_id = :portfolio_id AND d.tick > :since;

-- name: count_sent
-- How many trades of a portfolio that were decided after an instant were sent, or may have been, but for one.
SELECT count(*) FROM trades t JOIN decisions d ON d.id = t.decision_id
WHERE d.portfolio_id = :portfolio_id AND d.tick > :since AND t.attempts > 0 AND t.id <> :except_id;

-- name: insert_trades
-- The trades of one decision, in order.
INSERT INTO trades (portfolio_id, broker_account_id, decision_id, symbol, side, order_type, time_in_force,
                    quantity, limit_price, stop_price, client_order_id, reserved_cash, reason, decided_at, is_entry)
SELECT :portfolio_id, :broker_account_id, :decision_id, t.symbol, t.side, t.order_type, t.time_in_force,
       t.quantity, t.limit_price, t.stop_price, t.client_order_id, t.reserved_cash, t.reason, :decided_at,
       t.is_entry
FROM unnest(CAST(:symbols AS text[]), CAST(:sides AS trade_side[]), CAST(:order_types AS order_type[]),
            CAST(:times_in_force AS time_in_force[]), CAST(:quantities AS numeric[]),
            CAST(:limit_prices AS numeric[]), CAST(:stop_prices AS numeric[]),
            CAST(:client_order_ids AS text[]), CAST(:reserved AS numeric[]), CAST(:reasons AS text[]),
            CAST(:entries AS boolean[]))
     WITH ORDINALITY AS t (symbol, side, order_type, time_in_force, quantity, limit_price, stop_price,
                           client_order_id, reserved_cash, reason, is_entry, number)
ORDER BY t.number;

-- name: open_trades_of_portfolio
-- What still holds cash or quantity of a portfolio.
SELECT symbol, side, quantity - filled_quantity AS quantity, reserved_cash, filled_quantity, quantity AS whole
FROM trades
WHERE portfolio_id = :portfolio_id
  AND status IN ('pending', 'submitting', 'submitted', 'partially_filled');

-- name: claim_trades
-- Takes trades that nobody is sending: new ones, and those whose sender's lease ran out. Sells go first. The
-- lease's end names the claim: nobody else can have the same one.
UPDATE trades t
SET status = 'submitting', lease_until = clock_timestamp() + make_interval(secs => :lease_s)
WHERE id IN (
    SELECT id FROM trades
    WHERE broker_account_id = :broker_account_id
      AND (status = 'pending' OR (status = 'submitting' AND lease_until < clock_timestamp()))
      AND id <> ALL (CAST(:except_ids AS bigint[]))
    ORDER BY side DESC, id
    LIMIT :limit
    FOR UPDATE SKIP LOCKED)
RETURNING t.*, NOT is_entry AS is_exit;

-- name: begin_attempt
-- From here on the broker may have the order. Nothing where another has claimed the trade meanwhile.
UPDATE trades SET attempts = attempts + 1, lease_until = clock_timestamp() + make_interval(secs => :lease_s)
WHERE id = :trade_id AND status = 'submitting' AND lease_until = :lease_until
RETURNING attempts, lease_until;

-- name: release_claims
-- Gives claims back. A trade that was never sent is new again; of the others the next claim asks the broker.
UPDATE trades t
SET status = CASE WHEN t.attempts = 0 THEN 'pending' ELSE t.status END,
    lease_until = CASE WHEN t.attempts = 0 THEN NULL ELSE clock_timestamp() END
FROM unnest(CAST(:trade_ids AS bigint[]), CAST(:leases_until AS timestamptz[])) AS n (id, lease_until)
WHERE t.id = n.id AND t.status = 'submitting' AND t.lease_until = n.lease_until;

-- name: take_back_attempt
-- The order never left: the trade is as it was before this attempt, and new again if there was no other.
UPDATE trades SET attempts = attempts - 1,
                  status = CASE WHEN attempts = 1 THEN 'pending' ELSE status END,
                  lease_until = CASE WHEN attempts = 1 THEN NULL ELSE clock_timestamp() END
WHERE id = :trade_id AND status = 'submitting' AND lease_until = :lease_until;

-- name: set_submitted
-- The broker has the order.
UPDATE trades SET status = 'submitted', broker_order_id = :broker_order_id, submitted_at = :submitted_at,
                  lease_until = NULL
WHERE id = :trade_id AND status = 'submitting'
RETURNING id;

-- name: set_not_sent
-- This claim ends with no order at the broker: the reserve is released.
UPDATE trades SET status = CAST(:status AS trade_status), status_reason = :reason, finalized_at = :at,
                  lease_until = NULL, reserved_cash = 0
WHERE id = :trade_id AND status = 'submitting' AND lease_until = :lease_until
RETURNING id;

-- name: trades_at_broker
-- Trades of an account that the broker may still fill.
SELECT * FROM trades
WHERE broker_account_id = :broker_account_id AND status IN ('submitted', 'partially_filled')
ORDER BY id;

-- name: entries_to_cancel
-- Entries at the broker of portfolios whose halt asks for their cancellation.
SELECT t.* FROM trades t
WHERE t.broker_account_id = :broker_account_id AND t.status IN ('submitted', 'partially_filled')
  AND t.is_entry
  AND EXISTS (SELECT FROM halts h
              WHERE h.resumed_at IS NULL AND h.level IN ('cancel_open', 'flatten')
                AND (h.portfolio_id IS NULL OR h.portfolio_id = t.portfolio_id))
ORDER BY t.id;

-- name: trades_by_broker_orders
-- The trades behind some orders, whatever their status.
SELECT * FROM trades
WHERE broker_account_id = :broker_account_id AND broker_order_id = ANY(CAST(:broker_order_ids AS text[]))
ORDER BY id;

-- name: stray_orders
-- Which of these open orders no trade of the account accounts for: none has the name, or it ended without.
SELECT o.client_order_id FROM unnest(CAST(:client_order_ids AS text[])) AS o (client_order_id)
WHERE NOT EXISTS (
    SELECT FROM trades t
    WHERE t.client_order_id = o.client_order_id AND t.broker_account_id = :broker_account_id
      AND (t.finalized_at IS NULL OR t.broker_order_id IS NOT NULL));

-- name: hold_trades
-- Some trades, locked in order, as they are now.
SELECT * FROM trades WHERE id = ANY(CAST(:trade_ids AS bigint[])) ORDER BY id FOR UPDATE;

-- name: set_progress
-- What became of some trades. A final one keeps its status and only takes a late fill's quantity.
UPDATE trades t
SET status = CASE WHEN t.finalized_at IS NULL THEN n.status ELSE t.status END,
    filled_quantity = n.filled_quantity,
    status_reason = coalesce(n.reason, t.status_reason),
    reserved_cash = CASE WHEN n.status IN ('filled', 'cancelled', 'expired', 'rejected')
                         THEN 0 ELSE t.reserved_cash END,
    finalized_at = CASE WHEN t.finalized_at IS NULL
                             AND n.status IN ('filled', 'cancelled', 'expired', 'rejected')
                        THEN :at ELSE t.finalized_at END
FROM unnest(CAST(:trade_ids AS bigint[]), CAST(:statuses AS trade_status[]),
            CAST(:filled_quantities AS numeric[]), CAST(:reasons AS text[]))
     AS n (id, status, filled_quantity, reason)
WHERE t.id = n.id;

-- name: list_trades
-- Trades, the newest first, with their fills' average price; `is_open` leaves out those that are final.
SELECT t.id, p.name AS portfolio, s.name AS strategy, d.session, t.decided_at, t.symbol, t.side, t.order_type,
       t.quantity, t.limit_price, t.stop_price, t.status, t.filled_quantity,
       round(f.notional / nullif(f.quantity, 0), 9) AS average_price, t.reason, t.status_reason,
       t.client_order_id
FROM trades t
JOIN portfolios p ON p.id = t.portfolio_id
JOIN decisions d ON d.id = t.decision_id
LEFT JOIN strategies s ON s.id = d.strategy_id
LEFT JOIN LATERAL (SELECT sum(quantity) AS quantity, sum(quantity * price) AS notional
                   FROM fills WHERE trade_id = t.id) f ON true
WHERE (CAST(:portfolio AS text) IS NULL OR p.name = :portfolio)
  AND (CAST(:symbol AS text) IS NULL OR t.symbol = :symbol)
  AND (CAST(:session AS date) IS NULL OR d.session = :session)
  AND (NOT CAST(:is_open AS boolean) OR t.finalized_at IS NULL)
ORDER BY t.id DESC
LIMIT :limit;
