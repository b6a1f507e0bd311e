-- name: booked_executions
-- Which of the broker's executions are in the ledger.
SELECT broker_execution_id FROM fills
WHERE broker_account_id = :broker_account_id
  AND broker_execution_id = ANY(CAST(:execution_ids AS text[]));

-- name: insert_fills
-- Books executions; one that is booked already is left out of the answer.
INSERT INTO fills (trade_id, portfolio_id, broker_account_id, broker_execution_id, symbol, side, quantity,
                   price, fee, cumulative_quantity, executed_at, is_late)
SELECT n.trade_id, n.portfolio_id, :broker_account_id, n.execution_id, n.symbol, n.side, n.quantity, n.price,
       n.fee, n.cumulative_quantity, n.executed_at, n.is_late
FROM unnest(CAST(:trade_ids AS bigint[]), CAST(:portfolio_ids AS bigint[]), CAST(:execution_ids AS text[]),
            CAST(:symbols AS text[]), CAST(:sides AS trade_side[]), CAST(:quantities AS numeric[]),
            CAST(:prices AS numeric[]), CAST(:fees AS numeric[]), CAST(:cumulative_quantities AS numeric[]),
            CAST(:executed_ats AS timestamptz[]), CAST(:are_late AS boolean[]))
     WITH ORDINALITY AS n (trade_id, portfolio_id, execution_id, symbol, side, quantity, price, fee,
                           cumulative_quantity, executed_at, is_late, number)
ORDER BY n.number
ON CONFLICT DO NOTHING
RETURNING id, trade_id, portfolio_id, symbol, side, quantity, price, fee, executed_at;

-- name: positions
-- Cached positions of some portfolios (NULL: of all), flat ones left out.
SELECT x.portfolio_id, p.name AS portfolio, x.symbol, x.quantity, x.average_cost, x.realised_pnl,
       x.market_price, x.market_value, x.unrealised_pnl, x.marked_at, x.last_entry_at
FROM positions x JOIN portfolios p ON p.id = x.portfolio_id
WHERE x.quantity <> 0
  AND (CAST(:portfolio_ids AS bigint[]) IS NULL OR x.portfolio_id = ANY(CAST(:portfolio_ids AS bigint[])))
ORDER BY x.portfolio_id, x.symbol;

-- name: hold_positions
-- Some cached positions, locked in order, flat ones too.
SELECT portfolio_id, symbol, quantity, average_cost, realised_pnl, last_fill_id, last_entry_at
FROM positions
WHERE portfolio_id = :portfolio_id AND symbol = ANY(CAST(:symbols AS text[]))
ORDER BY symbol
FOR UPDATE;

-- name: position_entries
-- Fills and adjustments in the order in which they count, up to an instant (NULL: all). At one instant fills
-- come first, because an adjustment answers to what was booked before it.
SELECT portfolio_id, symbol, at, kind, fill_id, side, quantity, price, fee, keeps_cost, corporate_action_id FROM (
    SELECT portfolio_id, symbol, executed_at AS at, 'fill' AS kind, id AS fill_id, side, quantity, price, fee,
           false AS keeps_cost, NULL AS corporate_action_id, id
    FROM fills
    UNION ALL
    SELECT portfolio_id, symbol, occurred_at, 'adjustment', NULL, NULL, quantity, unit_cost, 0, keeps_cost,
           corporate_action_id, id
    FROM adjustments WHERE symbol IS NOT NULL AND quantity <> 0
) entries
WHERE (CAST(:portfolio_ids AS bigint[]) IS NULL OR portfolio_id = ANY(CAST(:portfolio_ids AS bigint[])))
  AND (CAST(:symbols AS text[]) IS NULL OR symbol = ANY(CAST(:symbols AS text[])))
  AND (CAST(:until AS timestamptz) IS NULL OR at <= :until)
ORDER BY portfolio_id, symbol, at, kind DESC, id;

-- name: upsert_positions
-- Writes folded positions of one portfolio, marked with the newest price.
INSERT INTO positions (portfolio_id, symbol, quantity, average_cost, realised_pnl, last_fill_id, last_entry_at,
                       market_price, marked_at)
SELECT :portfolio_id, n.symbol, n.quantity, n.average_cost, n.realised_pnl, n.last_fill_id, n.last_entry_at,
       q.price, q.quoted_at
FROM unnest(CAST(:symbols AS text[]), CAST(:quantities AS numeric[]), CAST(:average_costs AS numeric[]),
            CAST(:realised_pnls AS numeric[]), CAST(:last_fill_ids AS bigint[]),
            CAST(:last_entry_ats AS timestamptz[]))
     AS n (symbol, quantity, average_cost, realised_pnl, last_fill_id, last_entry_at)
LEFT JOIN quotes q ON q.symbol = n.symbol
ORDER BY n.symbol
ON CONFLICT (portfolio_id, symbol) DO UPDATE
SET quantity = excluded.quantity, average_cost = excluded.average_cost,
    realised_pnl = excluded.realised_pnl,
    last_fill_id = coalesce(excluded.last_fill_id, positions.last_fill_id),
    last_entry_at = excluded.last_entry_at,
    market_price = coalesce(excluded.market_price, positions.market_price),
    marked_at = coalesce(excluded.marked_at, positions.marked_at);

-- name: add_cash
-- Moves the cached cash of a portfolio by an amount that was just booked.
UPDATE cash_balances SET amount = amount + :amount WHERE portfolio_id = :portfolio_id;

-- name: insert_cash_movement
-- Books money in or out; nothing where the reference was booked before.
INSERT INTO cash_movements (portfolio_id, kind, amount, reference, note, occurred_at)
VALUES (:portfolio_id, CAST(:kind AS cash_movement_kind), :amount, :reference, :note, :occurred_at)
ON CONFLICT (portfolio_id, reference) DO NOTHING
RETURNING id;

-- name: cash_entries
-- Everything that moved cash, in the order in which it happened; a `flow` is a deposit or a withdrawal.
SELECT portfolio_id, at, amount, kind FROM (
    SELECT portfolio_id, occurred_at AS at, amount,
           CASE WHEN kind IN ('deposit', 'withdrawal') THEN 'flow' ELSE 'movement' END AS kind
    FROM cash_movements
    UNION ALL
    SELECT portfolio_id, executed_at,
           CASE side WHEN 'sell' THEN round(quantity * price, 9) ELSE -round(quantity * price, 9) END - fee, 'fill'
    FROM fills
    UNION ALL
    SELECT portfolio_id, occurred_at, cash_amount, 'adjustment' FROM adjustments WHERE cash_amount <> 0
) entries
ORDER BY portfolio_id, at;

-- name: ledger_version
-- How far the ledger was written.
SELECT coalesce((SELECT max(id) FROM fills), 0) AS fill,
       coalesce((SELECT max(id) FROM cash_movements), 0) AS movement,
       coalesce((SELECT max(id) FROM adjustments), 0) AS adjustment;

-- name: external_flows
-- What was put in and taken out, up to an instant.
SELECT portfolio_id, occurred_at, amount FROM cash_movements
WHERE kind IN ('deposit', 'withdrawal') AND occurred_at <= :until
ORDER BY portfolio_id, occurred_at, id;

-- name: fills_not_among
-- Fills of an account since an instant whose executions are none of these.
SELECT broker_execution_id AS execution_id, symbol, side, quantity, price, fee, executed_at
FROM fills
WHERE portfolio_id IN (SELECT id FROM portfolios WHERE broker_account_id = :broker_account_id)
  AND executed_at > :after AND broker_execution_id <> ALL (CAST(:execution_ids AS text[]))
ORDER BY executed_at, id;

-- name: account_holdings
-- What the portfolios of an account hold together and each, with the time of the last entry.
SELECT x.portfolio_id, x.symbol, x.quantity, x.average_cost, x.last_entry_at
FROM positions x JOIN portfolios p ON p.id = x.portfolio_id
WHERE p.broker_account_id = :broker_account_id
ORDER BY x.portfolio_id, x.symbol;

-- name: account_cash
-- The cash of every portfolio of an account.
SELECT c.portfolio_id, c.amount
FROM cash_balances c JOIN portfolios p ON p.id = c.portfolio_id
WHERE p.broker_account_id = :broker_account_id
ORDER BY c.portfolio_id;

-- name: symbols_in_flight
-- Symbols of an account whose books may move at any moment.
SELECT DISTINCT symbol FROM trades
WHERE broker_account_id = :broker_account_id
  AND status IN ('pending', 'submitting', 'submitted', 'partially_filled');

-- name: last_discrepancies
-- The newest difference of each symbol (NULL: cash) of an account.
SELECT DISTINCT ON (symbol) symbol, difference, resolution
FROM discrepancies WHERE broker_account_id = :broker_account_id
ORDER BY symbol, id DESC;

-- name: insert_discrepancy
-- Two sides that did not agree.
INSERT INTO discrepancies (broker_account_id, symbol, ours, brokers, cause, evidence, resolution, run_id,
                           found_at)
VALUES (:broker_account_id, :symbol, :ours, :brokers, CAST(:cause AS adjustment_cause),
        CAST(:evidence AS text[]), CAST(:resolution AS discrepancy_resolution), :run_id, :found_at)
RETURNING id;

-- name: settled_by
-- Which executions and activities of the broker explain an adjustment that was made already.
SELECT DISTINCT d.symbol, e.evidence
FROM discrepancies d CROSS JOIN LATERAL unnest(d.evidence) AS e (evidence)
WHERE d.broker_account_id = :broker_account_id AND d.resolution = 'adjusted'
  AND d.evidence && CAST(:evidence AS text[]);

-- name: insert_adjustments
-- Repairs that one discrepancy led to, in order.
INSERT INTO adjustments (portfolio_id, discrepancy_id, symbol, quantity, cash_amount, unit_cost, keeps_cost, cause,
                         note, actor, occurred_at)
SELECT n.portfolio_id, :discrepancy_id, :symbol, n.quantity, n.cash_amount, n.unit_cost, n.keeps_cost,
       CAST(:cause AS adjustment_cause), :note, :actor, :occurred_at
FROM unnest(CAST(:portfolio_ids AS bigint[]), CAST(:quantities AS numeric[]), CAST(:cash_amounts AS numeric[]),
            CAST(:unit_costs AS numeric[]), CAST(:keep_costs AS boolean[]))
     WITH ORDINALITY AS n (portfolio_id, quantity, cash_amount, unit_cost, keeps_cost, number)
ORDER BY n.number;
