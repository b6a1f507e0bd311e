-- name: books_positions
-- Every cached position, flat ones too.
SELECT portfolio_id, symbol, quantity, average_cost, realised_pnl, last_entry_at
FROM positions ORDER BY portfolio_id, symbol;

-- name: books_cash
-- The cached cash of every portfolio; NULL where a portfolio has none.
SELECT p.id, p.name, c.amount FROM portfolios p LEFT JOIN cash_balances c ON c.portfolio_id = p.id ORDER BY p.id;

-- name: books_snapshots
-- Every snapshot with what its lines add up to.
SELECT s.portfolio_id, s.session, s.valued_at, s.cash, s.positions_value, s.total_value, s.position_count,
       coalesce(sum(l.value), 0) AS lines_value, count(l.symbol) AS lines
FROM portfolio_snapshots s LEFT JOIN portfolio_snapshot_positions l USING (portfolio_id, session)
GROUP BY s.portfolio_id, s.session
ORDER BY s.portfolio_id, s.session;

-- name: books_snapshot_lines
-- Every holding in every snapshot.
SELECT portfolio_id, session, symbol, quantity, average_cost FROM portfolio_snapshot_positions;

-- name: books_trades_adrift
-- Trades whose fills are not what they say: their sum, or whom and what they are for.
SELECT t.id, t.filled_quantity, coalesce(f.quantity, 0) AS booked, coalesce(f.strangers, 0) AS strangers
FROM trades t
LEFT JOIN LATERAL (
    SELECT sum(quantity) AS quantity,
           count(*) FILTER (WHERE (portfolio_id, broker_account_id, symbol, side)
                                  <> (t.portfolio_id, t.broker_account_id, t.symbol, t.side)) AS strangers
    FROM fills WHERE trade_id = t.id) f ON true
WHERE t.filled_quantity <> coalesce(f.quantity, 0) OR f.strangers > 0
ORDER BY t.id;

-- name: books_trades_misplaced
-- Trades of another account or portfolio than those of their decision, and final ones that still hold cash.
SELECT t.id, t.status, t.reserved_cash,
       (t.portfolio_id, t.broker_account_id) <> (d.portfolio_id, p.broker_account_id) AS is_misplaced
FROM trades t JOIN decisions d ON d.id = t.decision_id JOIN portfolios p ON p.id = t.portfolio_id
WHERE (t.portfolio_id, t.broker_account_id) <> (d.portfolio_id, p.broker_account_id)
   OR (t.finalized_at IS NOT NULL AND t.reserved_cash <> 0)
ORDER BY t.id;

-- name: books_discrepancies_unrepaired
-- Discrepancies whose adjustments are not what they ask for: all of the difference, or none of it.
SELECT d.id, d.symbol, d.difference, d.resolution, coalesce(a.moved, 0) AS moved
FROM discrepancies d
LEFT JOIN LATERAL (
    SELECT sum(CASE WHEN d.symbol IS NULL THEN cash_amount ELSE quantity END) AS moved
    FROM adjustments WHERE discrepancy_id = d.id) a ON true
WHERE coalesce(a.moved, 0) <> CASE d.resolution WHEN 'adjusted' THEN d.difference ELSE 0 END
ORDER BY d.id;
