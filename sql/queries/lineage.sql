-- name: snapshot_to_explain
-- One snapshot of a portfolio with the total of the one before it.
SELECT s.session, s.cash, s.positions_value, s.total_value, s.net_deposits, s.daily_return, s.total_return,
       s.valued_at, s.updated_at AS written_at, s.exposure, s.position_count, s.stale_since, s.stale_reason,
       (SELECT total_value FROM portfolio_snapshots p
        WHERE p.portfolio_id = s.portfolio_id AND p.session < s.session
        ORDER BY p.session DESC LIMIT 1) AS previous_total
FROM portfolio_snapshots s
WHERE s.portfolio_id = :portfolio_id AND s.session = :session;

-- name: holdings_to_explain
-- What a snapshot holds, and the bar its close is from, as it is now: the daily one, else the last minute's.
SELECT h.symbol, h.quantity, h.average_cost, h.close, h.value, h.close_session, h.close_age, b.timeframe AS bar_timeframe,
       b.close AS bar_close, b.source AS bar_source, b.imported_at AS bar_imported_at
FROM portfolio_snapshot_positions h
LEFT JOIN LATERAL (
    SELECT timeframe, close, source, imported_at FROM bars
    WHERE symbol = h.symbol AND session = h.close_session
    ORDER BY timeframe, starts_at DESC LIMIT 1
) b ON true
WHERE h.portfolio_id = :portfolio_id AND h.session = :session
ORDER BY h.symbol;

-- name: entries_to_explain
-- Fills and adjustments of a portfolio up to an instant, by symbol in the order in which they count.
SELECT kind, id, trade_id, symbol, at, side, quantity, price, fee, cash_amount, cause, note, actor, keeps_cost FROM (
    SELECT 'fill' AS kind, id, trade_id, symbol, executed_at AS at, side, quantity, price, fee,
           CASE side WHEN 'sell' THEN round(quantity * price, 9) ELSE -round(quantity * price, 9) END - fee
               AS cash_amount,
           NULL AS cause, NULL AS note, NULL AS actor, booked_at, false AS keeps_cost
    FROM fills WHERE portfolio_id = :portfolio_id AND executed_at <= :until
    UNION ALL
    SELECT 'adjustment', id, NULL, symbol, occurred_at, NULL, quantity, unit_cost, 0, cash_amount,
           CAST(cause AS text), note, actor, booked_at, keeps_cost
    FROM adjustments WHERE portfolio_id = :portfolio_id AND occurred_at <= :until
) entries
ORDER BY symbol NULLS LAST, at, booked_at, id;

-- name: movements_to_explain
-- Cash movements of a portfolio up to an instant, in order.
SELECT id, kind, amount, reference, note, occurred_at FROM cash_movements
WHERE portfolio_id = :portfolio_id AND occurred_at <= :until
ORDER BY occurred_at, id;

-- name: trades_to_explain
-- Some trades, and those that a portfolio decided in a session: each with its decision, the signal in its
-- symbol, and the newest bar that was complete then, with the close it had; the one it has now where corrected.
SELECT t.id, t.symbol, t.side, t.order_type, t.quantity, t.limit_price, t.stop_price, t.status,
       t.status_reason, t.filled_quantity, t.reason, t.client_order_id, t.broker_order_id, t.decided_at,
       t.submitted_at, t.finalized_at, d.id AS decision_id, d.tick, d.session, d.equity, d.cash,
       s.name AS strategy, g.signal, b.timeframe AS bar_timeframe, b.ends_at AS bar_ends_at,
       coalesce(r.old_close, b.close) AS bar_close, CASE WHEN r.old_close IS NOT NULL THEN b.close END AS bar_close_now
FROM trades t
JOIN decisions d ON d.id = t.decision_id
LEFT JOIN strategies s ON s.id = d.strategy_id
LEFT JOIN LATERAL (
    SELECT signal FROM jsonb_array_elements(d.signals) AS signal WHERE signal ->> 'symbol' = t.symbol LIMIT 1
) g ON true
LEFT JOIN LATERAL (
    SELECT timeframe, starts_at, ends_at, session, close FROM bars
    WHERE symbol = t.symbol AND ends_at <= d.tick
      AND timeframe = CAST(coalesce(s.definition ->> 'timeframe', 'day') AS bar_timeframe)
    ORDER BY starts_at DESC LIMIT 1
) b ON s.id IS NOT NULL
LEFT JOIN LATERAL (
    SELECT old_close FROM bar_revisions
    WHERE symbol = t.symbol AND timeframe = b.timeframe AND session = b.session AND starts_at = b.starts_at
      AND revised_at > d.created_at
    ORDER BY id LIMIT 1
) r ON r.old_close <> b.close
WHERE t.id = ANY(CAST(:trade_ids AS bigint[])) OR (t.portfolio_id = :portfolio_id AND d.session = :session)
ORDER BY t.id;
