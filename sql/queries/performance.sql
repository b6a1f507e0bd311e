-- name: session_values
-- Snapshots of some portfolios between two dates (NULL: unbounded), each with what the one before it says and
-- with how many of its closes are of earlier sessions, oldest first.
SELECT s.portfolio_id, s.session, s.cash, s.total_value, s.daily_return, s.total_return, s.previous_session,
       s.previous_total, s.previous_return, s.gross_value, s.stale_since IS NOT NULL AS is_stale,
       coalesce(h.old_closes, 0) AS old_closes
FROM (SELECT *, lag(session) OVER earlier AS previous_session, lag(total_value) OVER earlier AS previous_total,
             lag(total_return) OVER earlier AS previous_return
      FROM portfolio_snapshots WINDOW earlier AS (PARTITION BY portfolio_id ORDER BY session)) s
LEFT JOIN (SELECT portfolio_id, session, count(*) AS old_closes
           FROM portfolio_snapshot_positions WHERE close_age > 0
           GROUP BY portfolio_id, session) h USING (portfolio_id, session)
WHERE s.portfolio_id = ANY(CAST(:portfolio_ids AS bigint[]))
  AND (CAST(:first AS date) IS NULL OR s.session >= :first)
  AND (CAST(:last AS date) IS NULL OR s.session <= :last)
ORDER BY s.portfolio_id, s.session;

-- name: holdings_of_sessions
-- What some portfolios hold, each in the snapshot of a session of its own.
SELECT h.portfolio_id, h.symbol, h.quantity, h.average_cost, h.close, h.value
FROM portfolio_snapshot_positions h
JOIN unnest(CAST(:portfolio_ids AS bigint[]), CAST(:sessions AS date[])) AS n (portfolio_id, session)
     USING (portfolio_id, session)
ORDER BY h.portfolio_id, h.symbol;

-- name: strategies_of_fills
-- The strategy behind each fill of some portfolios; a stop loss or take profit has none and is left out.
SELECT f.id AS fill_id, s.name AS strategy
FROM fills f
JOIN trades t ON t.id = f.trade_id
JOIN decisions d ON d.id = t.decision_id
JOIN strategies s ON s.id = d.strategy_id
WHERE f.portfolio_id = ANY(CAST(:portfolio_ids AS bigint[]));

-- name: daily_closes
-- The official closes of some symbols between two dates (inclusive), by symbol and session.
SELECT symbol, session, close FROM bars
WHERE timeframe = 'day' AND symbol = ANY(CAST(:symbols AS text[]))
  AND session BETWEEN CAST(:first AS date) AND CAST(:last AS date)
ORDER BY symbol, session;
