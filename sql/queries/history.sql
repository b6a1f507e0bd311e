-- name: snapshots_between
-- Snapshots of the sessions between two dates (inclusive), oldest first.
SELECT p.name AS portfolio, s.session, s.cash, s.positions_value, s.total_value, s.position_count, s.exposure,
       s.net_deposits, s.daily_return, s.total_return
FROM portfolio_snapshots s JOIN portfolios p ON p.id = s.portfolio_id
WHERE s.session BETWEEN CAST(:first AS date) AND CAST(:last AS date)
ORDER BY s.session, p.id;

-- name: highest_returns_before
-- The best return since the start that each portfolio had before a session.
SELECT p.name AS portfolio, max(s.total_return) AS total_return
FROM portfolio_snapshots s JOIN portfolios p ON p.id = s.portfolio_id
WHERE s.session < CAST(:session AS date)
GROUP BY p.name;

-- name: holdings_between
-- What the snapshots between two dates (inclusive) hold.
SELECT h.session, p.name AS portfolio, h.symbol, h.quantity, h.average_cost, h.close, h.close_session, h.close_age,
       h.value
FROM portfolio_snapshot_positions h JOIN portfolios p ON p.id = h.portfolio_id
WHERE h.session BETWEEN CAST(:first AS date) AND CAST(:last AS date)
ORDER BY h.session, p.id, h.symbol;

-- name: snapshots_that_do_not_add_up
-- Snapshots whose total is not their cash and the values of their lines.
SELECT p.name AS portfolio, s.session, s.total_value, s.cash + coalesce(l.value, 0) AS added_up
FROM portfolio_snapshots s
JOIN portfolios p ON p.id = s.portfolio_id
LEFT JOIN (SELECT portfolio_id, session, sum(value) AS value, count(*) AS lines
           FROM portfolio_snapshot_positions GROUP BY portfolio_id, session) l USING (portfolio_id, session)
WHERE s.total_value <> s.cash + coalesce(l.value, 0) OR s.position_count <> coalesce(l.lines, 0)
ORDER BY s.session, p.id;

-- name: snapshots_that_do_not_chain
-- Snapshots whose return is not total / (total before + net deposits) - 1, or whose return since the start is not
-- the one before chained with it. A session after a gap has none of its own and is left out.
SELECT portfolio, session, daily_return, by_totals, total_return, chained FROM (
    SELECT p.name AS portfolio, s.session, s.daily_return, s.total_return,
           round((1 + coalesce(lag(s.total_return) OVER earlier, 0)) * (1 + s.daily_return) - 1, 12) AS chained,
           round(s.total_value / nullif(coalesce(lag(s.total_value) OVER earlier, 0) + s.net_deposits, 0) - 1, 12)
               AS by_totals
    FROM portfolio_snapshots s JOIN portfolios p ON p.id = s.portfolio_id
    WINDOW earlier AS (PARTITION BY s.portfolio_id ORDER BY s.session)
) r
WHERE daily_return IS NOT NULL
  AND (total_return IS NULL OR by_totals IS NULL OR abs(total_return - chained) > 1e-12
       OR abs(daily_return - by_totals) > 1e-12)
ORDER BY session, portfolio;

-- name: last_session_of_bars
-- The newest session that has a bar.
SELECT greatest((SELECT max(session) FROM bars WHERE timeframe = 'day'),
                (SELECT max(session) FROM bars WHERE timeframe = 'minute'));

-- name: which_sessions_have_bars
-- Those of some sessions that have a bar, of whatever symbol.
SELECT s.session FROM unnest(CAST(:sessions AS date[])) AS s (session)
WHERE EXISTS (SELECT FROM bars b WHERE b.timeframe = 'day' AND b.session = s.session)
   OR EXISTS (SELECT FROM bars b WHERE b.timeframe = 'minute' AND b.session = s.session);

-- name: snapshot_coverage
-- Active portfolios that were given money: since when, and the sessions they have a snapshot of.
SELECT p.name AS portfolio, f.first_movement_at,
       array(SELECT s.session FROM portfolio_snapshots s WHERE s.portfolio_id = p.id) AS sessions
FROM portfolios p
CROSS JOIN LATERAL (SELECT min(occurred_at) AS first_movement_at FROM cash_movements m
                    WHERE m.portfolio_id = p.id) f
WHERE p.is_active AND f.first_movement_at IS NOT NULL
ORDER BY p.id;

-- name: quotes_received_at
-- When each symbol's quote was taken in.
SELECT symbol, received_at FROM quotes;
