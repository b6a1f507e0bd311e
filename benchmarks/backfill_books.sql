-- Books of ten years for `backfill`: prices that wander, and portfolios that buy every symbol and trade on. The
-- sessions are in the temporary table `sessions` (number, session, opens_at, closes_at).
INSERT INTO instruments (symbol) SELECT 'S' || n FROM generate_series(1, :symbols) AS n
ON CONFLICT DO NOTHING;
INSERT INTO bars (symbol, timeframe, starts_at, ends_at, session, open, high, low, close, volume, source)
SELECT 'S' || n, 'day', s.opens_at, s.closes_at, s.session, p, p, p, p, 1, 'benchmark'
FROM sessions s
CROSS JOIN generate_series(1, :symbols) AS n
CROSS JOIN LATERAL (SELECT round(CAST(100 + n + 20 * sin(s.number / 60.0 + n) AS numeric), 2) AS p);
INSERT INTO broker_accounts (broker, account_number, environment) VALUES ('paper', 'B', 'paper');
INSERT INTO portfolios (broker_account_id, name) SELECT 1, 'p' || n FROM generate_series(1, :portfolios) AS n;
INSERT INTO cash_balances (portfolio_id, amount) SELECT id, 0 FROM portfolios;
INSERT INTO cash_movements (portfolio_id, kind, amount, reference, occurred_at)
SELECT p.id, 'deposit', 1000000, CAST(s.session AS text), s.opens_at - interval '1 hour'
FROM portfolios p JOIN sessions s ON s.number % 250 = 1;
INSERT INTO decisions (portfolio_id, tick, session, equity, cash, signals)
SELECT id, now(), current_date, 0, 0, '[]' FROM portfolios;
INSERT INTO trades (portfolio_id, broker_account_id, decision_id, symbol, side, order_type, time_in_force, quantity,
                    client_order_id, reason, status, broker_order_id, filled_quantity, decided_at, finalized_at)
SELECT d.portfolio_id, 1, d.id, 'S' || n, 'buy', 'market', 'day', 1, d.id || '-' || n, 'benchmark', 'filled',
       d.id || '-' || n, 1, now(), now()
FROM decisions d CROSS JOIN generate_series(1, :symbols) AS n;
INSERT INTO fills (trade_id, portfolio_id, broker_account_id, broker_execution_id, symbol, side, quantity, price, fee,
                   cumulative_quantity, executed_at)
SELECT t.id, t.portfolio_id, 1, t.id || '-' || s.number, t.symbol,
       CAST(CASE WHEN s.number = 1 OR s.number / :every % 3 > 0 THEN 'buy' ELSE 'sell' END AS trade_side),
       CASE WHEN s.number = 1 THEN 100 ELSE 7.5 + t.id % 3 END, b.close, 0.35, 1000, s.closes_at - interval '1 hour'
FROM trades t
JOIN sessions s ON s.number % :every = 1
JOIN bars b ON b.timeframe = 'day' AND b.symbol = t.symbol AND b.session = s.session;
ANALYZE
