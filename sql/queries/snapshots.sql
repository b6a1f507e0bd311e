-- name: previous_snapshots
-- The last snapshot of each portfolio before a session.
SELECT p.id AS portfolio_id, s.session, s.valued_at, s.total_value, s.daily_return, s.total_return
FROM portfolios p
CROSS JOIN LATERAL (
    SELECT session, valued_at, total_value, daily_return, total_return FROM portfolio_snapshots
    WHERE portfolio_id = p.id AND session < :session
    ORDER BY session DESC LIMIT 1
) s;

-- name: snapshots_from
-- Every snapshot from a session on and before another (NULL: all), by portfolio, oldest first.
SELECT portfolio_id, session, valued_at, total_value, daily_return, total_return FROM portfolio_snapshots
WHERE session >= :first AND (CAST(:before AS date) IS NULL OR session < CAST(:before AS date))
ORDER BY portfolio_id, session;

-- name: mark_range_stale
-- Snapshots of a range that are to be taken anew.
UPDATE portfolio_snapshots SET stale_since = clock_timestamp(), stale_reason = :reason
WHERE session BETWEEN CAST(:first AS date) AND CAST(:last AS date) AND stale_since IS NULL;

-- name: mark_unvalued
-- Snapshots that could not be taken anew.
UPDATE portfolio_snapshots s SET stale_since = coalesce(s.stale_since, clock_timestamp()), stale_reason = :reason
FROM unnest(CAST(:portfolio_ids AS bigint[]), CAST(:sessions AS date[])) AS n (portfolio_id, session)
WHERE s.portfolio_id = n.portfolio_id AND s.session = n.session;

-- name: standing_before
-- A portfolio's last snapshot before a session, its best return since the start, and what moved since then.
SELECT s.total_value, s.total_return,
       (SELECT max(total_return) FROM portfolio_snapshots
        WHERE portfolio_id = :portfolio_id AND session < :session) AS best_return,
       coalesce((SELECT sum(m.amount) FROM cash_movements m
                 WHERE m.portfolio_id = :portfolio_id AND m.kind IN ('deposit', 'withdrawal')
                   AND m.occurred_at > s.valued_at), 0) AS flows
FROM portfolio_snapshots s
WHERE s.portfolio_id = :portfolio_id AND s.session < :session
ORDER BY s.session DESC LIMIT 1;

-- name: set_returns
-- The returns of snapshots whose predecessor was filled in or has changed.
UPDATE portfolio_snapshots s SET daily_return = n.daily_return, total_return = n.total_return
FROM unnest(CAST(:portfolio_ids AS bigint[]), CAST(:sessions AS date[]), CAST(:daily_returns AS numeric[]),
            CAST(:total_returns AS numeric[])) AS n (portfolio_id, session, daily_return, total_return)
WHERE s.portfolio_id = n.portfolio_id AND s.session = n.session;

-- name: stale_sessions
-- Sessions of snapshots that no longer hold, and since when.
SELECT session, max(stale_since) AS stale_since FROM portfolio_snapshots
WHERE stale_since IS NOT NULL GROUP BY session ORDER BY session;

-- name: list_stale
-- Snapshots that no longer hold and for how long (seconds), oldest first.
SELECT p.name AS portfolio, s.session, s.stale_reason,
       EXTRACT(epoch FROM clock_timestamp() - s.stale_since) AS stale_s
FROM portfolio_snapshots s JOIN portfolios p ON p.id = s.portfolio_id
WHERE s.stale_since IS NOT NULL
ORDER BY s.session, p.id;

-- name: carried_closes
-- Holdings in snapshots that are valued at the close of an earlier session.
SELECT p.name AS portfolio, h.session, h.symbol, h.close_session, h.close_age
FROM portfolio_snapshot_positions h JOIN portfolios p ON p.id = h.portfolio_id
WHERE h.close_age > 0
ORDER BY h.session, p.id, h.symbol;

-- name: account_totals
-- What an account's portfolios were worth together at the newest closes up to an instant; only sessions in which
-- every portfolio of it that had money has a snapshot that holds.
SELECT s.session, sum(s.total_value) AS total
FROM portfolio_snapshots s
JOIN portfolios p ON p.id = s.portfolio_id AND p.broker_account_id = :broker_account_id
WHERE s.valued_at <= :until
GROUP BY s.session
HAVING bool_and(s.stale_since IS NULL) AND count(*) = (
    SELECT count(*) FROM portfolios q
    WHERE q.broker_account_id = :broker_account_id
      AND EXISTS (SELECT FROM cash_movements m WHERE m.portfolio_id = q.id AND m.occurred_at <= max(s.valued_at)))
ORDER BY s.session DESC LIMIT :limit;

-- name: upsert_snapshots
-- One row a portfolio and session, however often it is computed; it holds again.
INSERT INTO portfolio_snapshots (portfolio_id, session, cash, positions_value, total_value, gross_value,
                                 position_count, net_deposits, daily_return, total_return, valued_at)
SELECT n.portfolio_id, n.session, n.cash, n.positions_value, n.cash + n.positions_value, n.gross_value,
       n.position_count, n.net_deposits, n.daily_return, n.total_return, n.valued_at
FROM unnest(CAST(:portfolio_ids AS bigint[]), CAST(:sessions AS date[]), CAST(:cash AS numeric[]),
            CAST(:positions_values AS numeric[]), CAST(:gross_values AS numeric[]),
            CAST(:position_counts AS integer[]), CAST(:net_deposits AS numeric[]),
            CAST(:daily_returns AS numeric[]), CAST(:total_returns AS numeric[]),
            CAST(:valued_ats AS timestamptz[]))
     AS n (portfolio_id, session, cash, positions_value, gross_value, position_count, net_deposits, daily_return,
           total_return, valued_at)
ORDER BY n.portfolio_id, n.session
ON CONFLICT (portfolio_id, session) DO UPDATE
SET cash = excluded.cash, positions_value = excluded.positions_value, total_value = excluded.total_value,
    gross_value = excluded.gross_value, position_count = excluded.position_count,
    net_deposits = excluded.net_deposits, daily_return = excluded.daily_return,
    total_return = excluded.total_return, valued_at = excluded.valued_at, stale_since = NULL, stale_reason = NULL;

-- name: clear_snapshot_positions
-- The holdings of snapshots that are written anew.
DELETE FROM portfolio_snapshot_positions h
USING unnest(CAST(:portfolio_ids AS bigint[]), CAST(:sessions AS date[])) AS n (portfolio_id, session)
WHERE h.portfolio_id = n.portfolio_id AND h.session = n.session;

-- name: list_snapshots
-- Snapshots with their portfolio's name, the newest first.
SELECT p.name AS portfolio, s.session, s.cash, s.positions_value, s.total_value, s.position_count, s.exposure,
       s.net_deposits, s.daily_return, s.total_return, s.valued_at, s.stale_since, s.stale_reason
FROM portfolio_snapshots s JOIN portfolios p ON p.id = s.portfolio_id
WHERE (CAST(:portfolio AS text) IS NULL OR p.name = :portfolio)
  AND (CAST(:session AS date) IS NULL OR s.session = :session)
  AND (NOT CAST(:is_stale AS boolean) OR s.stale_since IS NOT NULL)
ORDER BY s.session DESC, p.id DESC
LIMIT :limit;

-- name: snapshot_positions
-- The holdings in the snapshots of a session.
SELECT p.name AS portfolio, h.symbol, h.quantity, h.average_cost, h.close, h.close_session, h.close_age, h.value
FROM portfolio_snapshot_positions h JOIN portfolios p ON p.id = h.portfolio_id
WHERE h.session = :session
ORDER BY p.id, h.symbol;
