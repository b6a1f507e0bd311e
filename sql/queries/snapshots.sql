-- name: previous_snapshots
-- The last snapshot of each portfolio before a session.
SELECT p.id AS portfolio_id, s.session, s.valued_at, s.total_value, s.total_return
FROM portfolios p
CROSS JOIN LATERAL (
    SELECT session, valued_at, total_value, total_return FROM portfolio_snapshots
    WHERE portfolio_id = p.id AND session < :session
    ORDER BY session DESC LIMIT 1
) s;

-- name: later_snapshots
-- Every snapshot after a session, oldest first; there are some only where one is filled in later.
SELECT portfolio_id, session, valued_at, total_value, daily_return, total_return FROM portfolio_snapshots
WHERE session > :session
ORDER BY portfolio_id, session;

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

-- name: upsert_snapshots
-- One row a portfolio and session, however often it is computed.
INSERT INTO portfolio_snapshots (portfolio_id, session, cash, positions_value, total_value, position_count,
                                 net_deposits, daily_return, total_return, valued_at)
SELECT n.portfolio_id, :session, n.cash, n.positions_value, n.cash + n.positions_value, n.position_count,
       n.net_deposits, n.daily_return, n.total_return, :valued_at
FROM unnest(CAST(:portfolio_ids AS bigint[]), CAST(:cash AS numeric[]), CAST(:positions_values AS numeric[]),
            CAST(:position_counts AS integer[]), CAST(:net_deposits AS numeric[]),
            CAST(:daily_returns AS numeric[]), CAST(:total_returns AS numeric[]))
     AS n (portfolio_id, cash, positions_value, position_count, net_deposits, daily_return, total_return)
ORDER BY n.portfolio_id
ON CONFLICT (portfolio_id, session) DO UPDATE
SET cash = excluded.cash, positions_value = excluded.positions_value, total_value = excluded.total_value,
    position_count = excluded.position_count, net_deposits = excluded.net_deposits,
    daily_return = excluded.daily_return, total_return = excluded.total_return,
    valued_at = excluded.valued_at;

-- name: clear_snapshot_positions
-- The holdings of snapshots that are written anew.
DELETE FROM portfolio_snapshot_positions
WHERE session = :session AND portfolio_id = ANY(CAST(:portfolio_ids AS bigint[]));

-- name: insert_snapshot_positions
-- The holdings in the snapshots of a session.
INSERT INTO portfolio_snapshot_positions (portfolio_id, session, symbol, quantity, average_cost, close, value)
SELECT n.portfolio_id, :session, n.symbol, n.quantity, n.average_cost, n.close, n.value
FROM unnest(CAST(:portfolio_ids AS bigint[]), CAST(:symbols AS text[]), CAST(:quantities AS numeric[]),
            CAST(:average_costs AS numeric[]), CAST(:closes AS numeric[]), CAST(:values AS numeric[]))
     AS n (portfolio_id, symbol, quantity, average_cost, close, value)
ORDER BY n.portfolio_id, n.symbol;

-- name: list_snapshots
-- Snapshots with their portfolio's name, the newest first.
SELECT p.name AS portfolio, s.session, s.cash, s.positions_value, s.total_value, s.position_count,
       s.net_deposits, s.daily_return, s.total_return, s.valued_at
FROM portfolio_snapshots s JOIN portfolios p ON p.id = s.portfolio_id
WHERE (CAST(:portfolio AS text) IS NULL OR p.name = :portfolio)
  AND (CAST(:session AS date) IS NULL OR s.session = :session)
ORDER BY s.session DESC, p.id DESC
LIMIT :limit;

-- name: snapshot_positions
-- The holdings in the snapshots of a session.
SELECT p.name AS portfolio, h.symbol, h.quantity, h.average_cost, h.close, h.value
FROM portfolio_snapshot_positions h JOIN portfolios p ON p.id = h.portfolio_id
WHERE h.session = :session
ORDER BY p.id, h.symbol;
