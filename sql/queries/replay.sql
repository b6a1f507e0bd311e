-- name: replay_portfolios
-- Active portfolios by whether anything was put into them: a replay starts with the net deposits.
SELECT p.id, p.name, coalesce((SELECT sum(amount) FROM cash_movements m
                               WHERE m.portfolio_id = p.id AND m.kind IN ('deposit', 'withdrawal')), 0) AS cash
FROM portfolios p WHERE p.is_active
ORDER BY p.id;

-- name: replay_settings
-- What the COPY statements below go by, for this transaction.
SELECT set_config('replay.portfolios', CAST(CAST(:portfolio_ids AS bigint[]) AS text), true),
       set_config('replay.last', CAST(CAST(:last AS date) AS text), true),
       set_config('replay.starts_at', CAST(CAST(:starts_at AS timestamptz) AS text), true);

-- name: replay_instruments
-- Every instrument.
SELECT symbol, name, is_tradable, is_fractionable FROM instruments;

-- name: replay_bars
-- The bars that may be looked at: of traded and alerted symbols, up to the last session.
SELECT symbol, timeframe, starts_at, ends_at, session, open, high, low, close, volume, source FROM bars
WHERE session <= CAST(current_setting('replay.last') AS date)
  AND symbol IN (SELECT jsonb_array_elements_text(definition -> 'universe') FROM strategies
                 WHERE is_enabled AND portfolio_id = ANY(CAST(current_setting('replay.portfolios') AS bigint[]))
                 UNION SELECT symbol FROM price_alerts WHERE status <> 'disabled'
                 UNION SELECT unnest(ARRAY[symbol, new_symbol]) FROM corporate_actions
                 WHERE kind = 'symbol_change' AND withdrawn_at IS NULL);

-- name: replay_corporate_actions
-- The actions that stand, up to the last session; the replay's books go through them anew.
SELECT kind, symbol, session, effective_at, paid_at, new_units, old_units, fraction_price, cash_per_unit, is_special,
       new_symbol, source, actor
FROM corporate_actions
WHERE withdrawn_at IS NULL AND session <= CAST(current_setting('replay.last') AS date)
ORDER BY id;

-- name: replay_broker_accounts
-- Every account, as one at the paper broker.
SELECT id, 'paper', 'REPLAY-' || id, CAST('paper' AS broker_environment) FROM broker_accounts;

-- name: replay_portfolio_rows
-- The portfolios that are replayed, with their limits.
SELECT id, broker_account_id, name, currency, max_position_pct, max_positions, stop_loss_pct, take_profit_pct,
       max_daily_loss_pct, min_cash_pct, max_drawdown_pct
FROM portfolios WHERE id = ANY(CAST(current_setting('replay.portfolios') AS bigint[]));

-- name: replay_strategies
-- Their strategies.
SELECT id, portfolio_id, name, definition, is_enabled FROM strategies
WHERE portfolio_id = ANY(CAST(current_setting('replay.portfolios') AS bigint[]));

-- name: replay_price_alerts
-- Alerts as they were before they fired.
SELECT id, symbol, condition, threshold, reference_price,
       CAST(CASE status WHEN 'disabled' THEN 'disabled' ELSE 'active' END AS alert_status), note
FROM price_alerts;

-- name: replay_cash_movements
-- What the portfolios start with: their net deposits in one.
SELECT portfolio_id, CAST('deposit' AS cash_movement_kind), sum(amount), 'replay',
       CAST(current_setting('replay.starts_at') AS timestamptz)
FROM cash_movements
WHERE kind IN ('deposit', 'withdrawal')
  AND portfolio_id = ANY(CAST(current_setting('replay.portfolios') AS bigint[]))
GROUP BY portfolio_id;

-- name: replay_fill_cash_balances
-- The cached cash of the portfolios that were copied.
INSERT INTO cash_balances (portfolio_id, amount) SELECT portfolio_id, sum(amount) FROM cash_movements GROUP BY 1;

-- name: replay_fill_paper_accounts
-- The paper broker's side of the same money.
WITH opened AS (
    INSERT INTO paper.accounts (account_number, cash)
    SELECT a.account_number, sum(m.amount)
    FROM cash_movements m
    JOIN portfolios p ON p.id = m.portfolio_id
    JOIN broker_accounts a ON a.id = p.broker_account_id
    GROUP BY a.account_number
    RETURNING account_number, cash)
INSERT INTO paper.transfers (account_number, reference, amount)
SELECT account_number, 'opening', cash FROM opened;

-- name: replay_move_sequences
-- New rows get ids after those that were copied.
SELECT setval(pg_get_serial_sequence('broker_accounts', 'id'), (SELECT max(id) FROM broker_accounts)),
       setval(pg_get_serial_sequence('portfolios', 'id'), (SELECT max(id) FROM portfolios)),
       setval(pg_get_serial_sequence('strategies', 'id'), (SELECT max(id) FROM strategies)),
       setval(pg_get_serial_sequence('price_alerts', 'id'), (SELECT max(id) FROM price_alerts));

-- name: replay_databases
-- Databases of replays, save those that are kept; that of one at work has the lock of its name held.
SELECT datname FROM pg_database
WHERE left(datname, length(:prefix)) = :prefix AND substr(datname, length(:prefix) + 1) ~ '^[0-9a-f]{12}$'
ORDER BY datname;

-- name: replay_lock
-- Held as long as a replay works on the database of that name; the connection's end gives it back.
SELECT pg_try_advisory_lock(hashtextextended(:name, 0));

-- name: replay_unlock
-- Gives the lock of a name back.
SELECT pg_advisory_unlock(hashtextextended(:name, 0));

-- name: replay_sessions_without_bars
-- Which of these sessions have no bar at all.
SELECT s.session FROM unnest(CAST(:sessions AS date[])) AS s (session)
WHERE NOT EXISTS (SELECT FROM bars b WHERE b.timeframe = 'day' AND b.session = s.session)
  AND NOT EXISTS (SELECT FROM bars b WHERE b.timeframe = 'minute' AND b.session = s.session)
ORDER BY s.session;
