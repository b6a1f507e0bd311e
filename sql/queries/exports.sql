-- name: export_trades
-- Every trade decided in (since, until] (NULL: unbounded), of one portfolio or all, in order.
SELECT t.id, p.name AS portfolio, s.name AS strategy, d.session, d.tick, t.symbol, t.side, t.order_type,
       t.time_in_force, t.quantity, t.limit_price, t.stop_price, t.status, t.status_reason, t.filled_quantity,
       t.reason, t.client_order_id, t.broker_order_id, t.decided_at, t.submitted_at, t.finalized_at
FROM trades t
JOIN portfolios p ON p.id = t.portfolio_id
JOIN decisions d ON d.id = t.decision_id
LEFT JOIN strategies s ON s.id = d.strategy_id
WHERE (CAST(:portfolio AS text) IS NULL OR p.name = :portfolio)
  AND (CAST(:since AS timestamptz) IS NULL OR t.decided_at > :since)
  AND (CAST(:until AS timestamptz) IS NULL OR t.decided_at <= :until)
ORDER BY t.id;

-- name: export_fills
-- Every fill executed in (since, until] (NULL: unbounded), of one portfolio or all, in order.
SELECT f.id, f.trade_id, p.name AS portfolio, f.symbol, f.side, f.quantity, f.price, f.fee, f.executed_at,
       f.broker_execution_id, f.is_late, f.booked_at
FROM fills f JOIN portfolios p ON p.id = f.portfolio_id
WHERE (CAST(:portfolio AS text) IS NULL OR p.name = :portfolio)
  AND (CAST(:since AS timestamptz) IS NULL OR f.executed_at > :since)
  AND (CAST(:until AS timestamptz) IS NULL OR f.executed_at <= :until)
ORDER BY f.executed_at, f.id;

-- name: export_snapshots
-- Every snapshot of a close in (since, until] (NULL: unbounded), of one portfolio or all, in order.
SELECT p.name AS portfolio, s.session, s.cash, s.positions_value, s.total_value, s.position_count,
       s.net_deposits, s.daily_return, s.total_return, s.valued_at, s.gross_value, s.exposure, s.stale_since,
       s.stale_reason
FROM portfolio_snapshots s JOIN portfolios p ON p.id = s.portfolio_id
WHERE (CAST(:portfolio AS text) IS NULL OR p.name = :portfolio)
  AND (CAST(:since AS timestamptz) IS NULL OR s.valued_at > :since)
  AND (CAST(:until AS timestamptz) IS NULL OR s.valued_at <= :until)
ORDER BY s.session, p.id;

-- name: export_executions
-- Every execution of a job for a tick in (since, until] (NULL: unbounded), in order.
SELECT id, job_type, run_id, triggered_by, tick, session, execution_status, is_probe, started_at, finished_at,
       duration_ms, CAST(counts AS text) AS counts, skip_reason, error_class, error_message
FROM job_executions
WHERE (CAST(:since AS timestamptz) IS NULL OR tick > :since)
  AND (CAST(:until AS timestamptz) IS NULL OR tick <= :until)
ORDER BY tick, id;
