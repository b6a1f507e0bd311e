-- What `backfill` is measured against: fold, valuation, returns and both tables in one statement. The sessions are
-- in the temporary table `sessions` (number, session, closes_at).
WITH RECURSIVE entries AS MATERIALIZED (
    SELECT portfolio_id, symbol, executed_at AS at, CASE side WHEN 'buy' THEN quantity ELSE -quantity END AS moved,
           price, row_number() OVER (PARTITION BY portfolio_id, symbol ORDER BY executed_at, id) AS n
    FROM fills
), steps AS (
    SELECT portfolio_id, symbol, n, at, CAST(moved AS numeric) AS quantity, CAST(price AS numeric) AS cost
    FROM entries WHERE n = 1
    UNION ALL
    SELECT e.portfolio_id, e.symbol, e.n, e.at, s.quantity + e.moved,
           CASE WHEN s.quantity + e.moved = 0 THEN 0
                WHEN s.quantity * e.moved >= 0
                    THEN round((s.quantity * s.cost + e.moved * e.price) / (s.quantity + e.moved), 9)
                WHEN sign(s.quantity + e.moved) = sign(s.quantity) THEN s.cost
                ELSE e.price END
    FROM steps s JOIN entries e ON e.portfolio_id = s.portfolio_id AND e.symbol = s.symbol AND e.n = s.n + 1
), held AS (
    SELECT portfolio_id, symbol, quantity, cost, at,
           coalesce(lead(at) OVER (PARTITION BY portfolio_id, symbol ORDER BY n), 'infinity') AS until
    FROM steps
), lines AS MATERIALIZED (
    SELECT h.portfolio_id, s.session, h.symbol, h.quantity, h.cost, b.close, round(h.quantity * b.close, 9) AS value
    FROM held h
    JOIN sessions s ON s.closes_at >= h.at AND s.closes_at < h.until
    JOIN bars b ON b.timeframe = 'day' AND b.symbol = h.symbol AND b.session = s.session
    WHERE h.quantity <> 0
), worth AS (
    SELECT portfolio_id, session, sum(value) AS value, sum(abs(value)) AS gross, count(*) AS lines
    FROM lines GROUP BY portfolio_id, session
), moves AS (
    SELECT portfolio_id, occurred_at AS at, amount,
           CASE WHEN kind IN ('deposit', 'withdrawal') THEN amount ELSE 0 END AS flow
    FROM cash_movements
    UNION ALL
    SELECT portfolio_id, executed_at,
           CASE side WHEN 'sell' THEN round(quantity * price, 9) ELSE -round(quantity * price, 9) END - fee, 0
    FROM fills
), moved AS (
    SELECT m.portfolio_id, s.session, sum(m.amount) AS amount, sum(m.flow) AS flow
    FROM moves m
    CROSS JOIN LATERAL (SELECT session FROM sessions WHERE closes_at >= m.at ORDER BY closes_at LIMIT 1) s
    GROUP BY 1, 2
), totals AS (
    SELECT p.id AS portfolio_id, s.session, s.closes_at, coalesce(w.value, 0) AS value, coalesce(w.gross, 0) AS gross,
           coalesce(w.lines, 0) AS lines, coalesce(m.flow, 0) AS flow,
           sum(coalesce(m.amount, 0)) OVER (PARTITION BY p.id ORDER BY s.session) AS cash
    FROM portfolios p CROSS JOIN sessions s
    LEFT JOIN worth w ON w.portfolio_id = p.id AND w.session = s.session
    LEFT JOIN moved m ON m.portfolio_id = p.id AND m.session = s.session
), earned AS (
    SELECT t.*, (cash + value)
                / nullif(coalesce(lag(cash + value) OVER (PARTITION BY portfolio_id ORDER BY session), 0) + flow, 0) - 1
                AS r
    FROM totals t
), written AS (
    INSERT INTO portfolio_snapshots (portfolio_id, session, cash, positions_value, total_value, gross_value,
                                     position_count, net_deposits, daily_return, total_return, valued_at)
    SELECT portfolio_id, session, cash, value, cash + value, gross, lines, flow, round(r, 12),
           round(exp(sum(ln(1 + r)) OVER (PARTITION BY portfolio_id ORDER BY session)) - 1, 12), closes_at
    FROM earned
)
INSERT INTO portfolio_snapshot_positions (portfolio_id, session, symbol, quantity, average_cost, close, value,
                                          close_session, close_age)
SELECT portfolio_id, session, symbol, quantity, cost, close, value, session, 0 FROM lines;
